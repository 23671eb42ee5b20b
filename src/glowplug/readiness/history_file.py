"""Histories that outlive the process, in one small JSON file."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from glowplug.errors import Corrupt
from glowplug.readiness.file_lock import lock_within
from glowplug.readiness.history import History, Load, MemoryHistories

FORMAT = 1
KEPT_KEYS = 256
LOCK_SECONDS = 1.0
_log = logging.getLogger(__name__)


class HistoryFile:
    """Histories in the file at `path`, shared by any number of processes.

    Writes are atomic: a new file is written beside the old one and renamed over it, under a lock, so that two
    processes lose nothing of each other's. Where the file cannot be read or written, histories live in memory and one
    warning says why: a missing estimate is no reason to fail a load.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._memory = MemoryHistories()
        self._warned = False
        self._writing = threading.Lock()
        self._last_read: tuple[object, Mapping[str, History]] | None = None

    def past(self, key: str) -> History:
        """Return the history under `key`, empty when there is none; never waits for who writes."""
        try:
            past = self._read().get(key, History())
        except (OSError, Corrupt) as error:
            past = History()
            self._warn(error)
        # What could not be written is newer than what was read.
        for load in self._memory.past(key).loads:
            past = past.with_load(load)
        return past

    def record(self, key: str, load: Load) -> None:
        """Add a load to the history under `key`."""
        with self._writing:
            try:
                self._append(key, load)
            except (OSError, Corrupt) as error:
                self._memory.record(key, load)
                self._warn(error)

    def _append(self, key: str, load: Load) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self._path.with_name(self._path.name + ".lock")):
            # Not what was read before: should two files look the same after all, a load would be lost.
            self._last_read = None
            known = dict(self._read())
            # Taken out and put back at the end: what was loaded longest ago is forgotten first.
            known[key] = known.pop(key, History()).with_load(load)
            self._write(dict(list(known.items())[-KEPT_KEYS:]))

    def _read(self) -> Mapping[str, History]:
        """Return what the file holds; as each write makes a new file, one that looks the same is not read again."""
        try:
            with self._path.open("rb") as file:
                seen = os.fstat(file.fileno())
                mark = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
                if self._last_read is not None and self._last_read[0] == mark:
                    return self._last_read[1]
                text = file.read()
        except FileNotFoundError:
            return {}
        known = self._parsed(text)
        self._last_read = (mark, known)
        return known

    @staticmethod
    def _parsed(text: bytes) -> dict[str, History]:
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise Corrupt(f"format {data['format']!r} instead of {FORMAT}")
            return {key: History.from_dict(value) for key, value in data["histories"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Corrupt(f"not a file of load histories: {error!r}") from error

    def _write(self, known: dict[str, History]) -> None:
        data = {"format": FORMAT, "histories": {key: history.to_dict() for key, history in known.items()}}
        temporary = self._path.with_name(self._path.name + ".tmp")
        temporary.write_text(json.dumps(data, separators=(",", ":")), encoding="utf-8")
        temporary.replace(self._path)

    def _warn(self, error: Exception) -> None:
        if self._warned:
            return
        self._warned = True
        _log.warning(
            "load times are kept in memory only, so the next start knows less: %s: %s; "
            "make the file writable, or delete it to begin anew",
            self._path,
            error,
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file for a moment; bounded, because a process that holds it may be stopped."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        lock_within(LOCK_SECONDS, descriptor)
        yield
    finally:
        os.close(descriptor)
