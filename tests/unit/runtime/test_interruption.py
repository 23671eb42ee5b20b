"""Signals and notices as values, and leaving because of them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.runtime.rig import QUICK, Running, endless, rig

from glowplug.job import JobState
from glowplug.process.call import CallEnd
from glowplug.runtime.interruption import Interruptions, Notice, serve_until_left


@pytest.fixture
async def interruptions() -> AsyncIterator[Interruptions]:
    async with asyncio.timeout(20):
        made = Interruptions([signal.SIGUSR1, signal.SIGUSR2])
        await made.start()
        yield made
        await made.stop()


async def test_signals_are_notices_in_the_order_in_which_they_came(interruptions: Interruptions) -> None:
    os.kill(os.getpid(), signal.SIGUSR1)
    assert await interruptions.next() == Notice("SIGUSR1")
    os.kill(os.getpid(), signal.SIGUSR2)
    assert await interruptions.next() == Notice("SIGUSR2")


async def test_others_may_give_notice_too(interruptions: Interruptions) -> None:
    interruptions.notify(Notice("spot", seconds=120.0))
    assert await interruptions.next() == Notice("spot", 120.0)


async def test_signals_are_let_go_of_at_the_end() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    async with Interruptions([signal.SIGUSR1]):
        assert signal.getsignal(signal.SIGUSR1) is not before
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


async def test_a_notice_makes_the_worker_leave_in_good_order(tmp_path: Path, interruptions: Interruptions) -> None:
    async with rig(tmp_path) as it:
        it.host.script = endless
        job = await it.submit_one()
        await it.host.called()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert await serve_until_left(it.worker, interruptions)
        assert (await it.job(job)).state is JobState.QUEUED
        assert (await it.events.until("worker.draining"))["reason"] == "SIGUSR1"


async def test_a_second_notice_cuts_the_leaving_short(tmp_path: Path, interruptions: Interruptions) -> None:
    async with rig(tmp_path, policy=replace(QUICK, drain_seconds=1000)) as it:
        never = asyncio.Event()

        async def deaf(run: Running) -> CallEnd:
            await never.wait()
            raise AssertionError

        it.host.script = deaf
        await it.submit_one()
        await it.host.called()
        serving = asyncio.create_task(serve_until_left(it.worker, interruptions))
        interruptions.notify(Notice("first"))
        await it.events.until("worker.draining")
        interruptions.notify(Notice("second"))
        assert not await serving


async def test_an_order_to_leave_ends_the_serving_too(tmp_path: Path, interruptions: Interruptions) -> None:
    async with rig(tmp_path) as it:
        serving = asyncio.create_task(serve_until_left(it.worker, interruptions))
        await asyncio.sleep(0)
        await it.worker.drain("order")
        assert await serving


async def test_a_worker_that_breaks_ends_the_serving_with_its_error(
    tmp_path: Path, interruptions: Interruptions
) -> None:
    async with rig(tmp_path) as it:
        serving = asyncio.create_task(serve_until_left(it.worker, interruptions))
        await asyncio.sleep(0)

        async def broken() -> None:
            raise ZeroDivisionError("a bug in a loop")

        it.worker._loop(broken(), "test")
        with pytest.raises(ZeroDivisionError):
            await serving
