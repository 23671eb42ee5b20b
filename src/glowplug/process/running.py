"""One call that the model's process has: its reports on their way to the sink, in order, and its end after them."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from glowplug.errors import BugError, GlowplugError, LeaseLost
from glowplug.job import Note, OutcomeKind, Progress
from glowplug.process.call import Call, CallEnd, CallSink, Quiet
from glowplug.process.protocol import (
    WINDOW,
    Checkpointed,
    Confirmed,
    Credit,
    Logged,
    Measured,
    Progressed,
    Report,
    Saved,
    ToChild,
    Yielded,
)

LOG_BYTES = 1 << 20
LOG_LINES = 20_000
LOG_ENDS = "… more output was dropped"
STOPPED = frozenset((OutcomeKind.CANCELED, OutcomeKind.INTERRUPTED))


@dataclass(frozen=True, slots=True)
class StopOrder:
    """How a call is to end that is being stopped, and since when."""

    kind: OutcomeKind
    since: float
    error: GlowplugError | None = None

    @property
    def end(self) -> CallEnd:
        """Return the end of a call that obeyed, or that had to be made to."""
        return CallEnd(self.kind, error=self.error)


@dataclass(frozen=True, slots=True)
class Tools:
    """What a running call needs of its host."""

    send: Callable[[ToChild], None]
    moved: Callable[[], None]
    """Called when a checkpoint is durable: the job gets on."""
    give_up: Callable[[str, GlowplugError], None]
    """Called with the id of a call whose sink failed."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that the process printed while the call ran alone."""

    text: str


class Running:
    """A call in the hands of the process. `scratch` is a folder to remove after it, if it is the host's own."""

    def __init__(self, call: Call, sink: CallSink | None, scratch: Path | None, began: float, tools: Tools) -> None:
        self.call = call
        self.began = self.active = began
        self.stop: StopOrder | None = None
        self.done: asyncio.Future[CallEnd] = asyncio.get_running_loop().create_future()
        self._sink: CallSink = sink or Quiet()
        self._home = call.scratch or scratch
        self._scratch = scratch
        self._tools = tools
        self._queue: asyncio.Queue[Report | Lines | CallEnd] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None
        self._fault: GlowplugError | None = None
        self._owed = 0
        self._lines: list[str] = []
        self._log_left = [LOG_LINES, LOG_BYTES]

    @property
    def pump(self) -> asyncio.Task[None] | None:
        """Return the task that brings reports to the sink, None while there have been none."""
        return self._pump

    def report(self, message: Report) -> None:
        """Take a report."""
        self.flush_lines()
        self._put(message)

    def print(self, lines: list[str]) -> None:
        """Take lines of output, as long as the log has room for them."""
        if self._log_left[0] < 0:
            return
        self._log_left[0] -= len(lines)
        self._log_left[1] -= sum(map(len, lines))
        self._lines.extend(lines if min(self._log_left) >= 0 else [LOG_ENDS])
        if min(self._log_left) < 0:
            self._log_left[0] = -1

    def flush_lines(self) -> None:
        """Pass on the lines that have gathered."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._put(Lines("\n".join(lines)))

    def end(self, end: CallEnd, *, scratch_used: bool) -> None:
        """Take the end; it is told once the sink has dealt with everything before it."""
        self.flush_lines()
        if not scratch_used:
            self._scratch = None
        if self._pump is None and self._scratch is None:
            self._tell(end)
        else:
            self._put(end)

    def _put(self, item: Report | Lines | CallEnd) -> None:
        self._queue.put_nowait(item)
        if self._pump is None:
            self._pump = asyncio.create_task(self._bring(), name=f"reports of {self.call.id}")

    async def _bring(self) -> None:
        end = CallEnd(OutcomeKind.INTERRUPTED)
        try:
            end = await self._bring_all()
            if self._scratch is not None:
                await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)
        finally:
            self._tell(end)

    async def _bring_all(self) -> CallEnd:
        while not isinstance(item := await self._queue.get(), CallEnd):
            if self._fault is None:
                await self._deliver(item)
            self._acknowledge(item)
        return item

    async def _deliver(self, item: Report | Lines) -> None:
        try:
            await self._hand_over(item)
        except GlowplugError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a sink's mistake ends its call, not the host
            self._fail(BugError(f"the reports of a call could not be taken: {type(error).__name__}: {error}"))

    async def _hand_over(self, item: Report | Lines) -> None:
        match item:
            case Saved(_, artifact, path):
                await self._sink.saved(artifact, Path(path))
            case Yielded(_, output_json):
                await self._sink.chunk(output_json)
            case Checkpointed(_, step, path):
                await self._sink.checkpoint(step, Path(path))
                self._tools.moved()
            case _:
                await self._sink.note(note_of(item, self._at_home))

    def _at_home(self, text: str) -> str:
        """Return what is logged with the paths of the call's own folder below that folder: callers read it too."""
        return text if self._homes is None else self._homes.sub(lambda found: "" if found["inside"] else ".", text)

    @cached_property
    def _homes(self) -> re.Pattern[str] | None:
        if self._home is None:
            return None
        names = sorted({str(self._home.absolute()), str(self._home.resolve())}, key=len, reverse=True)
        return re.compile(f"(?:{'|'.join(map(re.escape, names))})(?:(?P<inside>/)|(?![\\w.-]))")

    def _acknowledge(self, item: Report | Lines) -> None:
        if isinstance(item, Lines):
            return
        if isinstance(item, Checkpointed):
            self._tools.send(Confirmed(self.call.id, self._fault is None))
        # Acknowledged in handfuls: a message for each would double the traffic of a stream.
        self._owed += 1
        if self._queue.empty() or self._owed * 2 >= WINDOW:
            self._tools.send(Credit(self.call.id, self._owed))
            self._owed = 0

    def _fail(self, error: GlowplugError) -> None:
        self._fault = error
        self._tools.give_up(self.call.id, error)

    def _tell(self, end: CallEnd) -> None:
        if not self.done.done():
            self.done.set_result(self._settled(end))

    def _settled(self, end: CallEnd) -> CallEnd:
        if isinstance(self._fault, LeaseLost):
            return CallEnd(OutcomeKind.CANCELED, error=self._fault)
        if self._fault is not None and end.kind in (OutcomeKind.COMPLETED, OutcomeKind.CANCELED):
            return CallEnd(OutcomeKind.FAILED, error=self._fault)
        if self.stop is not None and end.kind in STOPPED:
            return self.stop.end
        return end


def note_of(item: Report | Lines, shown: Callable[[str], str]) -> Note:
    """Return the note that a report is for a job's log; `shown` is how its lines are told."""
    match item:
        case Progressed(_, done, total, note, preview):
            progress = Progress(done, total, note, preview)
            data = {"done": done, "total": total, "percent": progress.percent, "note": note, "preview": preview}
            return Note("progress", data, progress=progress)
        case Measured(_, values):
            return Note("metrics", values)
        case Logged(_, text) | Lines(text):
            return Note("log", {"text": shown(text)})
        case _:
            raise BugError(f"a {type(item).__name__} is no note")
