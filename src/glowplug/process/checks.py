"""In the model's process: asks the model now and then whether what it leans on works, beside its calls."""

from __future__ import annotations

import threading
from collections.abc import Callable

from glowplug.process.faults import load_message

ANSWER_SECONDS = 10.0
"""How long a check may take before what it asks counts as gone."""


class Checker:
    """Calls `check` every `seconds`, and tells when its answer changes: None, or what is wrong."""

    def __init__(self, check: Callable[[], None], seconds: float, tell: Callable[[str | None], None]) -> None:
        self._check = check
        self._seconds = seconds
        self._tell_host = tell
        self._asked = threading.Event()
        self._told: str | None = None

    def start(self) -> None:
        """Begin, in a thread of its own that ends with the process."""
        threading.Thread(target=self._run, name="glowplug-check", daemon=True).start()

    def ask(self) -> None:
        """Look at once; any thread may ask."""
        self._asked.set()

    def _run(self) -> None:
        while True:
            self._asked.wait(self._seconds)
            self._asked.clear()
            self._look()

    def _look(self) -> None:
        answers: list[str | None] = []
        asking = threading.Thread(target=self._ask, args=(answers,), name="glowplug-asks", daemon=True)
        asking.start()
        asking.join(ANSWER_SECONDS)
        if asking.is_alive():
            self._tell(f"no answer within {ANSWER_SECONDS:g} s")
            # A check that hangs is waited for: one is enough.
            asking.join()
        self._tell(answers[0])

    def _ask(self, answers: list[str | None]) -> None:
        try:
            self._check()
        except BaseException as error:  # noqa: BLE001 - whatever a check raises is its answer
            answers.append(load_message(error))
        else:
            answers.append(None)

    def _tell(self, wrong: str | None) -> None:
        if wrong != self._told:
            self._told = wrong
            self._tell_host(wrong)
