"""Hearing that the process is told to leave, before the server begins to wait for its open streams."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Puts itself before the handlers that are there, and calls `leave` on the loop when a signal comes.

    A server that is told to stop waits until its connections close, and an open event stream closes only once it is
    told: without this each would wait for the other. Where no server handles a signal, nothing is changed.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._loop: asyncio.AbstractEventLoop | None = None
        self._former: dict[int, Any] = {}

    def install(self) -> None:
        """Begin to hear; does nothing outside the main thread, where Python takes no handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._loop = asyncio.get_running_loop()
        for number in SIGNALS:
            former = signal.getsignal(number)
            # Ours may be there still, from a former life that others had put themselves before.
            if callable(former) and former not in (signal.default_int_handler, self._hear):
                self._former[number] = former
                signal.signal(number, self._hear)

    def restore(self) -> None:
        """Put the handlers back, unless somebody has put others over ours since: those may call ours."""
        self._loop = None
        if threading.current_thread() is not threading.main_thread():
            return
        for number, former in list(self._former.items()):
            if signal.getsignal(number) == self._hear:
                signal.signal(number, former)
                del self._former[number]

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._leave)
        former = self._former.get(number)
        if former is not None:
            former(number, frame)
