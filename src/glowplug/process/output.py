"""What a model's process prints, from Python or from C: lines of bounded length, without secrets."""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from msgspec import structs

from glowplug.process.protocol import Broken, Ended, Logged, ToHost, WireError

KEPT_LINES = 200
LONGEST_LINE = 4000
READ_BYTES = 1 << 14
PIPE_READS = 8
"""So many reads empty a pipe that nobody is filling any more."""
SHORTEST_SECRET = 8
HIDDEN = "[hidden]"
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEY", re.IGNORECASE)
_SECRET = re.compile(
    r"(?P<lead>\bBearer\s+|\bBasic\s+|\b[\w-]{0,40}(?:token|secret|password|api[_-]?key)[\"']?\s*[=:]\s*[\"']?)"
    r"[^\s\"',;&]{4,}"
    r"|(?P<url>://[^/\s:@]*:)[^\s/@]+(?=@)"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bhf_[A-Za-z0-9]{20,}\b|\bsk-[A-Za-z0-9_-]{20,}\b|\bgh[pousr]_[A-Za-z0-9]{20,}\b",
    re.IGNORECASE,
)


class Redactor:
    """Hides secrets: the values that the process was given under telling names, and what looks like one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        values = {value for name, value in environment.items() if _SECRET_NAME.search(name)}
        long = sorted((value for value in values if len(value) >= SHORTEST_SECRET), key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, long))) if long else None

    def __call__(self, text: str) -> str:
        """Return `text` without its secrets."""
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        return _SECRET.sub(lambda found: (found["lead"] or found["url"] or "") + HIDDEN, text)


class Output:
    """The reading end of a process's output. `tell` gets the lines that arrived together."""

    def __init__(self, descriptor: int, redact: Redactor, tell: Callable[[list[str]], None]) -> None:
        self._descriptor: int | None = descriptor
        self._redact = redact
        self._tell = tell
        self._rest = b""
        self.last: deque[str] = deque(maxlen=KEPT_LINES)

    def open(self) -> None:
        """Begin to read in the running loop, a little at a time: a process may print faster than we read."""
        if self._descriptor is not None:
            asyncio.get_running_loop().add_reader(self._descriptor, self._take)

    def drain(self) -> None:
        """Read what is there now."""
        for _ in range(PIPE_READS):
            if not self._take():
                return

    def settle(self) -> None:
        """Read what is there now and pass on even a line that has no end yet: whoever printed it is done."""
        self.drain()
        if self._rest:
            rest, self._rest = self._rest, b""
            self._pass_on([rest])

    def close(self) -> None:
        """Read to the end and close."""
        if self._descriptor is None:
            return
        self.settle()
        descriptor, self._descriptor = self._descriptor, None
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)

    def _take(self) -> bool:
        data = self._read()
        if data:
            *lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > LONGEST_LINE:
                lines, self._rest = [*lines, self._rest], b""
            self._pass_on(lines)
        return bool(data)

    def _read(self) -> bytes:
        if self._descriptor is None:
            return b""
        with suppress(BlockingIOError):
            data = os.read(self._descriptor, READ_BYTES)
            if not data:
                asyncio.get_running_loop().remove_reader(self._descriptor)
            return data
        return b""

    def _pass_on(self, raw: list[bytes]) -> None:
        lines = [self._redact(_shown(line)) for line in raw if line.strip()]
        if lines:
            self.last.extend(lines)
            self._tell(lines)


def _shown(line: bytes) -> str:
    # Of a progress bar that redraws itself only the last picture is worth a line.
    text = line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]}…"


def redacted(message: ToHost, redact: Redactor) -> ToHost:
    """Return a message whose words for people hold no secrets."""
    match message:
        case Logged(_, text):
            return structs.replace(message, text=redact(text))
        case Broken(text, _):
            return structs.replace(message, message=redact(text))
        case Ended(error=WireError() as error):
            return structs.replace(message, error=structs.replace(error, message=redact(error.message)))
        case _:
            return message
