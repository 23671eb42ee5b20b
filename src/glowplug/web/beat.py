"""Nudging everybody who waits for news: one timer, where one for each of a thousand readers would be costly."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from glowplug.readiness import Subscription


class Beat:
    """Ends the waits of subscriptions each `seconds`, in any event loop, for as long as there are any."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, set[Subscription]]
        self._waiting = weakref.WeakKeyDictionary()

    @contextmanager
    def nudging(self, news: Subscription) -> Iterator[None]:
        """Nudge this one too while the block runs."""
        loop = asyncio.get_running_loop()
        if loop not in self._waiting:
            self._waiting[loop] = set()
            self._again(loop)
        self._waiting[loop].add(news)
        try:
            yield
        finally:
            self._waiting[loop].discard(news)

    def _again(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(self._seconds, self._strike, loop)

    def _strike(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._waiting[loop]:
            del self._waiting[loop]
            return
        for news in self._waiting[loop]:
            news.nudge()
        self._again(loop)
