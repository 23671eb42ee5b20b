"""A signal is the wish to stop, in every moment of a process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from glowplug.assembly.signals import StopSignal
from glowplug.errors import SettingsError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Put the handlers back that the test's process had."""
    former = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.fixture
async def stop() -> AsyncIterator[StopSignal]:
    yield StopSignal()
    for number in SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(number)


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_is_the_wish_to_stop(stop: StopSignal, number: signal.Signals) -> None:
    waiting = asyncio.create_task(stop.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    os.kill(os.getpid(), number)
    async with asyncio.timeout(20):
        await waiting


async def test_a_start_that_nobody_stops_is_done(stop: StopSignal) -> None:
    assert await stop.allows(asyncio.sleep(0))


async def test_a_signal_ends_a_start_that_hangs(stop: StopSignal) -> None:
    ended = asyncio.Event()

    async def hangs() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(20):
        assert not await stop.allows(hangs())
        await stop.wait()
    assert ended.is_set()


async def test_a_start_that_fails_says_why(stop: StopSignal) -> None:
    async def fails() -> None:
        raise SettingsError("the port is taken")

    with pytest.raises(SettingsError, match="the port is taken"):
        await stop.allows(fails())
