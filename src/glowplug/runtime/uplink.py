"""A link that knows whether the gateway can be reached, and says so once per change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from glowplug import events
from glowplug.clock import Clock
from glowplug.errors import DeadlineExceeded, GlowplugError, NotReady, Unauthorized, Unreachable, UserError
from glowplug.link import Accepted, Claim, Claimed, Events, Finish, Link, Register, Registered, Renew, Renewed

A = TypeVar("A")

AWAY = (Unreachable, DeadlineExceeded, Unauthorized)
"""What a gateway that cannot be reached looks like; the token too may be put right while we wait."""


def is_refusal(error: GlowplugError) -> bool:
    """Say whether the gateway will never take this message; any other error is worth another try."""
    return isinstance(error, UserError) and not isinstance(error, Unauthorized)


class Uplink(Link):
    """Wraps a link; `on_restored` is called when an answer comes after calls that got none."""

    def __init__(self, link: Link, worker: str, clock: Clock, on_restored: Callable[[], None]) -> None:
        self._link = link
        self._worker = worker
        self._clock = clock
        self._on_restored = on_restored
        self._lost_at: float | None = None
        self._faults: dict[str, str] = {}

    @property
    def reachable(self) -> bool:
        """Say whether the last call was answered."""
        return self._lost_at is None

    async def register(self, message: Register) -> Registered:
        """Announce the worker."""
        return await self._watched("register", self._link.register(message))

    async def claim(self, message: Claim) -> Claimed:
        """Wait for work or orders."""
        return await self._watched("claim", self._link.claim(message))

    async def renew(self, message: Renew) -> Renewed:
        """Keep leases."""
        return await self._watched("renew", self._link.renew(message))

    async def events(self, message: Events) -> Accepted:
        """Report notes of running attempts."""
        return await self._watched("events", self._link.events(message))

    async def finish(self, message: Finish) -> Accepted:
        """End attempts."""
        return await self._watched("finish", self._link.finish(message))

    async def _watched(self, call: str, answer: Awaitable[A]) -> A:
        try:
            answered = await answer
        except AWAY as error:
            self._lose(error)
            raise
        except GlowplugError as error:
            self._restore()
            # A gateway that has just opened its door says so by not being ready; that is no fault.
            if not isinstance(error, NotReady) and self._faults.get(call) != error.message:
                self._faults[call] = error.message
                events.emit("link.refused", worker=self._worker, call=call, error=error.message)
            raise
        self._faults.pop(call, None)
        self._restore()
        return answered

    def _lose(self, error: GlowplugError) -> None:
        if self._lost_at is None:
            self._lost_at = self._clock.monotonic()
            events.emit("link.lost", worker=self._worker, error=error.message)

    def _restore(self) -> None:
        if self._lost_at is not None:
            seconds, self._lost_at = self._clock.monotonic() - self._lost_at, None
            events.emit("link.restored", worker=self._worker, seconds=round(seconds, 3))
            self._on_restored()
