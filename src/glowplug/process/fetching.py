"""Weights in object storage: brought into the cache by one process of the machine, while the others wait and watch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from glowplug.artifact import ArtifactStore, checked_key
from glowplug.clock import Clock
from glowplug.errors import Corrupt, NotFound, SettingsError, Unreachable
from glowplug.events import emit
from glowplug.lifecycle import in_thread
from glowplug.process.cache import FILES, CacheEntry, FileRecord, Manifest
from glowplug.process.digests import SUMS, listed_digests, mismatches
from glowplug.process.download import Download, RemoteFile, journaled_bytes

POLL_SECONDS = 0.2

OpenSource = Callable[[str], tuple[ArtifactStore, str]]
"""Gives the store that an address lies in, perhaps not yet started, and the key or folder within it."""


class Fetching:
    """One bringing of the weights at `url` to their place in the cache."""

    def __init__(
        self, url: str, sha256: str | None, entry: CacheEntry, *, open_source: OpenSource, clock: Clock
    ) -> None:
        self.entry = entry
        self.here = False
        self._url = url
        self._sha256 = sha256
        self._open_source = open_source
        self._clock = clock
        self._store: ArtifactStore | None = None
        self._ours_to_stop = False
        self._prefix = ""
        self._files: list[RemoteFile] = []

    async def measure(self) -> int:
        """Return how many bytes are to be brought; 0 if they are here, and then they are locked against removal."""
        if self.entry.try_lock(alone=False) and self.entry.complete() is not None:
            return 0
        self.entry.unlock()
        await self._open()
        return sum(file.size_bytes for file in self._files)

    async def run(self, report: Callable[[int], None]) -> Path:
        """Return the path of the complete weights, locked against removal; `report` gets the bytes that are there."""
        while True:
            await self._lock(report, alone=False)
            manifest = self.entry.complete()
            if manifest is not None:
                self.entry.mark_used()
                self.here = True
                return self.entry.path_of(manifest)
            await self._lock(report, alone=True)
            if self.entry.complete() is None:
                await self._bring(report)

    async def close(self) -> None:
        """Let go of the store, and of the lock unless the weights are `here`."""
        if not self.here:
            self.entry.unlock()
        store, self._store = self._store, None
        if store is not None and self._ours_to_stop:
            await store.stop()

    async def _open(self) -> ArtifactStore:
        if self._store is None:
            store, self._prefix = self._open_source(self._url)
            self._ours_to_stop = not store.started
            await store.start()
            self._store = store
            self._files = await self._list(store)
        return self._store

    async def _list(self, store: ArtifactStore) -> list[RemoteFile]:
        """Return what lies at the address: the one file of that name, or all files of that folder."""
        try:
            found = [await store.stat(self._prefix)] if self._prefix else []
        except NotFound:
            found = []
        cut = len(self._prefix.rpartition("/")[0]) + 1 if found and "/" in self._prefix else 0
        if not found:
            found = sorted([one async for one in store.walk(self._prefix)], key=lambda one: one.key)
            cut = len(self._prefix) + 1 if self._prefix else 0
        if not found:
            raise NotFound(f"there are no weights at {self._url}")
        return [
            RemoteFile(checked_key(one.key[cut:]), one.key, one.size_bytes, one.modified_at.isoformat())
            for one in found
        ]

    @property
    def _single(self) -> bool:
        return [file.key for file in self._files] == [self._prefix]

    async def _lock(self, report: Callable[[int], None], *, alone: bool) -> None:
        while not self.entry.try_lock(alone=alone):
            report(await in_thread(None, journaled_bytes, self.entry.partial / FILES))
            await self._clock.sleep(POLL_SECONDS)

    async def _bring(self, report: Callable[[int], None]) -> None:
        begun = self._clock.monotonic()
        store = await self._open()
        if self._sha256 is not None and not self._single:
            raise SettingsError(f"#sha256= is for the address of one file, and {self._url} is a folder; use {SUMS}")
        digests = await self._download(store, report)
        if await self._list(store) != self._files:
            raise Unreachable(f"{self._url} changed while it was fetched; try again")
        records = tuple(FileRecord(file.name, file.size_bytes, digests[file.name]) for file in self._files)
        await in_thread(None, self.entry.publish, Manifest(self._url, self._single, records))
        total_bytes = sum(file.size_bytes for file in self._files)
        emit("weights.fetched", source=self._url, bytes=total_bytes, seconds=self._clock.monotonic() - begun)

    async def _download(self, store: ArtifactStore, report: Callable[[int], None]) -> dict[str, str]:
        """Return the digest of every file; what does not match is fetched once more, and then given up."""
        folder = self.entry.partial / FILES
        digests = await Download(store, self._files, folder, clock=self._clock).run(report)
        if wrong := self._wrong(folder, digests):
            await in_thread(None, _drop, folder, wrong)
            digests = await Download(store, self._files, folder, clock=self._clock).run(report)
        if wrong := self._wrong(folder, digests):
            await in_thread(None, _drop, folder, wrong)
            raise Corrupt(f"{self._url}: {wrong[0]} does not have the SHA-256 that was promised", files=wrong)
        return digests

    def _wrong(self, folder: Path, digests: dict[str, str]) -> list[str]:
        if self._sha256 is not None:
            return mismatches({self._files[0].name: self._sha256}, digests)
        try:
            wrong = mismatches(listed_digests(folder), digests)
        except Corrupt:
            return [SUMS]
        # Perhaps it is the list that was damaged.
        return [*wrong, SUMS] if wrong else []


def _drop(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
