"""The pages of all models on the cards of this machine, in a folder that its processes share.

Each page is a file that its owner keeps locked: a process that dies, however it dies, holds nothing any more.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from glowplug.errors import SettingsError
from glowplug.process.cards import Tenant
from glowplug.readiness.file_lock import lock_within

LOCK_SECONDS = 2.0
KEPT_SIZES = 512
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
_ENDING = ".page"
_decoder = msgspec.json.Decoder(Tenant)
_sizes = msgspec.json.Decoder(dict[str, int])

Edit = Callable[[list[Tenant]], Tenant]
"""Given the pages of the others, what one's own is to say."""


class Ledger:
    """The folder `folder`, and the page of one model in it. Its methods block, but not for long.

    `seen_at` is what `changed_at` said at the last `write`.

    They raise `SettingsError` where the folder cannot be used, and `TimeoutError`, in words for people too, where a
    process that was stopped has it locked.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}{_ENDING}"
        self._descriptor: int | None = None
        self._page = b""
        self.seen_at = 0

    @property
    def page_id(self) -> str:
        """Return what tells this page from the others."""
        return self._path.stem

    def changed_at(self) -> int:
        """Return a number that changes with every page, 0 without any."""
        with suppress(OSError):
            return self._folder.stat().st_mtime_ns
        return 0

    def write(self, edit: Edit) -> tuple[Tenant, list[Tenant]]:
        """Let `edit` say what our page says from now on, alone with it; return the page, and those of the others."""
        with self._alone():
            others = self._others()
            mine = edit(others)
            page = msgspec.json.encode(mine)
            # A page that stays as it is wakes nobody.
            if page != self._page or not self._is_there():
                self._put(page)
                self._page = page
            self.seen_at = self.changed_at()
            return mine, others

    def check(self) -> None:
        """Check that the folder can be used, and make it where it is missing."""
        with self._alone():
            pass

    def close(self) -> None:
        """Take our page out; harmless without one."""
        if self._descriptor is None:
            return
        with suppress(OSError, SettingsError, TimeoutError), self._alone():
            self._path.unlink(missing_ok=True)
            self._mark()
        self._let_go()

    def remembered_bytes(self, key: str) -> int | None:
        """Return what a load that is known by `key` took the last time, None if there was none."""
        with suppress(OSError, msgspec.DecodeError):
            return _sizes.decode((self._folder / "sizes.json").read_bytes()).get(key)
        return None

    def remember_bytes(self, key: str, held_bytes: int) -> None:
        """Keep what a load took; a folder that cannot be written to only means that the next one is guessed at."""
        with suppress(OSError, SettingsError, TimeoutError), self._alone():
            path = self._folder / "sizes.json"
            known: dict[str, int] = {}
            with suppress(OSError, msgspec.DecodeError):
                known = _sizes.decode(path.read_bytes())
            known.pop(key, None)
            known[key] = held_bytes
            temporary = path.with_suffix(".tmp")
            temporary.write_bytes(msgspec.json.encode(dict(list(known.items())[-KEPT_SIZES:])))
            temporary.replace(path)

    def _others(self) -> list[Tenant]:
        paths = [path for path in sorted(self._folder.glob(f"*{_ENDING}")) if path != self._path]
        return [tenant for tenant in map(_read, paths) if tenant is not None]

    def _is_there(self) -> bool:
        """Say whether others find our page: somebody may have emptied the folder."""
        with suppress(OSError):
            return self._descriptor is not None and os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        return False

    def _put(self, page: bytes) -> None:
        if not self._is_there():
            self._let_go()
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert self._descriptor is not None
        os.pwrite(self._descriptor, page, 0)
        os.ftruncate(self._descriptor, len(page))
        self._mark()

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._page = None, b""

    def _mark(self) -> None:
        # The file system's own clock is too coarse to tell two changes apart.
        os.utime(self._folder, ns=(time.time_ns(), time.time_ns()))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = None
        try:
            self._folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
            lock_within(LOCK_SECONDS, descriptor)
            yield
        except TimeoutError as error:
            told = f"{self._folder} is locked by a process that does not go on; find it with lsof, and end it"
            raise TimeoutError(told) from error
        except OSError as error:
            raise SettingsError(
                f"{self._folder} cannot be written to ({error.strerror}), so models cannot share a card; "
                "make it writable and its disk not full, or point GLOWPLUG_DATA at another folder"
            ) from error
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _read(path: Path) -> Tenant | None:
    """Return a page, None if its owner is gone, then it is removed, or if it is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            return None
        return _decoder.decode(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    except (msgspec.DecodeError, OSError):
        return None
    finally:
        os.close(descriptor)
