"""A worker's failed models are loaded again, and its ready ones warmed up, with real processes behind them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.process.rig import SECONDS, Rig, hosted
from tests.unit.runtime.rig import FakeHost

from glowplug.errors import Conflict, NotFound
from glowplug.readiness import Board, Status
from glowplug.readiness.warm_up import WarmUp
from glowplug.runtime.upkeep import Upkeep


def upkeep(*rigs: Rig) -> Upkeep:
    return Upkeep([rig.host for rig in rigs], rigs[0].board)


def failing(tmp_path: Path) -> dict[str, Any]:
    return {"options": {"file": str(tmp_path / "weights")}, "load_attempts": 1, "ready": False}


async def test_a_failed_model_is_loaded_again_and_has_begun_when_the_answer_comes(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), hosted(tmp_path, "needs_file", **failing(tmp_path)) as rig:
        await rig.until_failed()
        (tmp_path / "weights").touch()
        assert await upkeep(rig).retry([]) == ("needs_file",)
        assert rig.component.attempt == 2
        assert rig.component.status is not Status.ERROR
        await rig.until_ready(attempt=2)


async def test_it_may_fail_again_and_be_tried_again(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), hosted(tmp_path, "needs_file", **failing(tmp_path)) as rig:
        for attempt in (1, 2, 3):
            await rig.until(lambda seen, attempt=attempt: seen.status.is_failed and seen.attempt == attempt)  # type: ignore[misc]
            assert await upkeep(rig).retry(["needs_file"]) == ("needs_file",)


async def test_what_has_not_failed_is_left_alone(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), hosted(tmp_path, "echo") as rig:
        for names in ([], ["echo"]):
            with pytest.raises(Conflict, match="echo is ready"):
                await upkeep(rig).retry(names)
        assert rig.component.attempt == 1


async def test_a_sleeping_model_has_not_failed(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), hosted(tmp_path, "echo", preload=False, ready=False) as rig:
        await rig.until(lambda seen: seen.status is Status.SLEEPING)
        with pytest.raises(Conflict, match="echo is sleeping"):
            await upkeep(rig).retry([])


async def test_a_model_that_is_not_here_is_not_found(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), hosted(tmp_path, "echo") as rig:
        with pytest.raises(NotFound, match="there are: echo"):
            await upkeep(rig).retry(["digits"])


async def test_of_several_only_the_failed_one_is_loaded_again() -> None:
    board = Board()
    good, bad = FakeHost(board, "good"), FakeHost(board, "bad")
    async with good, bad:
        bad.component.fail("no luck")
        kept = Upkeep([good, bad], board)  # type: ignore[list-item]
        assert await kept.retry(["good", "bad"]) == ("bad",)
        assert (good.reloads, bad.reloads) == (0, 1)


async def test_a_load_that_does_not_begin_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glowplug.runtime.upkeep.BEGIN_SECONDS", 0.01)
    board = Board()
    async with FakeHost(board) as stuck:
        stuck.component.fail("no luck")
        stuck.load = lambda: None  # type: ignore[method-assign]
        async with asyncio.timeout(SECONDS):
            assert await Upkeep([stuck], board).retry([]) == ("echo",)  # type: ignore[list-item]


async def test_a_warm_up_tells_its_time_and_the_model_stays_ready(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), hosted(tmp_path, "echo") as rig:
        before = len(rig.transitions)
        (warmed,) = await upkeep(rig).warm_up()
        assert (warmed.component, warmed.error) == ("echo", None)
        assert warmed.seconds is not None
        assert warmed.seconds >= 0
        assert rig.transitions[before:] == []


async def test_two_who_ask_at_once_share_a_warm_up(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), hosted(tmp_path, "echo") as rig:
        kept = upkeep(rig)
        first, second = await asyncio.gather(kept.warm_up(), kept.warm_up())
        assert first == second


async def test_who_asks_does_not_wait_for_ever_for_a_warm_up_that_hangs(tmp_path: Path) -> None:
    source = tmp_path / "frozen.py"
    source.write_text(
        "import time\n"
        "from glowplug import Model, task\n\n\n"
        "class Frozen(Model):\n"
        "    warmed = False\n\n"
        "    def load(self, ctx):\n"
        "        pass\n\n"
        "    def warm_up(self, ctx):\n"
        "        if self.warmed:\n"
        "            time.sleep(3600)\n"
        "        self.warmed = True\n\n"
        "    @task\n"
        "    def say(self, ctx) -> str:\n"
        "        return ''\n"
    )
    async with asyncio.timeout(SECONDS), hosted(tmp_path / "run", "frozen", target=str(source)) as rig:
        spec = rig.component.spec
        rig.component.spec = replace(spec, deadlines=replace(spec.deadlines, warm_up_seconds=0.1))
        (warmed,) = await upkeep(rig).warm_up()
        assert warmed == WarmUp("frozen", None, "the warm-up takes longer than 0.1 s")


async def test_with_nothing_ready_there_is_nothing_to_warm_up(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), hosted(tmp_path, "needs_file", **failing(tmp_path)) as rig:
        await rig.until_failed()
        with pytest.raises(Conflict):
            await upkeep(rig).warm_up()


async def test_a_warm_up_that_goes_wrong_is_told_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "cold.py").write_text(
        "from glowplug import Model, task\n"
        "class Cold(Model):\n"
        "    times = 0\n"
        "    def warm_up(self, ctx):\n"
        "        self.times += 1\n"
        "        if self.times > 1:\n"
        "            raise ValueError('the second time is too cold')\n"
        "    @task\n"
        "    def say(self, ctx) -> str:\n"
        "        return 'brr'\n"
    )
    async with (
        asyncio.timeout(SECONDS),
        hosted(tmp_path / "a", "echo") as fine,
        hosted(tmp_path / "b", "cold", target=str(tmp_path / "cold.py")) as cold,
    ):
        warmed = await upkeep(fine, cold).warm_up()
        assert warmed[0].error is None
        assert warmed[1] == WarmUp("cold", None, warmed[1].error)
        assert "too cold" in (warmed[1].error or "")
        assert cold.component.status is Status.READY
