"""The data folder: private to its owner, used by one gateway at a time, and how others on the machine find that one."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal

from glowplug.errors import SettingsError

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600


def default_folder(kind: Literal["data", "cache"]) -> Path:
    """Return the platform's own place for what must be kept, or for what can be fetched again."""
    import platformdirs

    dirs = platformdirs.PlatformDirs("glowplug", appauthor=False)
    return dirs.user_data_path if kind == "data" else dirs.user_cache_path


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """What `gateway.json` says of the gateway that runs on a data folder."""

    url: str
    pid: int
    started_at: str


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The places in the folder `root`; nothing is touched until `prepare`."""

    root: Path

    @property
    def database(self) -> Path:
        """Return the file of the embedded store."""
        return self.root / "glowplug.db"

    @property
    def lock(self) -> Path:
        """Return the file that a running gateway keeps locked."""
        return self.root / "lock"

    @property
    def gateway_file(self) -> Path:
        """Return the file that says where the running gateway is."""
        return self.root / "gateway.json"

    @property
    def worker_token(self) -> Path:
        """Return the file with the token that workers show to the gateway."""
        return self.root / "tokens" / "worker"

    @property
    def link_secret(self) -> Path:
        """Return the file with what links to artifacts are signed with."""
        return self.root / "tokens" / "links"

    @property
    def artifacts(self) -> Path:
        """Return the folder of the embedded artifact store."""
        return self.root / "artifacts"

    @property
    def cards(self) -> Path:
        """Return the folder in which models that share a card tell each other what they hold there."""
        return self.root / "cards"

    @property
    def scratch(self) -> Path:
        """Return the folder for files of running work."""
        return self.root / "scratch"

    def prepare(self) -> None:
        """Create what is missing, for the owner alone. Raises `SettingsError` if that cannot be."""
        try:
            for folder in (self.root, self.worker_token.parent, self.artifacts, self.scratch):
                folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            self.worker_token.parent.chmod(PRIVATE_FOLDER)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise SettingsError(
                f"the data folder {self.root} cannot be used: {error.strerror}; "
                "make it writable, or point GLOWPLUG_DATA at another folder"
            ) from error

    def read_worker_token(self) -> str:
        """Return the worker token, made on first use; processes that race for it get the same one."""
        return self._kept(self.worker_token)

    def read_link_secret(self) -> str:
        """Return the secret of links to artifacts, made on first use."""
        return self._kept(self.link_secret)

    def keep_worker_token(self, token: str) -> None:
        """Make a token that was set from outside the one that local workers read."""
        self._written_token(token).replace(self.worker_token)

    def _kept(self, path: Path) -> str:
        with suppress(FileNotFoundError):
            return _existing(path)
        path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        made = self._written_token(secrets.token_urlsafe(32))
        try:
            # A hard link appears whole or not at all, and never over another process's token.
            os.link(made, path)
        except FileExistsError:
            pass
        finally:
            made.unlink()
        return _existing(path)

    def _written_token(self, token: str) -> Path:
        # mkstemp makes files that only their owner can read.
        descriptor, name = tempfile.mkstemp(dir=self.worker_token.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(token)
        return Path(name)


def _existing(path: Path) -> str:
    token = path.read_text(encoding="utf-8").strip()
    if not token:
        raise SettingsError(f"{path} is empty; delete it and start the gateway again")
    return token


class GatewayLock:
    """A gateway's claim on a data folder, for as long as the `with` block; the kernel drops it with the process."""

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def __enter__(self) -> GatewayLock:
        """Take the lock. Raises `SettingsError` that names the gateway which has it."""
        descriptor = os.open(self._folder.lock, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise SettingsError(self._taken()) from error
        self._descriptor = descriptor
        self._folder.gateway_file.unlink(missing_ok=True)
        os.truncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        return self

    def announce(self, url: str) -> None:
        """Say where the gateway answers, for clients on this machine."""
        address = GatewayAddress(url, os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))
        made = self._folder.gateway_file.with_suffix(".new")
        made.write_text(json.dumps(asdict(address)), encoding="utf-8")
        made.chmod(PRIVATE_FILE)
        made.replace(self._folder.gateway_file)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._descriptor is None:
            return
        self._folder.gateway_file.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None

    def _taken(self) -> str:
        address = find_gateway(self._folder.root)
        with suppress(OSError):
            pid = address.pid if address else self._folder.lock.read_text(encoding="utf-8") or "unknown"
            at = f" at {address.url}" if address else ""
            return (
                f"a gateway (pid {pid}) already runs{at} on the data folder {self._folder.root}; "
                "use that one, stop it, or set GLOWPLUG_DATA to another folder"
            )
        return f"a gateway already runs on the data folder {self._folder.root}; set GLOWPLUG_DATA to another folder"


def find_gateway(root: Path) -> GatewayAddress | None:
    """Return the gateway that runs on the data folder `root`; None if there is none, or its process is gone."""
    try:
        said = json.loads((root / "gateway.json").read_text(encoding="utf-8"))
        address = GatewayAddress(str(said["url"]), int(said["pid"]), str(said["started_at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return address if _lives(address.pid) else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
