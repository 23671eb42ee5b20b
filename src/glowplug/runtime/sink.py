"""What a running job reports, sorted: notes to the gateway, files to the artifact store, checkpoints to both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glowplug.artifact import Artifact, ArtifactStore, job_prefix
from glowplug.errors import GlowplugError, LeaseLost
from glowplug.job import Checkpoint, Note
from glowplug.runtime.notes import Notebook
from glowplug.runtime.uploads import Put, Uploads
from glowplug.store import Hold


@dataclass(frozen=True, slots=True)
class SinkParts:
    """Where reports go, and how much of them: `log_bytes` of log, the last `kept_checkpoints` of an attempt."""

    notebook: Notebook
    artifacts: ArtifactStore
    put: Put
    log_bytes: int
    kept_checkpoints: int


class JobSink:
    """The reports of one attempt of a job. Nothing is lost but progress that newer progress replaces."""

    def __init__(self, hold: Hold, model_version: str, parts: SinkParts) -> None:
        self._hold = hold
        self._model_version = model_version
        self._parts = parts
        self._log_left = parts.log_bytes
        self._checkpoints: list[str] = []
        self._abandoned = False
        self.uploads = Uploads(parts.put)
        self.chunks: list[bytes] = []

    async def note(self, note: Note) -> None:
        """Pass a note on, after the files that it may name."""
        kept = self._within_limit(note) if note.type == "log" else note
        if kept is not None and not self._abandoned:
            self.uploads.after(lambda: self._parts.notebook.add(self._hold, kept))

    async def saved(self, artifact: Artifact, path: Path) -> None:
        """Begin to store a file; the run goes on."""
        self.uploads.add(artifact, path)

    async def checkpoint(self, step: int, path: Path) -> None:
        """Store a checkpoint and make it the point to go on from; durable when this returns.

        Raises:
            LeaseLost: somebody else owns the job by now.
        """
        if self._abandoned:
            raise self._lost()
        key = f"{job_prefix(self._hold.job_id, self._hold.token)}/checkpoints/{step}"
        stored = await self.uploads.store(Artifact(key, 0, ""), path)
        checkpoint = Checkpoint(step, stored, self._model_version)
        data = {"step": step, "size_bytes": stored.size_bytes}
        self._parts.notebook.add(self._hold, Note("checkpoint", data, checkpoint=checkpoint))
        if not await self._parts.notebook.flush(self._hold):
            raise self._lost()
        if key not in self._checkpoints:
            self._checkpoints.append(key)
        await self.forget_checkpoints(self._parts.kept_checkpoints)

    async def chunk(self, output_json: bytes) -> None:
        """Keep one value of a task that streams: the job's result is the list of them."""
        self.chunks.append(output_json)

    def abandon(self) -> None:
        """Store and tell nothing more; a checkpoint that waits is refused."""
        self._abandoned = True
        self.uploads.abandon()
        self._parts.notebook.close(self._hold)

    async def forget_checkpoints(self, kept: int) -> None:
        """Delete the checkpoints of this attempt but the last `kept`; what cannot be deleted is swept with the job."""
        while len(self._checkpoints) > kept:
            try:
                await self._parts.artifacts.delete(self._checkpoints.pop(0))
            except GlowplugError:
                return

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"job {self._hold.job_id} belongs to somebody else by now")

    def _within_limit(self, note: Note) -> Note | None:
        size = sum(len(str(value).encode()) for value in note.data.values())
        if self._log_left < 0:
            return None
        self._log_left -= size
        if self._log_left >= 0:
            return note
        limit = self._parts.log_bytes // 1024
        return Note("log", {"text": f"[the log ends here: a job keeps {limit} KiB of it]"})
