"""One attempt of a job, from its grant to the outcome that is to be settled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import msgspec

from glowplug.artifact import ArtifactStore, job_prefix, named_in
from glowplug.clock import Clock
from glowplug.errors import GlowplugError
from glowplug.job import Checkpoint, Note, Outcome, OutcomeKind, Progress
from glowplug.link import Grant
from glowplug.process.call import Call
from glowplug.process.host import Host
from glowplug.runtime.backoff import Backoff, until_reached
from glowplug.runtime.folders import Copied, FolderLimits
from glowplug.runtime.inputs import Resumption, fetch_checkpoint, fetch_inputs, file_keys, is_worth_resuming
from glowplug.runtime.outcomes import failed, outcome_of
from glowplug.runtime.scratch import remove
from glowplug.runtime.sink import JobSink, SinkParts
from glowplug.runtime.web_inputs import WebReader, fetch_web_files, web_files
from glowplug.store import Hold, ModelInfo, TaskInfo

_encode = msgspec.json.Encoder().encode


class Phase(Enum):
    """How far an attempt is: a stop means something else in each."""

    PREPARING = "preparing"
    RUNNING = "running"
    ENDING = "ending"


@dataclass(frozen=True, slots=True)
class JobParts:
    """What every attempt needs. `slot_changed` is called when an attempt begins to use a slot and when it leaves it.

    `folders` bounds what its input may bring; `web` reads addresses that it names, None leaves them to the task.
    """

    artifacts: ArtifactStore
    sinks: SinkParts
    clock: Clock
    backoff: Backoff
    scratch: Path
    slot_changed: Callable[[], None]
    folders: FolderLimits = FolderLimits()
    web: WebReader | None = None


class JobRun:
    """An attempt that can be stopped in every phase.

    `lost` says that the job is somebody else's: nothing of it may be told any more. `fenced` says that it may be:
    only a result that is there already is told, else that the job is free.
    """

    def __init__(self, grant: Grant, found: tuple[Host, ModelInfo, TaskInfo], parts: JobParts) -> None:
        self.grant = grant
        self.host, self._model, self._task = found
        self.phase = Phase.PREPARING
        self.lost = False
        self.fenced = False
        self._parts = parts
        self._stopped: OutcomeKind | None = None
        self._preparation: asyncio.Task[Call] | None = None
        self._sink: JobSink | None = None
        self._folder = parts.scratch / self.call_id

    @property
    def hold(self) -> Hold:
        """Return the claim that the attempt runs under."""
        return self.grant.hold

    @property
    def call_id(self) -> str:
        """Return the id of the call in the model's process; another attempt of the job has another one."""
        return f"{self.grant.hold.job_id}-{self.grant.hold.token}"

    def stop(self, kind: OutcomeKind) -> None:
        """Ask for an end as `kind`: CANCELED or INTERRUPTED. A result that is there already is kept."""
        if self._stopped is not None:
            return
        self._stopped = kind
        if self.phase is Phase.RUNNING:
            self.host.stop_call(self.call_id, kind)
        elif self._preparation is not None:
            self._preparation.cancel()

    def lose(self) -> None:
        """Stop, and throw the work away: the lease is lost."""
        self.lost = True
        self._give_up()

    def fence(self) -> None:
        """Stop because nobody confirmed the lease for too long."""
        self.fenced = True
        self._give_up()

    def _give_up(self) -> None:
        self.stop(OutcomeKind.CANCELED)
        if self._sink is not None:
            self._sink.abandon()

    async def run(self) -> Outcome:
        """Run the attempt; whatever happens, there is an outcome and the scratch folder is gone."""
        try:
            outcome = await self._run()
        except GlowplugError as error:
            outcome = failed(error)
        finally:
            self.phase = Phase.ENDING
            self._parts.slot_changed()
            if self._sink is not None:
                await self._sink.uploads.close()
            await remove(self._folder)
        # Told although the lease may be gone: the token guards it, and if the job is still ours it is free at once.
        if self.fenced and outcome.kind is not OutcomeKind.COMPLETED:
            return Outcome(OutcomeKind.INTERRUPTED, failure=outcome.failure)
        return outcome

    async def _run(self) -> Outcome:
        self._sink = sink = JobSink(self.hold, self._model.version, self._parts.sinks)
        call = await self._prepared()
        if call is None or self._stopped is not None:
            return Outcome(self._stopped or OutcomeKind.INTERRUPTED)
        self.phase = Phase.RUNNING
        end = await self.host.run(call, sink)
        self.phase = Phase.ENDING
        self._parts.slot_changed()
        if end.kind is OutcomeKind.COMPLETED:
            await sink.uploads.settled()
        return outcome_of(end, sink.uploads.stored, sink.chunks if self._task.streams else None)

    async def forget_checkpoints(self) -> None:
        """Delete the attempt's checkpoints: the job is completed."""
        if self._sink is not None:
            await self._sink.forget_checkpoints(0)

    async def _prepared(self) -> Call | None:
        call = Call(
            id=self.call_id,
            task=self._task.name,
            input_json=_encode(self.grant.input),
            scratch=self._folder,
            prefix=job_prefix(self.hold.job_id, self.hold.token),
            timeout_seconds=self._task.timeout_seconds,
        )
        keys = file_keys(named_in(self.grant.input, self._task.input_schema))
        urls = web_files(self.grant.input, self._task.input_schema) if self._parts.web is not None else []
        if not keys and not urls and self.grant.checkpoint is None:
            return call
        self._preparation = asyncio.create_task(self._fetched(call, keys, urls), name="preparation")
        try:
            # Not awaited itself: a stop cancels the preparation alone, and this attempt still has an end to tell.
            await asyncio.wait([self._preparation])
        finally:
            self._preparation.cancel()
        return None if self._preparation.cancelled() else self._preparation.result()

    async def _fetched(self, call: Call, keys: list[str], urls: list[str]) -> Call:
        store, limits, folder = self._parts.artifacts, self._parts.folders, self._folder / "inputs"
        files = await until_reached(
            lambda: fetch_inputs(store, keys, folder, limits, self._tell_copied),
            self._parts.clock,
            self._parts.backoff,
        )
        if self._parts.web is not None and urls:
            files |= await fetch_web_files(self._parts.web, urls, self._folder / "web", limits.size_bytes)
        if self.grant.checkpoint is None:
            return replace(call, files=files)
        resumption = await self._resumption(self.grant.checkpoint)
        told = {"step": resumption.step, **({"reason": resumption.reason} if resumption.reason else {})}
        self._parts.sinks.notebook.add(self.hold, Note("resumed", told))
        resumed = (resumption.step, str(resumption.path)) if resumption.path else None
        return replace(call, files=files, resumed=resumed)

    def _tell_copied(self, copied: Copied) -> None:
        # Without a total, so that the task's own progress need not begin behind what was shown here.
        data = {"done": copied.files, "total": None, "percent": None, "note": copied.note, "preview": None}
        progress = Progress(copied.files, None, copied.note)
        self._parts.sinks.notebook.add(self.hold, Note("progress", data, progress=progress))

    async def _resumption(self, checkpoint: Checkpoint) -> Resumption:
        if not is_worth_resuming(checkpoint, self._model, self._task):
            reason = f"the checkpoint is of version {checkpoint.model_version}, the model is {self._model.version} now"
            return Resumption(reason=reason)
        parts = self._parts
        return await until_reached(
            lambda: fetch_checkpoint(parts.artifacts, checkpoint, self._folder), parts.clock, parts.backoff
        )
