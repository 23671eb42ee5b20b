"""The contexts that a model gets in its own process: what they are told goes to the host."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from glowplug.artifact import Artifact
from glowplug.errors import BugError, Canceled, Interrupted, Stop
from glowplug.load_context import LoadContext
from glowplug.model import Resumed, RunContext, checked_file_name, guess_media_type
from glowplug.process.faults import cleaned
from glowplug.process.protocol import (
    WINDOW,
    Checkpointed,
    Item,
    Logged,
    Measured,
    Moved,
    Progressed,
    Saved,
    ToHost,
    Yielded,
)

PROGRESS_SECONDS = 0.1
PREVIEW_SECONDS = 1.0
CHUNK_BYTES = 1 << 20
_PREVIEW_TYPES = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpg"), (b"RIFF", "webp"))

Send = Callable[[ToHost], None]


class ProcessLoadContext(LoadContext):
    """Sends the progress of a load, ten times a second at most and always the last of a stage."""

    _send: Send = staticmethod(lambda message: None)
    _stage = ""
    _held: Moved | None = None
    _sent_at = -math.inf

    def attach(self, send: Send) -> None:
        """Report to `send` from now on."""
        self._send = send

    def enter(self, stage: str) -> None:
        """Go on to `stage`."""
        self.progress(0, None, stage=stage)

    def progress(self, done: float, total: float | None, *, unit: str = "", stage: str | None = None) -> None:
        """Report `done` of `total` within the current stage (or `stage`)."""
        entered = stage is not None and stage != self._stage
        if entered:
            self.flush()
            self._stage = stage or ""
        moved = Moved(self._stage, float(done), None if total is None else float(total), unit)
        now = time.monotonic()
        if not entered and now - self._sent_at < PROGRESS_SECONDS:
            self._held = moved
            return
        self._held, self._sent_at = None, now
        self._send(moved)

    def flush(self) -> None:
        """Send what was held back."""
        held, self._held = self._held, None
        if held is not None:
            self._send(held)


class Reports:
    """The way of one call's reports to the host: in order, and never more than `WINDOW` ahead of it."""

    def __init__(self, call_id: str, send: Send) -> None:
        self.call_id = call_id
        self.send = send
        self._credit = threading.Semaphore(WINDOW)

    def report(self, message: ToHost) -> None:
        """Send a report that the host acknowledges; waits while too many are under way."""
        self._credit.acquire()
        self.send(message)

    def credited(self, count: int) -> None:
        """Note that the host has dealt with `count` reports."""
        self._credit.release(count)


class StopFlag:
    """Whether a call should stop, and whether its task has been told."""

    def __init__(self) -> None:
        self._asked: Stop | None = None
        self.told: Stop | None = None

    def ask(self, *, interrupted: bool) -> None:
        """Ask for the stop; the first kind asked for stays."""
        self._asked = self._asked or (Interrupted() if interrupted else Canceled())

    @property
    def asked(self) -> bool:
        """Say whether somebody asked."""
        return self._asked is not None

    def tell(self) -> Stop | None:
        """Return what was asked for, which its task knows from now on."""
        self.told = self._asked
        return self.told

    def check(self) -> None:
        """Raise what was asked for."""
        if (stop := self.tell()) is not None:
            raise stop


