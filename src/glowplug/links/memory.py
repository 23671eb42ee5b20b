"""The link inside one process: every message still takes the form it has on the wire.

It can be told to lose requests or answers, and to be cut altogether, which is how the faults of a network are tried.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from glowplug.errors import Unreachable
from glowplug.link import Accepted, Claim, Claimed, Events, Finish, Link, Register, Registered, Renew, Renewed
from glowplug.links.codec import decode, encode

M = TypeVar("M")
A = TypeVar("A")


class MemoryLink(Link):
    """A link to a desk in the same process."""

    def __init__(self, desk: Link) -> None:
        self._desk = desk
        self._cut = asyncio.Event()
        self._lost_requests: Counter[str] = Counter()
        self._lost_answers: Counter[str] = Counter()

    def drop_requests(self, call: str, count: int = 1) -> None:
        """Lose the next `count` requests of `call` (such as "claim") before the desk sees them."""
        self._lost_requests[call] += count

    def drop_answers(self, call: str, count: int = 1) -> None:
        """Lose the next `count` answers of `call` after the desk has acted."""
        self._lost_answers[call] += count

    def connect_to(self, desk: Link) -> None:
        """Send to another desk from now on, as after a restart of the gateway."""
        self._desk = desk

    def cut(self) -> None:
        """Fail every call, also those that wait, until `mend`."""
        self._cut.set()

    def mend(self) -> None:
        """Let calls through again."""
        self._cut.clear()

    async def register(self, message: Register) -> Registered:
        """Announce the worker."""
        return await self._call("register", message, Registered, lambda sent: self._desk.register(sent))

    async def claim(self, message: Claim) -> Claimed:
        """Wait for work or orders."""
        return await self._call("claim", message, Claimed, lambda sent: self._desk.claim(sent))

    async def renew(self, message: Renew) -> Renewed:
        """Keep leases."""
        return await self._call("renew", message, Renewed, lambda sent: self._desk.renew(sent))

    async def events(self, message: Events) -> Accepted:
        """Report notes of running attempts."""
        return await self._call("events", message, Accepted, lambda sent: self._desk.events(sent))

    async def finish(self, message: Finish) -> Accepted:
        """End attempts."""
        return await self._call("finish", message, Accepted, lambda sent: self._desk.finish(sent))

    async def _call(self, name: str, message: M, kind: type[A], send: Callable[[M], Awaitable[A]]) -> A:
        request = encode(message)
        if self._cut.is_set() or self._take(self._lost_requests, name):
            raise Unreachable(f"the request was lost: {name}")
        answer = encode(await self._unless_cut(send(decode(type(message), request)), name))
        if self._take(self._lost_answers, name):
            raise Unreachable(f"the answer was lost: {name}")
        return decode(kind, answer)

    @staticmethod
    def _take(lost: Counter[str], name: str) -> bool:
        found = lost[name] > 0
        lost[name] -= found
        return found

    async def _unless_cut(self, answer: Awaitable[A], name: str) -> A:
        # The desk goes on with what it was asked, as a server does when its client's connection breaks.
        asked = asyncio.ensure_future(answer)
        broken = asyncio.ensure_future(self._cut.wait())
        waiting: set[asyncio.Future[Any]] = {asked, broken}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            asked.cancel()
            raise
        finally:
            broken.cancel()
        if not asked.done() or self._cut.is_set():
            asked.add_done_callback(_forget)
            raise Unreachable(f"the connection broke: {name}")
        return asked.result()


def _forget(answer: asyncio.Future[Any]) -> None:
    if not answer.cancelled():
        answer.exception()
