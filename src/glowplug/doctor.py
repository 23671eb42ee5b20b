"""Looks at a machine before or after something went wrong: each check says what it found and what to do."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

import httpx

from glowplug.data_folder import DataFolder, find_gateway
from glowplug.errors import SettingsError
from glowplug.process.card_ledger import Ledger
from glowplug.settings import Settings

Verdict = Literal["ok", "note", "fail"]
PROBE_SECONDS = 2.0
CLOCK_SECONDS = 5.0
EXTRAS = {
    "digits": ("numpy", "onnxruntime"),
    "digits-train": ("torch", "sklearn", "onnx"),
    "diffusion": ("diffusers", "torch", "transformers"),
    "detection": ("libreyolo", "torch", "torchvision", "onnxruntime"),
    "embeddings": ("numpy", "onnxruntime", "tokenizers"),
    "speech": ("hibari", "faster_whisper"),
    "chat-gguf": ("xllamacpp",),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `fix` says what to do unless all is well. A `note` stops nothing."""

    check: str
    verdict: Verdict
    detail: str
    fix: str = ""


Check = Callable[[Settings], Iterator[Finding]]


def examine(settings: Settings) -> list[Finding]:
    """Run every check; nothing is changed but missing folders, which are made."""
    return [finding for check in CHECKS for finding in check(settings)]


def _python(settings: Settings) -> Iterator[Finding]:
    del settings
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.platform.startswith("win"):
        yield Finding("python", "fail", f"{version} on Windows", "use Linux, macOS or WSL")
    else:
        yield Finding("python", "ok", f"{version} on {sys.platform}")


def _folders(settings: Settings) -> Iterator[Finding]:
    try:
        DataFolder(settings.data).prepare()
        yield Finding("data folder", "ok", str(settings.data))
    except SettingsError as error:
        yield Finding("data folder", "fail", error.message, "make it writable, or set GLOWPLUG_DATA")
    try:
        settings.cache.mkdir(parents=True, exist_ok=True)
        yield Finding("cache folder", "ok", str(settings.cache))
    except OSError as error:
        detail = f"{settings.cache}: {error.strerror}"
        yield Finding("cache folder", "note", detail, "make it writable, or set GLOWPLUG_CACHE; weights are not kept")


def _cards(settings: Settings) -> Iterator[Finding]:
    folder = DataFolder(settings.data).cards
    try:
        Ledger(folder).check()
        yield Finding("cards", "ok", f"models share cards by {folder}")
    except (SettingsError, TimeoutError) as error:
        told, _, fix = str(error).partition("; ")
        yield Finding("cards", "fail", told, fix)


def _disk(settings: Settings) -> Iterator[Finding]:
    for path in dict.fromkeys((settings.data, settings.cache)):
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        free = shutil.disk_usage(there).free
        limit = settings.retention.min_free_bytes
        detail = f"{free / 2**30:.1f} GiB free for {path}"
        fix = f"free some room (`glowplug clean`): below {limit / 2**30:.1f} GiB no work is taken"
        yield Finding("disk", "ok", detail) if free > limit else Finding("disk", "fail", detail, fix)


def _tokens(settings: Settings) -> Iterator[Finding]:
    token = DataFolder(settings.data).worker_token
    if not token.exists():
        yield Finding("tokens", "ok", "none yet: made at the first start")
        return
    for path in (token.parent, token):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield Finding("tokens", "fail", f"{path} is open to others ({mode:o})", f"chmod go= {path}")
            return
    yield Finding("tokens", "ok", "only their owner can read them")


def _access(settings: Settings) -> Iterator[Finding]:
    try:
        settings.refuse_open_gateway()
    except SettingsError as error:
        yield Finding("access", "fail", error.message, "set GLOWPLUG_TOKEN, or bind 127.0.0.1")
        return
    with_token = (
        "with a token" if settings.gateway.token or settings.users else "without a token, from this machine alone"
    )
    yield Finding("access", "ok", f"{settings.gateway.host}:{settings.gateway.port}, {with_token}")


def _gateway(settings: Settings) -> Iterator[Finding]:
    found = find_gateway(settings.data)
    url = settings.gateway.url or (found.url if found else None)
    if url is None:
        yield _port(settings)
        return
    try:
        answer = httpx.get(f"{url}/livez", timeout=PROBE_SECONDS, trust_env=False)
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        fix = "start it with `glowplug up`, or correct GLOWPLUG_URL"
        yield Finding("gateway", "fail", f"{url} does not answer: {error}", fix)
        return
    yield Finding("gateway", "ok", f"{url} answers")
    if said := answer.headers.get("date"):
        yield _clock(said)


def _port(settings: Settings) -> Finding:
    host, port = settings.gateway.host, settings.gateway.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Finding("port", "fail", f"{host}:{port}: {error.strerror}", "choose another with --port")
    return Finding("port", "ok", f"{port} is free; no gateway runs")


def _clock(date_header: str) -> Finding:
    skew = abs((parsedate_to_datetime(date_header) - datetime.now(UTC)).total_seconds())
    if skew <= CLOCK_SECONDS:
        return Finding("clock", "ok", "agrees with the gateway's")
    fix = "set both machines' clocks by NTP; leases do not depend on it, times that people read do"
    return Finding("clock", "note", f"{skew:.0f} s apart from the gateway's", fix)


def _database(settings: Settings) -> Iterator[Finding]:
    path = DataFolder(settings.data).database
    if settings.store is not None:
        yield Finding("database", "ok", f"{settings.store_url.partition('://')[0]}; checked when the gateway starts")
    elif not path.exists():
        yield Finding("database", "ok", "none yet: made at the first start")
    else:
        yield _sqlite(path)


def _sqlite(path: Path) -> Finding:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=PROBE_SECONDS)) as database:
            said = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        said = str(error)
    if said == "ok":
        return Finding("database", "ok", f"{path} is sound")
    return Finding("database", "fail", f"{path}: {said}", "restore a backup, or move the file away to start empty")


def _extras(settings: Settings) -> Iterator[Finding]:
    del settings
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if missing:
            yield Finding(f"extra {extra}", "note", f"no {', '.join(missing)}", f"pip install 'glowplug[{extra}]'")
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


CHECKS: tuple[Check, ...] = (_python, _folders, _cards, _disk, _tokens, _access, _gateway, _database, _extras)
