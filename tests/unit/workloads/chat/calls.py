"""How the tests talk with a chat model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from glowplug.errors import Canceled
from glowplug.load_context import LoadContext
from glowplug.model import RunContext
from glowplug.workloads.chat.model import Chat
from glowplug.workloads.chat.values import Delta, Ending, Message


def loaded(weights: dict[str, Path] | None = None, **options: str) -> Chat:
    """Return a loaded model; unload it."""
    chat = Chat()
    chat.load(LoadContext(weights=weights or {}, options=options))
    return chat


def said(*texts: str) -> list[Message]:
    """Return a conversation, the user first."""
    return [Message("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)]


def answered(chat: Chat, *texts: str, **wishes: object) -> tuple[str, Ending]:
    """Return a whole reply and its end."""
    *deltas, ending = chat.reply(RunContext(), said(*(texts or ("Hello?",))), **wishes)  # type: ignore[arg-type]
    assert isinstance(ending, Ending)
    assert all(isinstance(delta, Delta) and delta.text for delta in deltas)
    return "".join(delta.text for delta in deltas), ending


def collect(reading: Iterable[Delta | Ending], into: list[str]) -> None:
    """Read a reply to its end."""
    into.extend(value.text for value in reading)


class Stopping(RunContext):
    """Asks the task to stop once `when` is so."""

    def __init__(self, scratch: Path, when: Callable[[], bool]) -> None:
        super().__init__(scratch)
        self._when = when

    def check(self) -> None:
        if self._when():
            raise Canceled
