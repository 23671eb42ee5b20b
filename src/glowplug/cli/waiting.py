"""Waiting for models to become ready, and saying what is missing while there is nothing to show yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from glowplug.cli.output import Meter

if TYPE_CHECKING:
    from glowplug.client import Client, ReadyView

LOOK_SECONDS = 0.25
SAY_AGAIN_SECONDS = 5
LOOK_AT_WORKERS_SECONDS = 1.0


def wait_until_ready(
    client: Client, model: str | None, timeout: float | None, shown: Meter, show: Callable[[ReadyView], None]
) -> None:
    """Wait until `model`, or every model, is ready; `show` gets every picture, `shown` what is waited for before.

    Raises:
        LoadFailed: a load ended in an error.
        DeadlineExceeded: not ready after `timeout` seconds.
    """
    from glowplug.errors import DeadlineExceeded

    began, patience, deaths = monotonic(), Patience(shown), Deaths()
    while True:
        view, why = _looked(client, patience)
        if view is not None:
            show(view)
            if view.serves(model):
                return
            absent = missing(view, model)
            why = absent or view.message or view.state
            patience.wait("worker", absent) if absent else patience.over("worker", "is there")
            if news := deaths.look(client):
                shown.show("worker", None, f"{news}; the log of `glowplug up` says why")
        if timeout is not None and monotonic() - began >= timeout:
            raise DeadlineExceeded(f"not ready after {timeout:g} s: {why}")
        sleep(LOOK_SECONDS)


def _looked(client: Client, patience: Patience) -> tuple[ReadyView | None, str]:
    from glowplug.errors import NotReady, Unreachable

    try:
        view = client.readiness()
    except (Unreachable, NotReady) as error:
        patience.wait("gateway", error.message)
        return None, error.message
    patience.over("gateway", "answers")
    return view, ""


def missing(view: ReadyView, model: str | None) -> str:
    """Say that there is nobody whose load could be shown; empty if there is somebody."""
    if not view.services:
        return "none has come yet; if none does, the log of `glowplug up` or `glowplug worker` says why"
    if model is not None and model not in view.services:
        return f"none has the model {model}; there are: {' '.join(sorted(view.services))}"
    return ""


class Patience:
    """Says what is waited for: at once, again every few seconds, and when it has come."""

    def __init__(self, shown: Meter) -> None:
        self._shown = shown
        self._since: dict[str, float] = {}

    def wait(self, name: str, why: str) -> None:
        """Say that `name` is not there, and why."""
        now = monotonic()
        waited = now - self._since.setdefault(name, now)
        turns = int(waited // SAY_AGAIN_SECONDS) * SAY_AGAIN_SECONDS
        so_long = f"waiting for {turns} s" if turns else "waiting"
        self._shown.show(name, None, f"{so_long}, {why}")

    def over(self, name: str, words: str) -> None:
        """Say that `name` has come, if it was waited for."""
        if self._since.pop(name, None) is not None:
            self._shown.show(name, 100.0, words)


class Deaths:
    """Which workers were seen to go away during the wait, and how often."""

    def __init__(self) -> None:
        self._status: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._next_look = 0.0

    def look(self, client: Client) -> str:
        """Ask the registry, now and then; return the words if there is something new in them."""
        from glowplug.errors import NotReady, Unreachable

        before = self.words
        if monotonic() >= self._next_look:
            self._next_look = monotonic() + LOOK_AT_WORKERS_SECONDS
            with suppress(Unreachable, NotReady):
                self.note(client.workers())
        return self.words if self.words != before else ""

    def note(self, workers: Sequence[dict[str, Any]]) -> None:
        """Count each worker that was there and is offline now."""
        for worker in workers:
            name, status = str(worker.get("instance_id")), str(worker.get("status"))
            if status == "offline" and self._status.get(name, "offline") != "offline":
                self._counts[name] = self._counts.get(name, 0) + 1
            self._status[name] = status

    @property
    def words(self) -> str:
        """Name the workers that went away; empty if none did."""
        return ", ".join(f"{name} has died {_times(count)}" for name, count in sorted(self._counts.items()))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
