"""Leaving: streams end when the signal comes, nothing that hangs is waited for, and handlers are put back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import psutil
import pytest
from tests.unit.app.rig import SECONDS

from glowplug.app import Readiness
from glowplug.app.signals import Signals
from glowplug.readiness import State

ROOT = Path(__file__).parents[3]


@pytest.fixture
def handler() -> Iterator[list[int]]:
    """Handle SIGTERM as a server does, and return what was heard."""
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        del frame
        heard.append(number)

    before = signal.signal(signal.SIGTERM, hear)
    yield heard
    signal.signal(signal.SIGTERM, before)


async def test_a_signal_drains_the_board_before_the_server_hears_it(ready: Readiness, handler: list[int]) -> None:
    server = signal.getsignal(signal.SIGTERM)
    async with ready:
        stream = ready.subscribe()
        signal.raise_signal(signal.SIGTERM)
        assert handler == [signal.SIGTERM]
        async with asyncio.timeout(SECONDS):
            states = [snapshot.state async for snapshot in stream]
        assert states[-1:] in ([State.DRAINING], [State.INITIALIZING], [])
        assert ready.board.state is State.DRAINING
    assert signal.getsignal(signal.SIGTERM) == server


async def test_two_of_them_hear_the_same_signal(handler: list[int]) -> None:
    one, other = Readiness(), Readiness()
    async with one, other:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert {one.board.state, other.board.state} == {State.DRAINING}
        assert handler == [signal.SIGTERM]


async def test_they_may_end_in_any_order(handler: list[int]) -> None:
    server = signal.getsignal(signal.SIGTERM)
    one, other = Readiness(), Readiness()
    await one.start()
    await other.start()
    await one.stop()
    signal.raise_signal(signal.SIGTERM)
    await other.stop()
    signal.raise_signal(signal.SIGTERM)
    assert handler == [signal.SIGTERM] * 2
    assert signal.getsignal(signal.SIGTERM) == server or handler


async def test_who_lives_again_after_another_ended_last_hears_a_signal_once(handler: list[int]) -> None:
    one, other = Readiness(), Readiness()
    await one.start()
    await other.start()
    await one.stop()
    await other.stop()
    async with one:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0)
        assert one.board.state is State.DRAINING
    assert handler == [signal.SIGTERM]


async def test_where_nobody_handles_a_signal_nothing_is_changed() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        signals = Signals(lambda: None)
        signals.install()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        signals.restore()
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_outside_the_main_thread_nothing_is_changed(handler: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def live() -> Any:
        async with Readiness():
            return signal.getsignal(signal.SIGTERM)

    assert await asyncio.to_thread(lambda: asyncio.run(live())) == before
    assert handler == []


@asynccontextmanager
async def served(folder: Path, kind: str) -> AsyncIterator[tuple[subprocess.Popen[bytes], httpx.AsyncClient]]:
    """Run the application in a server of its own."""
    port_file = folder / "port"
    environment = {**os.environ, "GLOWPLUG_CACHE": str(folder / "cache"), "GLOWPLUG_DATA": str(folder / "data")}
    command = [sys.executable, "-m", "tests.unit.app.server", str(port_file), kind]
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        async with asyncio.timeout(SECONDS):
            while not (port_file.exists() and (text := port_file.read_text())):
                await asyncio.sleep(0.02)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{text}", timeout=SECONDS) as client:
                while not await _answers(client):
                    await asyncio.sleep(0.02)
                yield process, client
    finally:
        process.kill()
        process.wait()


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/livez")).status_code == 200
    except httpx.TransportError:
        return False


async def test_a_server_with_an_open_stream_and_a_load_that_hangs_leaves_at_once(tmp_path: Path) -> None:
    async with served(tmp_path, "hangs") as (process, client):
        async with client.stream("GET", "/api/ready/stream") as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            process.send_signal(signal.SIGTERM)
            async for _ in lines:
                pass
        assert await asyncio.to_thread(process.wait, SECONDS) in (0, -signal.SIGTERM)


async def test_a_server_takes_its_models_process_with_it(tmp_path: Path) -> None:
    async with served(tmp_path, "isolated") as (process, client):
        while not (await client.get("/readyz")).is_success:
            await asyncio.sleep(0.02)
        children = psutil.Process(process.pid).children()
        assert len(children) == 1
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, SECONDS) in (0, -signal.SIGTERM)
        gone, alive = await asyncio.to_thread(psutil.wait_procs, children, SECONDS)
        assert (len(gone), alive) == (1, [])


async def test_a_models_process_does_not_outlive_a_server_that_was_killed(tmp_path: Path) -> None:
    async with served(tmp_path, "isolated") as (process, client):
        while not (await client.get("/readyz")).is_success:
            await asyncio.sleep(0.02)
        children = psutil.Process(process.pid).children()
        process.kill()
        gone, alive = await asyncio.to_thread(psutil.wait_procs, children, SECONDS)
        assert (len(gone), alive) == (1, [])
