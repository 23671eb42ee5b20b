"""Telling any number of watchers, in any number of event loops, from any thread."""

from __future__ import annotations

import asyncio
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from types import TracebackType
from typing import TypeVar

from glowplug.clock import Clock
from glowplug.errors import Draining, LoadFailed, NotReady
from glowplug.readiness.snapshot import Snapshot
from glowplug.readiness.state import State


def first_version(clock: Clock) -> int:
    """Return where versions begin: the wall clock, so that they grow across restarts of a process too."""
    return int(clock.now().timestamp() * 1000)


class Subscription(AsyncIterator[Snapshot]):
    """The newest picture, again and again: one at once, then one after each change.

    Whoever reads slowly misses what was in between, never the last one; one picture is kept, so a reader that has
    stopped costs nothing. Belongs to the event loop in which it was made. Ends after `close`.
    """

    def __init__(self, after: int | None = None) -> None:
        self._newest: Snapshot | None = None
        self._seen = after
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    def offer(self, snapshot: Snapshot) -> None:
        """Put a newer picture in place of the one not yet read; called in the subscription's own loop."""
        if snapshot.version != self._seen:
            self._newest = snapshot
            self.nudge()

    def close(self) -> None:
        """End the iteration, now or at the next step; called in the subscription's own loop."""
        self._closed = True
        self.nudge()

    @property
    def closed(self) -> bool:
        """Say whether the iteration has ended, or ends at the next step."""
        return self._closed

    async def heard(self) -> Snapshot | None:
        """Return the next picture; None after a nudge without one, and at the end."""
        snapshot = self._taken()
        if snapshot is None and not self._closed:
            # A bare future, and no timeout: thousands wait here, and whatever each of them makes anew for every
            # picture is what the garbage collector stops the process for.
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
            snapshot = self._taken()
        return snapshot

    def nudge(self) -> None:
        """End a wait without a picture; called in the subscription's own loop."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def __anext__(self) -> Snapshot:
        while not self._closed:
            snapshot = await self.heard()
            if snapshot is not None:
                return snapshot
        raise StopAsyncIteration

    def _taken(self) -> Snapshot | None:
        snapshot, self._newest = self._newest, None
        if snapshot is None or self._closed:
            return None
        self._seen = snapshot.version
        return snapshot

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


Reading = TypeVar("Reading", bound=Subscription)


class _Loop:
    """The subscriptions of one event loop, woken together and at most once until they were."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        # Weak: a reader that breaks out of its loop without closing is forgotten with its last reference.
        self.subscriptions: weakref.WeakSet[Subscription] = weakref.WeakSet()
        self.woken = False


class Feed(ABC):
    """Something whose readiness can be asked and watched; what all boards have in common."""

    def __init__(self) -> None:
        self._loops_lock = threading.Lock()
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """Return the picture of this moment; from any thread."""

    @property
    @abstractmethod
    def version(self) -> int:
        """Return the version of the picture of this moment; cheaper than the picture, and never waits."""

    def is_ready(self, *names: str) -> bool:
        """Say whether work may be sent now: to all that is required, or to the components `names`."""
        snapshot = self.snapshot()
        return (snapshot.only(names) if names else snapshot).ready

    async def wait_until_ready(self, *names: str, timeout: float | None = None) -> Snapshot:
        """Wait until `is_ready(*names)` and return the picture.

        Raises `LoadFailed` when a load failed, `Draining` when the process leaves, and `NotReady` after `timeout`
        seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._until_ready(names)
        except TimeoutError as error:
            snapshot = self.snapshot()
            message = f"not ready after {timeout:g} s: {snapshot.message}"
            raise NotReady(message, retry_after=snapshot.retry_after) from error

    async def watch(self, after: int | None = None) -> AsyncGenerator[Snapshot, None]:
        """Yield the newest picture: one at once, then one after each change (see `Subscription`)."""
        async with self.subscribe(after) as news:
            async for snapshot in news:
                yield snapshot

    def subscribe(self, after: int | None = None) -> Subscription:
        """Return a subscription in the running loop; with `after`, a picture of that version is not sent again."""
        return self.join(Subscription(after))

    def join(self, subscription: Reading) -> Reading:
        """Tell `subscription` of this feed from now on, in the running loop; it is kept only weakly."""
        loop = asyncio.get_running_loop()
        with self._loops_lock:
            self._loops = {known: one for known, one in self._loops.items() if not known.is_closed()}
            home = self._loops.setdefault(loop, _Loop(loop))
        # Joined before the first picture is taken: what changes in between is then told too.
        home.subscriptions.add(subscription)
        subscription.offer(self.snapshot())
        return subscription

    def hang_up(self) -> None:
        """End every subscription of this moment: the server leaves and waits for its streams; from any thread."""
        with self._loops_lock:
            homes = list(self._loops.values())
        for home in homes:
            self._call(home, _close)

    async def _until_ready(self, names: Collection[str]) -> Snapshot:
        async for snapshot in self.subscribe():
            if _settled(snapshot.only(names) if names else snapshot):
                return snapshot
        raise Draining("the subscription was closed")

    def publish(self) -> None:
        """Say that there is news; returns at once, from any thread."""
        with self._loops_lock:
            asleep = [home for home in self._loops.values() if home.subscriptions and not home.woken]
            for home in asleep:
                home.woken = True
        for home in asleep:
            self._call(home, self._deliver)

    def _call(self, home: _Loop, told: Callable[[_Loop], None]) -> None:
        try:
            home.loop.call_soon_threadsafe(told, home)
        except RuntimeError:
            # The loop was closed: nobody there can read any more.
            with self._loops_lock:
                self._loops.pop(home.loop, None)

    def _deliver(self, home: _Loop) -> None:
        with self._loops_lock:
            home.woken = False
        snapshot = self.snapshot()
        for subscription in list(home.subscriptions):
            subscription.offer(snapshot)


def _close(home: _Loop) -> None:
    for subscription in list(home.subscriptions):
        subscription.close()


def _settled(snapshot: Snapshot) -> bool:
    if snapshot.state is State.ERROR:
        raise LoadFailed(snapshot.message, errors=list(snapshot.errors))
    if snapshot.state is State.DRAINING:
        raise Draining(snapshot.message)
    return snapshot.ready
