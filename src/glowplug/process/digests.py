"""Checking files against SHA-256 digests: one that is given, or those that a file `SHA256SUMS` lists."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path

from glowplug.errors import Corrupt, NotFound, SettingsError
from glowplug.lifecycle import in_thread

SUMS = "SHA256SUMS"
BLOCK_BYTES = 8 << 20
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)")


def listed_digests(folder: Path) -> dict[str, str]:
    """Return the digest of each file that `SHA256SUMS` in `folder` lists, by its path; empty without such a file.

    Raises:
        Corrupt: the list is not one that `sha256sum` writes.
    """
    try:
        text = (folder / SUMS).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except UnicodeDecodeError as error:
        raise Corrupt(f"{folder / SUMS} is not a list of digests") from error
    lines = [_LINE.fullmatch(line) for line in text.splitlines() if line.strip()]
    if None in lines:
        raise Corrupt(f"{folder / SUMS} is not a list of digests; write it with sha256sum")
    return {line[2]: line[1].lower() for line in lines if line is not None}


def mismatches(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Name the files that are absent from `found`, or have another digest there."""
    return [name for name, digest in expected.items() if found.get(name) != digest]


class InPlace:
    """Weights that are used where they lie. `memory` is a folder that keeps what was verified: it is done once."""

    def __init__(self, path: Path, sha256: str | None, memory: Path) -> None:
        self.path = path
        self._sha256 = sha256
        self._memory = memory
        self._expected: dict[Path, str] = {}

    async def measure(self) -> int:
        """Return how many bytes `run` has to read; 0 if there is nothing to verify, or it was done before."""
        self._expected = await in_thread(None, self._to_verify)
        return sum(file.stat().st_size for file in self._expected)

    async def run(self, report: Callable[[int], None]) -> Path:
        """Verify and return the path. Raises `Corrupt`; the files are their owner's, and stay."""
        done_bytes = 0
        for file, expected in self._expected.items():
            digest = hashlib.sha256()
            with await in_thread(None, FileIO, file) as stream:
                while block := await in_thread(None, stream.read, BLOCK_BYTES):
                    await in_thread(None, digest.update, block)
                    done_bytes += len(block)
                    report(done_bytes)
            if digest.hexdigest() != expected:
                raise Corrupt(f"{file} has the SHA-256 {digest.hexdigest()}, not {expected}", path=str(file))
        if self._expected:
            await in_thread(None, self._remember)
        return self.path

    def _to_verify(self) -> dict[Path, str]:
        if not self.path.exists():
            raise NotFound(f"there are no weights at {self.path}", path=str(self.path))
        if self._sha256 is not None:
            if self.path.is_dir():
                raise SettingsError(f"#sha256= is for one file, and {self.path} is a folder; use {SUMS} in it")
            expected = {self.path: self._sha256}
        else:
            expected = {self.path / name: digest for name, digest in listed_digests(self.path).items()}
        absent = [file for file in expected if not file.is_file()]
        if absent:
            raise Corrupt(f"{self.path / SUMS} lists {absent[0].name}, which is not there", path=str(absent[0]))
        with suppress(OSError, ValueError):
            if json.loads(self._marker().read_text(encoding="utf-8")) == _states(expected):
                return {}
        return expected

    def _remember(self) -> None:
        # A cache that cannot be written to only costs the reading next time.
        with suppress(OSError):
            self._memory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._marker().write_text(json.dumps(_states(self._expected)), encoding="utf-8")

    def _marker(self) -> Path:
        return self._memory / f"{hashlib.sha256(str(self.path).encode()).hexdigest()[:16]}.json"


def _states(expected: Mapping[Path, str]) -> dict[str, list[object]]:
    """Return what tells a changed file from the one that was verified."""
    found = {file: file.stat() for file in expected}
    return {str(file): [stat.st_size, stat.st_mtime_ns, expected[file]] for file, stat in found.items()}
