"""One life of a worker's process: its exit, its output line by line, and how the two learn of each other's death.

A worker is the leader of its own process group and reads a pipe from us: a supervisor that dies, even by kill -9,
closes the pipe, and `following` in the worker takes that as the order to leave.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from glowplug.supervisor.plan import WorkerPlan

MAX_LINE_BYTES = 64 << 10
LAST_WORDS_SECONDS = 1.0

Forward = Callable[[WorkerPlan, str], None]


def to_stderr(plan: WorkerPlan, line: str) -> None:
    """Write a worker's line with its target before it; JSON lines stay whole for the programs that read them."""
    sys.stderr.write(f"{line}\n" if line.startswith("{") else f"[{plan.target}] {line}\n")
    sys.stderr.flush()


class WorkerProcess(asyncio.SubprocessProtocol):
    """A worker's process, from `spawn` to its exit."""

    def __init__(self, plan: WorkerPlan, forward: Forward) -> None:
        self._plan = plan
        self._forward = forward
        self._exited = asyncio.Event()
        self._silent = asyncio.Event()
        self._rest: dict[int, bytes] = {}
        self._transport: asyncio.SubprocessTransport | None = None

    @classmethod
    async def spawn(cls, plan: WorkerPlan, forward: Forward) -> WorkerProcess:
        """Start the planned process. Raises `OSError`."""
        # asyncio.Process.wait() waits for the pipes on some versions of Python; the protocol hears of the exit alone.
        _, process = await asyncio.get_running_loop().subprocess_exec(
            lambda: cls(plan, forward), *plan.command, env=dict(plan.environment), start_new_session=True
        )
        return process

    @property
    def pid(self) -> int:
        """Return the process id, which is its group's too."""
        assert self._transport is not None
        return self._transport.get_pid()

    async def exited(self) -> int | None:
        """Wait for the exit and return its code, negative for a signal."""
        await self._exited.wait()
        assert self._transport is not None
        return self._transport.get_returncode()

    async def end(self, grace_seconds: float) -> None:
        """Ask the worker to leave, and kill its whole process group once the grace is over."""
        if not self._exited.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_seconds):
                await self._exited.wait()
        except TimeoutError:
            self._kill_group()
            await self._exited.wait()

    async def close(self) -> None:
        """Read the last words of an exited process, and let go of its pipes."""
        assert self._transport is not None
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._silent.wait()
        except TimeoutError:
            return
        finally:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transport is one by its methods, not by its class.
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Forward whole lines; one that does not end is cut."""
        *lines, rest = (self._rest.get(fd, b"") + data).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        self._rest[fd] = rest
        for line in lines:
            self._forward(self._plan, line.decode(errors="replace").rstrip("\r"))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Forward what came without an end of line."""
        del exc
        if rest := self._rest.pop(fd, b""):
            self._forward(self._plan, rest.decode(errors="replace"))

    def process_exited(self) -> None:
        """Tell the exit, and end what the worker left behind in its group, so that no model keeps its memory."""
        self._kill_group()
        self._exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that process and pipes are both at their end."""
        del exc
        self._silent.set()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
