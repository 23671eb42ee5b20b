"""What goes wrong with models that share a card: deaths in their sleep, folders that break, orders at a bad moment."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from tests.unit.process.house import House, house, size, waits
from tests.unit.process.rig import Rig

from glowplug.readiness.component_snapshot import ComponentSnapshot
from glowplug.readiness.state import Status


async def one_sleeps(here: House, kind: str) -> tuple[Rig, Rig]:
    """Return a model that was put to sleep, and the one that it was for."""
    first, second = await here.pair(kind)
    await second.host.reload()
    await second.until_ready()
    return first, second


def has_no_room(seen: ComponentSnapshot) -> bool:
    return waits(seen) and "taken by second" in (seen.reason or "")


@pytest.mark.chaos
async def test_one_that_is_killed_in_its_sleep_was_ready_and_comes_back(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        first, second = await one_sleeps(here, "Sleeper")
        os.kill(first.pid(), signal.SIGKILL)
        await first.until(has_no_room)
        assert first.component.snapshot().attempt == 2
        await second.host.stop()
        await first.until_ready(2)
        assert (await size(first))[0] == 150


@pytest.mark.chaos
async def test_one_that_cannot_be_woken_is_loaded_again(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        first, second = await one_sleeps(here, "Drowsy")
        await first.host.reload()
        await first.until_ready(2)
        assert await size(first) == [150, 0]
        assert second.told("model.killed")[0]["reason"] == "it could not be woken: RuntimeError: the copy back failed"


async def test_one_that_hangs_in_its_sleep_is_loaded_again(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        first, second = await here.pair("Coma", warm_up_seconds=0.5)
        await second.host.reload()
        await second.until_ready()
        assert second.told("model.killed")[0]["reason"] == "Model sleep timeout"
        await first.until(has_no_room)
        assert not first.component.status.is_failed


async def test_work_that_comes_while_it_falls_asleep_wakes_it(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        first, second = await here.pair("Sleeper")
        running = asyncio.create_task(first.host.run(first.call("hold", until=str(tmp_path / "end"))))
        await second.host.reload()
        await first.until(lambda seen: seen.reason == "makes room for second")
        await first.host.reload()
        (tmp_path / "end").touch()
        await running
        await second.until_ready()
        await first.until(lambda seen: seen.status.can_serve and seen.attempt > 1)
        assert await size(first) == [150, 1]


def break_folder(folder: Path) -> None:
    """Put a file in the folder's place, however often its users make it anew in between."""
    for number in itertools.count():
        folder.rename(folder.with_name(f"taken away {number}"))
        with suppress(IsADirectoryError):
            folder.write_text("no folder")
            return


async def test_a_folder_that_breaks_stops_no_model_that_is_loaded(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        first = await here.model("first", 150)
        break_folder(tmp_path / "cards")
        for _ in range(20):
            assert await size(first) == [150, 0]
        assert len(first.told("model.spawned")) == 1
        os.kill(first.pid(), signal.SIGKILL)
        seen = await first.until_failed()
        assert seen.failure is not None
        assert "cannot be written to" in seen.failure.error
        (tmp_path / "cards").unlink()
        await first.host.reload()
        await first.until_ready(2)


async def test_a_folder_that_is_emptied_is_written_to_again(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.model("first", 150)
        (tmp_path / "cards").rename(tmp_path / "taken away")
        second = await here.model("second", 150, "Knowing", ready=False)
        seen = await second.until(lambda seen: seen.status.can_serve or waits(seen))
        assert seen.status is Status.SLEEPING


async def test_each_is_told_the_room_that_others_leave(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.model("first", 60)
        second = await here.model("second", 60, "Knowing")
        assert 100 < int((await second.run("room")).output_json) < 145


@pytest.mark.chaos
async def test_one_that_takes_more_than_it_said_and_than_there_is_loads_again(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        liar = await here.model("liar", 230, "Liar")
        other = await here.model("other", 20, "Knowing", ready=False)
        await other.until(waits)
        await liar.host.stop()
        await other.until_ready()
        await liar.host.start()
        await liar.until(waits)
        await other.host.stop()
        await liar.until_ready(2)


async def test_a_warm_up_that_runs_is_finished_before_it_falls_asleep(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        first, second = await here.pair("Warming")
        await first.run("close_gate", until=str(tmp_path / "end"))
        warming = asyncio.create_task(first.host.warm_up())
        await second.host.reload()
        await first.until(lambda seen: seen.reason == "makes room for second")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(second.until_ready(), 0.2)
        (tmp_path / "end").touch()
        assert await warming > 0
        await second.until_ready()
