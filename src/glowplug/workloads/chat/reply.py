"""Reading the pieces of a reply, whoever made them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from glowplug.errors import GlowplugError, InvalidInput, RemoteError
from glowplug.workloads.chat.engine import Chunk
from glowplug.workloads.chat.values import Delta, Ending

SHOWN_CHARACTERS = 200
LONGEST_REPLY = 4_000_000
LARGEST_COUNT = 2**53


class Reply:
    """What is known of a reply so far; `name` is who makes it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._finish: str | None = None
        self._usage: Mapping[str, Any] = {}
        self._length = 0

    def take(self, chunk: Chunk) -> str:
        """Return the text of a piece.

        Raises:
            InvalidInput: the messages are too long for the model, or it refuses them otherwise.
            RemoteError: the piece tells of a fault, or is no piece of a reply, or the reply does not end.
        """
        if "error" in chunk:
            raise fault_of(self._name, chunk["error"])
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise RemoteError(f"{self._name} sent what is no piece of a reply: {shown(str(chunk))}")
        if isinstance(usage := chunk.get("usage"), Mapping):
            self._usage = usage
        text = self._text(choices[0]) if choices else ""
        self._length += len(text)
        if self._length > LONGEST_REPLY:
            raise RemoteError(f"{self._name} does not end its reply: {self._length} characters")
        return text

    def ending(self) -> Ending:
        """Return how it ended. Raises `RemoteError` if it did not."""
        if self._finish is None:
            raise RemoteError(f"{self._name} broke off in the middle of its reply; ask again")
        length = self._finish == "length"
        return Ending("", "length" if length else "stop", self._count("prompt"), self._count("completion"))

    def _text(self, choice: Any) -> str:
        delta = choice.get("delta") if isinstance(choice, Mapping) else None
        if not isinstance(delta, Mapping):
            raise RemoteError(f"{self._name} sent what is no piece of a reply: {shown(str(choice))}")
        if isinstance(finish := choice.get("finish_reason"), str):
            self._finish = finish
        text = delta.get("content")
        # Half a character, which JSON can hold, can be told to nobody.
        return text.encode(errors="replace").decode() if isinstance(text, str) else ""

    def _count(self, which: str) -> int:
        count = self._usage.get(f"{which}_tokens")
        return count if isinstance(count, int) and 0 <= count <= LARGEST_COUNT else 0


def read(name: str, pieces: Iterable[Chunk]) -> Iterator[Delta | Ending]:
    """Turn pieces into what the task gives."""
    reply = Reply(name)
    for piece in pieces:
        if text := reply.take(piece):
            yield Delta(text)
    yield reply.ending()


def fault_of(name: str, told: Any) -> GlowplugError:
    """Return the error that a body or a piece with `error` tells of."""
    fault = told if isinstance(told, Mapping) else {"message": told}
    message = shown(str(fault.get("message") or "no reason given"))
    if str(fault.get("code")) == "400" or fault.get("type") in ("exceed_context_size_error", "invalid_request_error"):
        return InvalidInput(f"messages: {name} does not take them: {message}")
    return RemoteError(f"{name} failed: {message}")


def shown(text: str) -> str:
    """Return `text` in one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}…"
