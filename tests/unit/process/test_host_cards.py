"""Models that share a card of limited size: this machine's memory stands for it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

from tests.unit.process.house import house, size, waits
from tests.unit.process.rig import Rig

from glowplug.errors import NotReady
from glowplug.readiness.component_snapshot import ErrorClass
from glowplug.readiness.state import Status


async def test_models_that_fit_together_stay_together(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        first = await here.model("first", 60)
        second = await here.model("second", 60)
        assert (await size(first), await size(second)) == ([60, 0], [60, 0])
        assert first.component.snapshot().device == "cpu"


async def test_one_that_nobody_waits_for_makes_nobody_leave(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        first = await here.model("first", 150)
        second = await here.model("second", 150, "Knowing", ready=False)
        seen = await second.until(waits)
        assert "taken by first" in (seen.reason or "")
        assert first.component.status.can_serve
        await first.host.stop()
        await second.until_ready()


async def test_work_for_one_puts_another_to_sleep_and_wakes_it_again(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        first, second = await here.pair("Sleeper")
        await second.host.reload()
        await second.until_ready()
        assert first.component.snapshot().reason == "sleeps in host memory; wakes when work waits for it"
        end = await first.host.run(first.call("size"))
        assert isinstance(end.error, NotReady)
        pid = first.pid()
        await first.host.reload()
        await first.until_ready()
        assert await size(first) == [150, 1]
        assert first.pid() == pid
        assert second.component.snapshot().reason == "unloaded to make room; loads when work waits for it"
        await second.host.reload()
        await second.until_ready()
        assert await size(second) == [150, 0]


async def test_one_that_cannot_fall_asleep_is_unloaded(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        first, second = await here.pair("Insomniac")
        await second.host.reload()
        await second.until_ready()
        assert (first.component.snapshot().reason or "").startswith("unloaded")


async def test_a_call_that_runs_is_finished_first(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        first = await here.model("first", 150)
        running = asyncio.create_task(first.host.run(first.call("hold", until=str(tmp_path / "end"))))
        second = await here.model("second", 150, "Knowing", ready=False)
        await second.until(waits)
        await second.host.reload()
        await first.until(lambda seen: seen.reason == "makes room for second")
        assert not second.component.status.can_serve
        (tmp_path / "end").touch()
        assert (await running).output_json == b'"done"'
        await second.until_ready()


async def test_two_that_are_both_wanted_all_the_time_take_turns(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        first = await here.model("first", 150, "Sleeper")
        second = await here.model("second", 150, "KnowingSleeper", ready=False)
        await second.until(waits)
        done = {"first": 0, "second": 0}

        async def want(rig: Rig) -> None:
            while min(done.values()) < 3:
                if rig.component.status is Status.SLEEPING:
                    await rig.host.reload()
                end = await rig.host.run(rig.call("size"))
                if end.error is None:
                    done[rig.component.name] += 1
                    assert json.loads(end.output_json)[0] == 150
                await asyncio.sleep(0.02)

        await asyncio.gather(want(first), want(second))


async def test_one_that_is_killed_leaves_its_room_to_others(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        first = await here.model("first", 150, load_attempts=1, max_restarts=0)
        second = await here.model("second", 150, "Knowing", ready=False)
        await second.until(waits)
        os.kill(first.pid(), signal.SIGKILL)
        await second.until_ready()


async def test_what_is_too_large_for_the_whole_card_fails_at_once_with_the_figures(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        huge = await here.model("huge", 300, "Knowing", ready=False)
        seen = await huge.until_failed()
        assert seen.failure is not None
        assert seen.failure.error_class is ErrorClass.OUT_OF_MEMORY
        assert "it takes 314.6 MB, and cpu has 209.7 MB in all" in seen.failure.error


async def test_the_second_load_asks_for_what_the_first_one_took(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        first = await here.model("first", 120)
        await first.host.stop()
        await first.host.start()
        await first.until_ready(attempt=2)
        sizes = json.loads((tmp_path / "cards" / "sizes.json").read_bytes())
        assert [round(held / 2**20, -1) for held in sizes.values()] == [120]


async def test_two_that_are_loaded_at_once_never_share_what_is_enough_for_one(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        rigs = [await here.model(f"m{number}", 90, "Knowing", ready=False) for number in range(4)]
        while sum(rig.component.status.can_serve for rig in rigs) < 2:
            await asyncio.sleep(0.02)
        await asyncio.gather(*(rig.until(lambda seen: waits(seen) or seen.status.can_serve) for rig in rigs))
        assert sum(rig.component.status.can_serve for rig in rigs) == 2
