"""One process of a model, from its spawn to its end: what it says, what it prints, and why it died."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from glowplug.errors import NotReady
from glowplug.events import emit
from glowplug.process.channel import Channel
from glowplug.process.death import Death, crash, exit_name
from glowplug.process.output import Output
from glowplug.process.protocol import Broken, Described, Needs, Serving, Slept, ToChild, ToHost, Unload, Warm, Warmed
from glowplug.process.spawn import Spawned, kill_group, wait_exit
from glowplug.process.vitals import Vitals
from glowplug.readiness.component_snapshot import ErrorClass

LAST_WORDS_SECONDS = 1.0


class Life:
    """A started process of `model`. `attempt` is the component's number for the load that it is.

    `serving` says whether it takes calls, `was_ready` whether it ever did: one that sleeps is no load that failed.
    `wrong` says what is wrong with what the model leans on, None while that works; `held_bytes` what it holds on its
    device, as far as it is known; `put_away` that it was ended to make room. `answers` are those to the load, to
    `Sleep` and to `Wake`.
    """

    def __init__(self, spawned: Spawned, model: str, attempt: int, output: Output) -> None:
        self.model = model
        self.attempt = attempt
        self.output = output
        self.vitals = Vitals(spawned.process.pid)
        self.serving = self.was_ready = False
        self.wrong: str | None = None
        self.described: asyncio.Future[Described] = asyncio.get_running_loop().create_future()
        self.held_bytes: int | None = None
        self.put_away = False
        self.answers: asyncio.Queue[Serving | Slept] = asyncio.Queue()
        self.needs: asyncio.Future[Needs] = asyncio.get_running_loop().create_future()
        self._warmed: asyncio.Future[Warmed] | None = None
        self._spawned = spawned
        self._channel: Channel | None = None
        self._killed: Death | None = None
        self._broken: Broken | None = None
        self._unloaded = False
        self._end: asyncio.Task[Death] | None = None

    @property
    def pid(self) -> int:
        """Return the process's number."""
        return self._spawned.process.pid

    async def open(self, hear: Callable[[ToHost], None]) -> None:
        """Begin to listen; the process may have said something already."""
        channel = self._channel = Channel(hear, self._damaged)
        self.output.open()
        await asyncio.get_running_loop().create_connection(lambda: channel, sock=self._spawned.connection)
        self._end = asyncio.create_task(self._to_the_end(channel), name=f"life of {self.model} {self.pid}")

    def send(self, message: ToChild) -> None:
        """Send a message; to a dead process it goes nowhere."""
        if self._channel is not None:
            self._channel.send(message)

    def broke(self, message: Broken) -> None:
        """Note what the process says was wrong with its load; it ends by itself then."""
        self._broken = message

    def unload(self) -> None:
        """Ask it to end in its own way."""
        self._unloaded = True
        self.send(Unload())

    def kill(self, death: Death) -> None:
        """End it at once; the first reason given stays."""
        if self._killed is None and self._spawned.process.returncode is None:
            self._killed = replace(death, was_ready=self.was_ready)
            emit("model.killed", model=self.model, pid=self.pid, reason=death.why)
            kill_group(self.pid)

    def warm(self) -> asyncio.Future[Warmed]:
        """Let it warm up again, or join those who wait for that already."""
        if self._warmed is None:
            self._warmed = asyncio.get_running_loop().create_future()
            self.send(Warm())
        return self._warmed

    def warmed(self, message: Warmed) -> None:
        """Note what became of the warm-up."""
        waiting, self._warmed = self._warmed, None
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    async def settled(self) -> None:
        """Wait for the end of a warm-up that runs, however it ends."""
        if self._warmed is not None:
            await asyncio.wait({self._warmed})

    def abandon(self, why: NotReady) -> None:
        """Let those go who wait for a warm-up."""
        if self._warmed is not None and not self._warmed.done():
            self._warmed.set_exception(why)

    async def ended(self) -> Death:
        """Wait until it has ended and everything it said has been heard; return why."""
        assert self._end is not None, "open it first"
        return await asyncio.shield(self._end)

    async def close(self) -> None:
        """Make sure that nothing is left of it."""
        self.kill(Death("closed", ErrorClass.TRANSIENT, blameless=True))
        if self._end is not None:
            await self.ended()
            return
        await asyncio.to_thread(self._spawned.process.wait)
        self._spawned.connection.close()
        self.output.close()

    async def _to_the_end(self, channel: Channel) -> Death:
        leaving = asyncio.create_task(wait_exit(self._spawned.process))
        ends: list[asyncio.Future[Any]] = [leaving, channel.closed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({leaving}, timeout=LAST_WORDS_SECONDS)
        if not leaving.done():
            self.kill(Death("its process closed the connection", ErrorClass.TRANSIENT))
        status = await leaving
        # What the model left behind may hold our socket open, so there is a limit to listening.
        await asyncio.wait({channel.closed}, timeout=LAST_WORDS_SECONDS)
        channel.close()
        self.output.close()
        return self._judged(status)

    def _judged(self, status: int) -> Death:
        if self._killed is not None:
            return replace(self._killed, exit=exit_name(status))
        if self._unloaded:
            return Death("unloaded", ErrorClass.TRANSIENT, exit_name(status), blameless=True)
        if self._broken is not None and not self.serving:
            return Death(self._broken.message, ErrorClass(self._broken.error_class), exit_name(status))
        emit("model.exited", model=self.model, pid=self.pid, exit=exit_name(status))
        starved = status == -signal.SIGKILL and self.vitals.kernel_ran_out_of_memory()
        return crash(status, was_ready=self.was_ready, out_of_memory=starved)

    def _damaged(self, error: Exception) -> None:
        self.kill(Death(f"its messages make no sense: {error}", ErrorClass.PERMANENT))
