"""A link that answers as a test says, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from glowplug.link import Accepted, Claim, Claimed, Events, Finish, Link, Register, Registered, Renew, Renewed

SECONDS = 20.0


class ScriptedLink(Link):
    """Answers calls with `answers`, or makes them up: everything is accepted, nothing is granted."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.before: dict[str, Callable[[], None]] = {}
        self.hang: set[str] = set()
        self._faults: defaultdict[str, list[Exception]] = defaultdict(list)
        self._hanging: defaultdict[str, list[asyncio.Future[None]]] = defaultdict(list)
        self._news = asyncio.Event()

    def fail(self, call: str, error: Exception, *, times: int = 1) -> None:
        """Let the next calls raise."""
        self._faults[call] += [error] * times

    def release(self, call: str) -> None:
        """Answer the calls that hang, and those that come."""
        self.hang.discard(call)
        for waiting in self._hanging.pop(call, []):
            waiting.set_result(None)

    def of(self, call: str) -> list[Any]:
        """Return what was asked with one call."""
        return [message for name, message in self.asked if name == call]

    async def until(self, call: str, count: int = 1) -> list[Any]:
        """Wait until a call was made so often."""
        async with asyncio.timeout(SECONDS):
            while len(self.of(call)) < count:
                self._news.clear()
                await self._news.wait()
        return self.of(call)

    async def register(self, message: Register) -> Registered:
        return await self._answer("register", message, Registered(60.0))

    async def claim(self, message: Claim) -> Claimed:
        return await self._answer("claim", message, Claimed())

    async def renew(self, message: Renew) -> Renewed:
        return await self._answer("renew", message, Renewed(()))

    async def events(self, message: Events) -> Accepted:
        return await self._answer("events", message, Accepted((True,) * len(message.reports)))

    async def finish(self, message: Finish) -> Accepted:
        return await self._answer("finish", message, Accepted((True,) * len(message.settlements)))

    async def _answer(self, call: str, message: Any, usual: Any) -> Any:
        self.asked.append((call, message))
        self._news.set()
        if call in self.hang:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._hanging[call].append(waiting)
            await waiting
        if self._faults[call]:
            raise self._faults[call].pop(0)
        if call in self.before:
            self.before[call]()
        return self.answers.get(call, usual)
