"""Weights: brought to this machine once, verified, and read into memory before a model maps them.

A declared address is a path or `file:` URL, used where it is, or an address in object storage, fetched into the cache.
`#sha256=<hex>` after the address of one file, or a file `SHA256SUMS` in a folder, says what the bytes must be. An
address stands for the same bytes for ever: weights that change get a new one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from glowplug.clock import Clock
from glowplug.errors import GlowplugError, SettingsError
from glowplug.events import emit
from glowplug.lifecycle import in_thread
from glowplug.process.cache import CacheEntry, clean
from glowplug.process.digests import InPlace
from glowplug.process.fetching import Fetching, OpenSource
from glowplug.process.readahead import read_ahead

SCHEMES = ("s3", "gs", "az")
REPORT_SECONDS = 0.1
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")

Progress = Callable[[int, int | None, str], None]
Bringing = InPlace | Fetching


@dataclass(frozen=True, slots=True)
class Address:
    """Where weights are: a `path` of this machine, or else what `url` says; `sha256` is that of a single file."""

    url: str
    path: Path | None = None
    sha256: str | None = None

    @property
    def identity(self) -> str:
        """Return what tells this address from others, digest and all."""
        return self.url if self.sha256 is None else f"{self.url}#sha256={self.sha256}"

    @classmethod
    def parse(cls, declared: str, schemes: Sequence[str] = SCHEMES) -> Address:
        """Read a declared address. Raises `SettingsError` that says what is allowed."""
        url, _, digest = declared.partition("#sha256=")
        if digest and not _DIGEST.fullmatch(digest):
            raise SettingsError(f"{declared!r}: #sha256= is followed by 64 hexadecimal digits")
        sha256 = digest.lower() or None
        scheme = _SCHEME.match(url)
        if scheme is None:
            return cls(url, Path(url).expanduser().absolute(), sha256)
        if scheme[1] == "file":
            return cls(url, Path(unquote(urlsplit(url).path)), sha256)
        if scheme[1] not in schemes:
            known = ", ".join([*[f"{one}:" for one in schemes], "file:", "a path"])
            raise SettingsError(f"weights cannot be fetched from {scheme[1]}: addresses; use one of {known}")
        return cls(url, None, sha256)


class Weights:
    """The weights of this machine, in the folder `weights` of `cache`.

    Those that were fetched stay locked against `clean`, of this and of any other process, until `release` or the end of
    the process. `open_source` gives the store of an address, and the key or folder within it.
    """

    def __init__(self, cache: Path, open_source: OpenSource, clock: Clock, *, schemes: Sequence[str] = SCHEMES) -> None:
        self._cache = cache / "weights"
        self._open_source = open_source
        self._clock = clock
        self._schemes = schemes
        self._held: dict[Address, CacheEntry] = {}

    async def fetch(self, declared: Mapping[str, str], progress: Progress) -> dict[str, Path]:
        """Return a local path for each name: fetched if need be, verified, and read into memory.

        `progress` gets bytes done, bytes in all, and `fetch` or `read`, at most ten times a second and at the end of
        each. A fetch that is canceled or killed goes on where it was; one that another process does is waited for.

        Raises:
            SettingsError: an address is of no kind we know.
            NotFound: there is nothing at the address.
            Unreachable: the source did not answer; what was fetched is kept for the next try.
            DiskFull: there is no room; the message has the figures.
            Corrupt: the bytes are not what was promised, twice.
        """
        addresses = {name: Address.parse(address, self._schemes) for name, address in declared.items()}
        report = _Paced(progress, self._clock)
        try:
            paths = await self._bring(list(dict.fromkeys(addresses.values())), report)
            files = await in_thread(None, _files_of, list(paths.values()))
            await read_ahead(files, lambda done, total: report(done, total, "read"))
        except OSError as error:
            raise SettingsError(f"weights cannot be read: {error}") from error
        except GlowplugError as error:
            emit("weights.failed", source=", ".join(declared.values()), error=error.message)
            raise
        return {name: paths[address] for name, address in addresses.items()}

    async def clean(self, keep_bytes: int) -> int:
        """Remove the least recently used weights until at most `keep_bytes` are left; return the bytes that went.

        What any process fetches or uses stays.
        """
        return await in_thread(None, clean, self._cache, keep_bytes)

    def release(self) -> None:
        """Let `clean` remove what was fetched."""
        while self._held:
            self._held.popitem()[1].unlock()

    async def _bring(self, addresses: Sequence[Address], report: _Paced) -> dict[Address, Path]:
        bringings = {address: self._bringing(address) for address in addresses}
        paths: dict[Address, Path] = {}
        try:
            sizes = {address: await bringing.measure() for address, bringing in bringings.items()}
            total_bytes, before = sum(sizes.values()), 0
            for address, bringing in bringings.items():
                paths[address] = await bringing.run(_shifted(report, before, total_bytes))
                before += sizes[address]
        finally:
            for address, bringing in bringings.items():
                await self._end(address, bringing)
        return paths

    def _bringing(self, address: Address) -> Bringing:
        if address.path is not None:
            return InPlace(address.path, address.sha256, self._cache / "verified")
        held = self._held.get(address)
        if held is not None and held.complete() is None:
            # Somebody deleted files of it; our own hold must not keep us from fetching them again.
            self._held.pop(address).unlock()
        entry = CacheEntry.of(self._cache, address.identity)
        return Fetching(address.url, address.sha256, entry, open_source=self._open_source, clock=self._clock)

    async def _end(self, address: Address, bringing: Bringing) -> None:
        if not isinstance(bringing, Fetching):
            return
        await bringing.close()
        if bringing.here:
            earlier = self._held.pop(address, None)
            self._held[address] = bringing.entry
            if earlier is not None:
                earlier.unlock()


class _Paced:
    """Passes progress on ten times a second, and whenever a stage begins or ends."""

    def __init__(self, progress: Progress, clock: Clock) -> None:
        self._progress = progress
        self._clock = clock
        self._last: tuple[int, int, str] = (-1, -1, "")
        self._last_at = 0.0

    def __call__(self, done_bytes: int, total_bytes: int, stage: str) -> None:
        now = self._clock.monotonic()
        told = (done_bytes, total_bytes, stage)
        turn = stage != self._last[2] or done_bytes >= total_bytes or now - self._last_at >= REPORT_SECONDS
        if turn and told != self._last:
            self._last, self._last_at = told, now
            self._progress(*told)


def _shifted(report: _Paced, before: int, total_bytes: int) -> Callable[[int], None]:
    return lambda done_bytes: report(before + done_bytes, total_bytes, "fetch")


def _files_of(paths: Sequence[Path]) -> list[Path]:
    return [
        file
        for path in paths
        for file in ([path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file()))
    ]
