"""Noticing that a server runs the application more than once, or again and again, and saying what that means."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from glowplug.events import emit

_SERVERS = {"fastapi": "uvicorn", "granian": "granian", "gunicorn": "gunicorn", "hypercorn": "hypercorn"}
_SERVERS["uvicorn"] = "uvicorn"
_SHORT = frozenset(("gunicorn", "hypercorn"))
"""Servers that know `-w`."""
_WORKERS = (
    "each worker process loads its own copy of every component, and a probe, a stream or a retry reaches one of them "
    "at random; use one worker, with isolate=True for what must not share it, or put the models behind the gateway"
)
_RELOAD = (
    "each change of a file loads every component again; give tests and development something quick in place of a "
    "heavy loader"
)
_PERHAPS = f"with several workers {_WORKERS}; with reloading {_RELOAD}"


@dataclass(frozen=True, slots=True)
class Copies:
    """How often the application runs: `count` worker processes, None where that is not known; or reloaded."""

    server: str
    count: int | None = None
    reloads: bool = False

    @property
    def meaning(self) -> str:
        """Return what it means, and what to do."""
        if self.reloads:
            return _RELOAD
        return _PERHAPS if self.count is None else _WORKERS

    @property
    def what(self) -> str:
        """Return what runs: "3 workers"."""
        if self.reloads:
            return "reloading"
        return "several workers, or reloading" if self.count is None else f"{self.count} workers"


def copies(arguments: Sequence[str], environment: Mapping[str, str], *, child: bool) -> Copies | None:
    """Read from the command line and the environment whether there are several; None for one process that stays.

    `child` says that the process was started by `multiprocessing`, as the servers start theirs.
    """
    server = _server(arguments, environment)
    if server is None:
        # Started by a program of the developer's own; of that only the variable can be known.
        return Copies("uvicorn", _number(environment.get("WEB_CONCURRENCY"))) if child else None
    words = [*arguments[1:], *(_gunicorn_words(environment) if server == "gunicorn" else ())]
    if "--reload" in words or (words[:1] == ["dev"] and "--no-reload" not in words):
        return Copies(server, reloads=True)
    count = _workers(words, short=server in _SHORT) or _number(environment.get("WEB_CONCURRENCY")) or 1
    return Copies(server, count) if count > 1 else None


def explain_copies() -> None:
    """Say once, as an event, what it means that this process is one of several."""
    # Whoever was started by it has it imported already; the others are spared that.
    started_by = sys.modules.get("multiprocessing.process")
    child = started_by is not None and started_by.parent_process() is not None and "uvicorn" in sys.modules
    if (found := copies(sys.argv, os.environ, child=child)) is not None:
        emit("app.copies", server=found.server, copies=found.what, meaning=found.meaning)


def _server(arguments: Sequence[str], environment: Mapping[str, str]) -> str | None:
    if environment.get("SERVER_SOFTWARE", "").startswith("gunicorn"):
        return "gunicorn"
    path = PurePath(arguments[0]) if arguments else PurePath()
    # `python -m uvicorn` shows the package's own file.
    name = path.parent.name if path.name in ("__main__.py", "-m") else path.stem
    return _SERVERS.get(name)


def _gunicorn_words(environment: Mapping[str, str]) -> list[str]:
    import shlex

    try:
        return shlex.split(environment.get("GUNICORN_CMD_ARGS", ""))
    except ValueError:
        return []


def _workers(words: Sequence[str], *, short: bool) -> int | None:
    for word, after in itertools.pairwise([*words, ""]):
        name, _, value = word.partition("=")
        if name == "--workers":
            return _number(value or after)
        if short and word.startswith("-w"):
            return _number(word.removeprefix("-w") or after)
    return None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