class ProcessRunContext(RunContext):
    """One call in the model's process."""

    def __init__(self, item: Item, send: Send) -> None:
        resumed = Resumed(item.resumed[0], Path(item.resumed[1])) if item.resumed else None
        super().__init__(resumed=resumed)
        self.item = item
        self.reports = Reports(item.id, send)
        self.stop = StopFlag()
        self._held: Progressed | None = None
        self._progressed_at = self._previewed_at = -math.inf
        self._previews = self._files = 0
        self._shown: str | None = None
        self._confirmed = threading.Event()
        self._accepted = False

    @property
    def scratch(self) -> Path:
        """Return a folder of this run's own, removed after it."""
        if self._scratch is None:
            path = Path(self.item.scratch)
            path.mkdir(parents=True, exist_ok=True)
            self._scratch = path
        return self._scratch

    @property
    def scratch_used(self) -> bool:
        """Say whether the folder was made."""
        return self._scratch is not None

    def progress(self, done: float, total: float | None = None, note: str = "", preview: bytes | None = None) -> None:
        """Report progress; cheap enough for every step. `preview` is a small PNG or JPEG, throttled."""
        now = time.monotonic()
        fresh = preview is not None and now - self._previewed_at >= PREVIEW_SECONDS
        if preview is not None and fresh:
            self._shown, self._previewed_at = self._save_preview(preview), now
        # Named until the next one is there: of reports in a row only the last may travel, and it says all that is so.
        message = Progressed(self.item.id, float(done), None if total is None else float(total), note, self._shown)
        if not fresh and now - self._progressed_at < PROGRESS_SECONDS:
            self._held = message
            return
        self._held, self._progressed_at = None, now
        self.reports.report(message)

    def flush(self) -> None:
        """Send the progress that was held back."""
        held, self._held = self._held, None
        if held is not None:
            self.reports.report(held)

    def metrics(self, **values: float) -> None:
        """Report numbers worth a graph, such as an epoch's losses."""
        self.flush()
        numbers = {name: number if math.isfinite(number := float(value)) else None for name, value in values.items()}
        self.reports.report(Measured(self.item.id, numbers))

    def log(self, text: str) -> None:
        """Write a line to the job's log, as `print` does."""
        self.reports.report(Logged(self.item.id, cleaned(str(text))))

    def check(self) -> None:
        """Raise `Canceled` or `Interrupted` if the run should stop; call it at each step."""
        self.stop.check()

    def chunk(self, output_json: bytes) -> None:
        """Send one value of a stream."""
        self.reports.report(Yielded(self.item.id, output_json))

    def checkpoint(self, step: int, writer: Callable[[Path], None]) -> None:
        """Let `writer` write a file and make it the point to resume from; returns once it is durable.

        Raises:
            Canceled: the job is somebody else's by now.
        """
        self.flush()
        path = self._written(step, writer)
        self._confirmed.clear()
        self.reports.report(Checkpointed(self.item.id, step, str(path)))
        self._confirmed.wait()
        if not self._accepted:
            self.stop.ask(interrupted=False)
            self.stop.check()
        # The host has stored it, but the task may ask to resume from it: only the one before is of no use any more.
        previous, self._resumed = self._resumed, Resumed(step, path)
        if previous is not None and previous.path != path:
            previous.path.unlink(missing_ok=True)

    def confirm(self, *, accepted: bool) -> None:
        """Let `checkpoint` return, or raise."""
        self._accepted = accepted
        self._confirmed.set()

    def _written(self, step: int, writer: Callable[[Path], None]) -> Path:
        path = self.scratch / f"checkpoint-{step}"
        draft = path.with_name(f"{path.name}.draft")
        writer(draft)
        if not draft.is_file():
            raise FileNotFoundError(f"the writer of checkpoint {step} wrote no file at the path it was given")
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
        return path

    def save(self, name: str, data: bytes | Path, media_type: str | None = None) -> Artifact:
        """Store a result file under `name` and return the reference to put into the result."""
        artifact = self._store(checked_file_name(name), data, media_type)
        self.saved = [*(kept for kept in self.saved if kept.key != artifact.key), artifact]
        return artifact

    def _save_preview(self, data: bytes) -> str:
        ending = next((ending for magic, ending in _PREVIEW_TYPES if data.startswith(magic)), None)
        if ending is None:
            raise ValueError("a preview is the bytes of a PNG, JPEG or WebP picture")
        self._previews += 1
        return self._store(f"preview/{self._previews}.{ending}", data, None).uri

    def _store(self, name: str, data: bytes | Path, media_type: str | None) -> Artifact:
        # Numbered: the host may still be reading the file that an earlier save under this name left.
        self._files += 1
        folder = self.scratch / "saved"
        folder.mkdir(exist_ok=True)
        path = folder / str(self._files)
        with path.open("xb") as target:
            size, digest = _copied(data, target)
        key = f"{self.item.prefix}/{name}" if self.item.prefix else name
        artifact = Artifact(key, size, digest, media_type or guess_media_type(name))
        self.reports.report(Saved(self.item.id, artifact, str(path)))
        return artifact


class BatchContext(RunContext):
    """The common context of the calls of one batch."""

    def __init__(self, contexts: Sequence[ProcessRunContext]) -> None:
        super().__init__()
        self._contexts = contexts

    @property
    def calls(self) -> Sequence[RunContext]:
        """Return the contexts of the calls, in the order of the lists."""
        return self._contexts

    @property
    def scratch(self) -> Path:
        """Return the folder of the first call: the batch has no other."""
        return self._contexts[0].scratch

    def progress(self, done: float, total: float | None = None, note: str = "", preview: bytes | None = None) -> None:
        """Report progress for each call."""
        for context in self._contexts:
            context.progress(done, total, note, preview)

    def metrics(self, **values: float) -> None:
        """Report numbers for each call."""
        for context in self._contexts:
            context.metrics(**values)

    def log(self, text: str) -> None:
        """Write a line to the log of each call."""
        for context in self._contexts:
            context.log(text)

    def check(self) -> None:
        """Raise once every call of the batch should stop."""
        if all(context.stop.asked for context in self._contexts):
            for context in self._contexts[1:]:
                context.stop.tell()
            self._contexts[0].check()

    def checkpoint(self, step: int, writer: Callable[[Path], None]) -> None:
        """Refuse: a batch cannot be resumed."""
        raise BugError("a batch has no checkpoint; use ctx.calls[i].checkpoint")

    def save(self, name: str, data: bytes | Path, media_type: str | None = None) -> Artifact:
        """Refuse: a file belongs to one call."""
        raise BugError("in a batch, use ctx.calls[i].save: a file belongs to one call")


def _copied(data: bytes | Path, target: BinaryIO) -> tuple[int, str]:
    digest = hashlib.sha256()
    if isinstance(data, Path):
        size = 0
        with data.open("rb") as source:
            while piece := source.read(CHUNK_BYTES):
                digest.update(piece)
                size += target.write(piece)
        return size, digest.hexdigest()
    digest.update(data)
    return target.write(data), digest.hexdigest()
