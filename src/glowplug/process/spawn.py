"""Starting the process of a model, and knowing when it has ended."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

from glowplug.process.protocol import Begin, packed

CHILD = "glowplug.process.child"
_KEPT_BACK = re.compile(r"GLOWPLUG_.*|RABBITMQ_.*|BACKEND_URL")
"""Settings of the platform, secrets among them, which are none of a model's business."""
_UNWATCHED = MappingProxyType({"DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "ORT_DISABLE_TELEMETRY": "1"})
"""Libraries of models tell their makers how they are used; here only if the operator's environment says so."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """A started process: our end of its socket, and the reading end of its output."""

    process: subprocess.Popen[bytes]
    connection: socket.socket
    output: int


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a model's process sees of `environment`."""
    kept = {name: value for name, value in environment.items() if not _KEPT_BACK.fullmatch(name)}
    return {**_UNWATCHED, **kept}


def spawn(begin: Begin, environment: Mapping[str, str]) -> Spawned:
    """Start a fresh interpreter for a model; its first message waits in its socket before it runs.

    Never a fork: the model's libraries must not inherit locks and threads. It has a session of its own, so that the
    terminal's Ctrl-C is the parent's to handle and everything that the model starts can be ended with it.
    """
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    try:
        ours.sendall(packed(begin))
        # -P: a file of the working folder called like a library's must not be imported in its place.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", CHILD, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
            env=dict(environment),
        )
    except BaseException:
        ours.close()
        os.close(reading)
        raise
    finally:
        theirs.close()
        os.close(writing)
    ours.setblocking(False)
    os.set_blocking(reading, False)
    return Spawned(process, ours, reading)


def can_bind_life() -> bool:
    """Say whether a child started here may die with the thread that starts it: Linux watches the thread."""
    return threading.current_thread() is threading.main_thread()


async def wait_exit(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of `process`, end what it has left running, and return its exit status."""
    descriptor = _pidfd(process.pid)
    if descriptor is not None:
        await _readable(descriptor)
        # Before the zombie is reaped: until then its number cannot belong to somebody else.
        kill_group(process.pid)
        return process.wait()
    return await asyncio.to_thread(process.wait)


def kill_group(pid: int) -> None:
    """Kill the process `pid` and everything in its session's group; an ended one is fine."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _pidfd(pid: int) -> int | None:
    with suppress(AttributeError, OSError):
        return os.pidfd_open(pid)
    return None


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
