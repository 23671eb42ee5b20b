"""A task that streams, called directly: what it yields is printed as it comes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from glowplug.cli.output import note, say_json, waiting
from glowplug.errors import DeadlineExceeded, NotReady

if TYPE_CHECKING:
    from glowplug.client import Client

TEXT = "text"
LONGEST_ASIDE = 80


class Pieces:
    """Prints the values of a stream: text as it comes, without breaks; whatever else as a line of JSON each.

    A value is text if it is one, or has one under `text`. What such values have beside it is told at the end, on
    standard error. With `as_json` each value is a line of JSON.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.begun = False
        self.files: dict[str, None] = {}
        self._as_json = as_json
        self._within_line = False
        self._aside: dict[str, Any] = {}

    def take(self, value: Any) -> None:
        """Print the next value."""
        from glowplug.artifact import references

        self.begun = True
        self.files |= dict.fromkeys(references(value))
        text = None if self._as_json else _text_of(value)
        if text is None:
            self._end_line()
            say_json(value)
            return
        sys.stdout.write(text)
        sys.stdout.flush()
        self._within_line = not text.endswith("\n") if text else self._within_line
        if isinstance(value, Mapping):
            self._aside |= {name: one for name, one in value.items() if name != TEXT and one is not None}

    def end(self) -> None:
        """End the line that text was printed on, and tell what was beside it."""
        self._end_line()
        if self._aside:
            note(", ".join(f"{name} {_short(value)}" for name, value in self._aside.items()))
            self._aside = {}

    def _end_line(self) -> None:
        if self._within_line:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._within_line = False


def stream(
    client: Client, task: str, given: Mapping[str, Any], timeout: float | None, pieces: Pieces, *, quiet: bool
) -> bool:
    """Print what a direct call of `task` yields; False if no worker was ready for it, so that nothing was begun.

    Ctrl-C ends the call.

    Raises:
        DeadlineExceeded: it was not done after `timeout` seconds, and was ended.
    """
    import asyncio

    async def follow() -> None:
        async with asyncio.timeout(timeout):
            async for value in client.asynchronous.stream(task, given):
                stop_waiting()
                pieces.take(value)

    try:
        with waiting(f"{task} has begun", quiet=quiet) as stop_waiting:
            client.wait_for(follow)
    except NotReady:
        if pieces.begun:
            raise
        return False
    except TimeoutError as error:
        raise DeadlineExceeded(f"{task} was not done after {timeout:g} s and was ended") from error
    finally:
        pieces.end()
    return True


def _text_of(value: Any) -> str | None:
    text = value.get(TEXT) if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else None


def _short(value: Any) -> str:
    import msgspec

    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= LONGEST_ASIDE else "left out (it is in --json)"
