"""The shelf: which artifacts a caller may see, and where new ones go.

A job's artifacts are those that its row speaks of. What a lost attempt has written is nowhere to be found; previews
of the running attempt are shown before the end, the last few of them also when the row has moved on to the next.
What lies outside of the folders that are kept here, such as data sets, is for those alone who see everything.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from glowplug.artifact import KEPT_FOLDERS, SCHEME, Artifact, ArtifactStore, Stat, checked_folder, checked_key
from glowplug.errors import Conflict, Corrupt, Forbidden, InvalidInput, LeaseLost, NotFound
from glowplug.gateway.bodies import too_large
from glowplug.gateway.room import Room
from glowplug.gateway.subjects import Subject, job_for
from glowplug.job import Job, JobState
from glowplug.model import guess_media_type
from glowplug.store import Report, Store

JOBS_REMEMBERED = 512
PREVIEWS_REMEMBERED = 16
OPEN_FOLDERS = ("inputs/", "calls/")


@dataclass(frozen=True, slots=True)
class Found:
    """A visible artifact; `sha256` is None where only the bytes would tell."""

    stat: Stat
    media_type: str
    sha256: str | None = None


class Shelf:
    """The callers' and the workers' side of the artifacts."""

    def __init__(self, store: Store, artifacts: ArtifactStore, room: Room, limit_bytes: int) -> None:
        self._store = store
        self._artifacts = artifacts
        self._room = room
        self._limit_bytes = limit_bytes
        self._previews: OrderedDict[str, deque[str]] = OrderedDict()

    async def find(self, key: str, subject: Subject) -> Found:
        """Return an artifact that the subject may see. Raises `NotFound`, `InvalidInput`."""
        checked_key(key)
        # Their names hold a random part that only the one who made them knows.
        if key.startswith(OPEN_FOLDERS):
            return Found(await self._artifacts.stat(key), guess_media_type(key))
        if key.startswith("jobs/"):
            return await self._of_job(key, subject)
        # Everything else in the store is the operator's own, but for what we keep there unfinished.
        if not subject.sees_all or key.partition("/")[0] in KEPT_FOLDERS:
            raise _missing(key)
        return Found(await self._artifacts.stat(key), guess_media_type(key))

    async def check_folder(self, key: str, subject: Subject) -> None:
        """Return if there is something below a folder that the subject may see all of.

        Users see a folder of uploads whose random name they know, and no other: a listing would tell them names.

        Raises:
            NotFound, InvalidInput: there is none such.
        """
        prefix = checked_folder(key)
        named = key.startswith(OPEN_FOLDERS) and "/" in prefix
        if not subject.sees_all and not named:
            raise _missing(key)
        async for _ in self._artifacts.walk(prefix):
            return
        raise _missing(key)

    async def upload(self, name: str, chunks: AsyncIterator[bytes], media_type: str | None) -> Artifact:
        """Store a caller's file under a key of its own. Raises `TooLarge` while it streams, `DiskFull`."""
        if "/" in name:
            raise InvalidInput("an artifact's name is a plain file name, without folders")
        key = checked_key(f"inputs/{secrets.token_hex(8)}/{name}")
        return await self._put(key, chunks, media_type or guess_media_type(name))

    async def keep(self, key: str, data: bytes, media_type: str) -> Artifact:
        """Store bytes that a caller wrote into an input. Raises `DiskFull`."""

        async def once() -> AsyncIterator[bytes]:
            yield data

        return await self._put(key, once(), media_type)

    async def place(self, key: str, target: str) -> None:
        """Lay a copy of an artifact at `target`, outside of the kept folders; what is newer there stays.

        Raises:
            InvalidInput: the target cannot be.
            NotFound: the artifact is no more, and nothing is at the target either.
            DiskFull: there is no room for it.
        """
        if checked_key(target).partition("/")[0] in KEPT_FOLDERS:
            raise InvalidInput(f"nothing can be laid at {target[:80]!r}: that folder is kept by Glowplug")
        there = await self._known(target)
        source = await self._known(key)
        if there is not None and (source is None or there.modified_at > source.modified_at):
            return
        self._room.check()
        await self._artifacts.copy(key, target, media_type=guess_media_type(target))

    async def _known(self, key: str) -> Stat | None:
        try:
            return await self._artifacts.stat(key)
        except NotFound:
            return None

    async def delete(self, key: str, subject: Subject) -> None:
        """Delete an upload. Raises `NotFound`, and `Conflict` for what belongs to a job."""
        await self.find(key, subject)
        if not key.startswith(OPEN_FOLDERS):
            raise Conflict("a job's artifacts go with their job; only uploads can be deleted")
        await self._artifacts.delete(key)

    async def store_for_worker(
        self, key: str, chunks: AsyncIterator[bytes], media_type: str, sha256: str | None
    ) -> Artifact:
        """Store what a worker sends, where it may write. Raises `LeaseLost`, `Forbidden`, `Corrupt`."""
        await self.check_writable(key)
        artifact = await self._put(key, chunks, media_type)
        if sha256 is not None and sha256.lower() != artifact.sha256:
            await self._artifacts.delete(key)
            raise Corrupt("the bytes that arrived are not those that were announced; send them again", key=key)
        return artifact

    async def check_writable(self, key: str) -> None:
        """Return if a worker may write `key`: below an attempt that is running, or a direct call."""
        checked_key(key)
        if key.startswith("calls/"):
            return
        parts = key.split("/")
        if parts[0] != "jobs" or len(parts) < 4:
            raise Forbidden(f"a worker may not write {key[:80]!r}")
        job = await self._store.job(parts[1])
        if job.state is not JobState.RUNNING or job.token != token_of(key):
            raise LeaseLost(f"job {job.id} is no longer run under token {parts[2][:20]}")

    def remember(self, reports: Iterable[Report]) -> None:
        """Keep the previews that running attempts have just shown."""
        for report in reports:
            for note in report.notes:
                if note.progress is not None and note.progress.preview:
                    self._keep(report.hold.job_id, note.progress.preview.removeprefix(SCHEME))

    def _keep(self, job_id: str, key: str) -> None:
        kept = self._previews.setdefault(job_id, deque(maxlen=PREVIEWS_REMEMBERED))
        if key not in kept:
            kept.append(key)
        self._previews.move_to_end(job_id)
        if len(self._previews) > JOBS_REMEMBERED:
            self._previews.popitem(last=False)

    async def _of_job(self, key: str, subject: Subject) -> Found:
        try:
            job = await job_for(self._store, subject, key.split("/")[1])
        except NotFound as error:
            raise _missing(key) from error
        for artifact in job.artifacts:
            if artifact.key == key:
                return Found(await self._artifacts.stat(key), artifact.media_type, artifact.sha256)
        shown = token_of(key) == job.token and key in self._previews.get(job.id, ())
        if not shown and key not in referenced(job):
            raise _missing(key)
        return Found(await self._artifacts.stat(key), guess_media_type(key))

    async def _put(self, key: str, chunks: AsyncIterator[bytes], media_type: str) -> Artifact:
        self._room.check()
        return await self._artifacts.put(key, self._limited(chunks), media_type=media_type)

    async def _limited(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            if size > self._limit_bytes:
                raise too_large(self._limit_bytes)
            yield chunk


def referenced(job: Job) -> frozenset[str]:
    """Return the keys that a job's row speaks of: these are its visible artifacts."""
    keys = {artifact.key for artifact in job.artifacts}
    if job.checkpoint is not None:
        keys.add(job.checkpoint.artifact.key)
    if job.progress is not None and job.progress.preview:
        keys.add(job.progress.preview.removeprefix(SCHEME))
    return frozenset(keys)


def token_of(key: str) -> int:
    """Return the token in `jobs/{id}/{token}/…`, -1 for a key of another form."""
    parts = key.split("/")
    return int(parts[2]) if len(parts) > 3 and parts[2].isdecimal() else -1


def _missing(key: str) -> NotFound:
    return NotFound(f"no artifact {key[:80]!r}")
