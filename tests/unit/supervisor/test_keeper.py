"""Workers are kept alive: real processes, real signals."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import psutil
import pytest
from tests.unit.supervisor.programs import (
    DEAF,
    LIMIT_SECONDS,
    OBEDIENT,
    PARENT,
    STAYS,
    Crew,
    at_once,
    crew,
    ends,
    plan,
)

from glowplug.clock import ManualClock
from glowplug.errors import Unreachable
from glowplug.runtime.backoff import Backoff
from glowplug.supervisor import SupervisorPolicy


async def gone(pid: int) -> None:
    """Wait for the end of a process that is not this one's child."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)


async def test_a_worker_runs_from_start_to_stop() -> None:
    async with crew(plan(OBEDIENT)) as made:
        await made.until(lambda: made.said("w1: up"))
        pid = made.supervisor.pids["w1"]
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)
    assert made.said("w1: leaving") == 1
    assert made.exits == []
    assert made.supervisor.pids == {}


async def test_a_worker_that_dies_is_reported_and_started_again() -> None:
    async with crew(plan(STAYS)) as made:
        await made.until(lambda: made.said("w1: up"))
        os.kill(made.supervisor.pids["w1"], signal.SIGKILL)
        await made.until(lambda: made.said("w1: up") == 2)
        assert made.deaths == ["w1"]
        assert made.exits == [{"worker": "w1", "exit": -9, "restart_in_seconds": 0.0}]


async def test_the_death_is_told_before_the_next_life_begins() -> None:
    order: list[str] = []

    def slow(made: Crew) -> Callable[[str], Awaitable[bool]]:
        async def died(instance_id: str) -> bool:
            order.append(f"died {made.said('w1: up')}")
            await asyncio.sleep(0.05)
            order.append(f"settled {made.said('w1: up')}")
            return await made.died(instance_id)

        return died

    async with crew(plan(STAYS), on_death=slow) as made:
        await made.until(lambda: made.said("w1: up"))
        os.kill(made.supervisor.pids["w1"], signal.SIGKILL)
        await made.until(lambda: made.said("w1: up") == 2)
        assert order == ["died 1", "settled 1"]


async def test_a_death_that_cannot_be_told_does_not_end_the_care() -> None:
    def failing(made: Crew) -> Callable[[str], Awaitable[bool]]:
        async def died(instance_id: str) -> bool:
            await made.died(instance_id)
            raise Unreachable("the store is away")

        return died

    async with crew(plan(STAYS), on_death=failing) as made:
        await made.until(lambda: made.said("w1: up"))
        os.kill(made.supervisor.pids["w1"], signal.SIGKILL)
        await made.until(lambda: made.said("w1: up") == 2)


async def test_a_worker_that_was_ready_is_started_again_without_a_wait_however_often_it_is_killed() -> None:
    def ready_before(made: Crew) -> Callable[[str], Awaitable[bool]]:
        async def died(instance_id: str) -> bool:
            return not await made.died(instance_id)

        return died

    backoff = Backoff(base_seconds=3600.0, cap_seconds=3600.0, random=lambda: 1.0)
    async with crew(plan(STAYS), on_death=ready_before, backoff=backoff) as made:
        for number in (1, 2, 3):
            await made.until(lambda number=number: made.said("w1: up") == number)
            os.kill(made.supervisor.pids["w1"], signal.SIGKILL)
        await made.until(lambda: made.said("w1: up") == 4)
        assert [said["restart_in_seconds"] for said in made.exits] == [0.0] * 3


async def test_a_worker_that_keeps_dying_is_started_less_and_less_often() -> None:
    clock = ManualClock()
    backoff = Backoff(base_seconds=1.0, cap_seconds=4.0, random=lambda: 1.0)
    async with crew(plan(ends(1)), clock=clock, backoff=backoff) as made:
        for number, pause in enumerate((1.0, 2.0, 4.0, 4.0), start=1):
            await made.until(lambda number=number: len(made.exits) == number)
            assert made.exits[-1]["restart_in_seconds"] == pause
            await asyncio.sleep(0)
            await clock.advance(pause - 0.01)
            assert len(made.deaths) == number
            await clock.advance(0.02)


async def test_a_worker_that_lived_a_minute_begins_with_a_clean_record() -> None:
    clock = ManualClock()
    backoff = Backoff(base_seconds=1.0, cap_seconds=60.0, random=lambda: 1.0)
    async with crew(plan(STAYS), clock=clock, backoff=backoff) as made:
        for number, (lived, pause) in enumerate([(0.0, 1.0), (0.0, 2.0), (61.0, 1.0)], start=1):
            await made.until(lambda number=number: made.said("w1: up") == number)
            await clock.advance(lived)
            os.kill(made.supervisor.pids["w1"], signal.SIGKILL)
            await made.until(lambda number=number: len(made.exits) == number)
            assert made.exits[-1]["restart_in_seconds"] == pause
            await asyncio.sleep(0)
            await clock.advance(pause + 0.01)


async def test_a_pause_is_drawn_at_random_below_its_bound() -> None:
    policy = SupervisorPolicy()
    pauses = {policy.backoff.delay_seconds(4) for _ in range(50)}
    assert len(pauses) > 10
    assert max(pauses) <= 4.0


async def test_a_worker_that_says_that_starting_again_is_no_help_is_left_alone() -> None:
    async with crew(plan(ends(2, "glowplug: error: no such file")), plan(STAYS, "b.py", "w2")) as made:
        await made.until(lambda: made.exits)
        assert made.exits == [{"worker": "w1", "exit": 2, "restart_in_seconds": None}]
        assert made.supervisor.given_up == ["model.py"]
        assert list(made.supervisor.pids) == ["w2"]
    assert "w1: glowplug: error: no such file" in made.lines


async def test_a_worker_that_was_given_up_comes_back_by_a_reload() -> None:
    async with crew(plan(ends(2, "bye"))) as made:
        await made.until(lambda: made.exits)
        await made.supervisor.reload("model.py")
        await made.until(lambda: len(made.exits) == 2)
        assert made.said("w1: bye") == 2


async def test_a_reload_ends_in_order_and_starts_at_once() -> None:
    clock = ManualClock()
    async with crew(plan(OBEDIENT), plan(STAYS, "b.py", "w2"), clock=clock, backoff=at_once(3600)) as made:
        await made.until(lambda: made.said("w1: up") and made.said("w2: up"))
        other = made.supervisor.pids["w2"]
        await made.supervisor.reload("model.py")
        await made.until(lambda: made.said("w1: up") == 2)
        assert made.said("w1: leaving") == 1
        assert made.exits == []
        assert made.deaths == ["w1"]
        assert made.supervisor.pids["w2"] == other


async def test_a_reload_cuts_a_pause_short() -> None:
    clock = ManualClock()
    async with crew(plan(STAYS), clock=clock, backoff=at_once(3600)) as made:
        await made.until(lambda: made.said("w1: up"))
        os.kill(made.supervisor.pids["w1"], signal.SIGKILL)
        await made.until(lambda: made.exits)
        await made.supervisor.reload("model.py")
        await made.until(lambda: made.said("w1: up") == 2)


async def test_a_worker_that_does_not_leave_is_killed_after_the_grace() -> None:
    async with crew(plan(DEAF), grace_seconds=0.1) as made:
        await made.until(lambda: made.said("w1: up"))
        pid = made.supervisor.pids["w1"]
    assert not psutil.pid_exists(pid)
    assert made.deaths == ["w1"]


async def test_what_a_dead_worker_leaves_behind_is_killed() -> None:
    async with crew(plan(PARENT)) as made:
        await made.until(lambda: made.lines)
        grandchild = int(made.lines[0].split()[-1])
        os.kill(made.supervisor.pids["w1"], signal.SIGKILL)
        await made.until(lambda: made.deaths)
        await gone(grandchild)


async def test_a_death_is_seen_though_a_grandchild_holds_the_pipes() -> None:
    escaped = PARENT.replace("600)'])", "600)'], start_new_session=True)")
    async with crew(plan(escaped)) as made:
        await made.until(lambda: made.lines)
        grandchild = int(made.lines[0].split()[-1])
        os.kill(made.supervisor.pids["w1"], signal.SIGKILL)
        await made.until(lambda: made.deaths)
        assert psutil.pid_exists(grandchild)
        await made.until(lambda: len(made.lines) == 2)
        for line in made.lines:
            os.kill(int(line.split()[-1]), signal.SIGKILL)


async def test_a_program_that_cannot_be_started_is_said_and_tried_again() -> None:
    clock = ManualClock()
    absent = plan(STAYS)
    absent = type(absent)(target="model.py", instance_id="w1", command=("/no/such/program",), environment={})
    async with crew(absent, clock=clock, backoff=at_once(1.0)) as made:
        await made.until(lambda: made.exits)
        assert "cannot be started" in made.lines[0]
        assert made.supervisor.pids == {}
        await asyncio.sleep(0)
        await clock.advance(1.1)
        await made.until(lambda: len(made.exits) == 2)


async def test_stopping_in_a_pause_starts_nothing_more() -> None:
    async with crew(plan(ends(1, "once")), backoff=at_once(3600)) as made:
        await made.until(lambda: made.exits)
    assert made.said("w1: once") == 1


async def test_stopping_twice_is_as_good_as_once() -> None:
    async with crew(plan(OBEDIENT)) as made:
        await made.until(lambda: made.said("w1: up"))
        await made.supervisor.stop()
        await made.supervisor.stop()
    assert made.deaths == ["w1"]


async def test_two_workers_are_stopped_side_by_side() -> None:
    async with crew(plan(DEAF), plan(DEAF, "b.py", "w2"), grace_seconds=0.3) as made:
        await made.until(lambda: made.said("w1: up") and made.said("w2: up"))
        began = asyncio.get_running_loop().time()
        await made.supervisor.stop()
        assert asyncio.get_running_loop().time() - began < 2 * LIMIT_SECONDS
    assert sorted(made.deaths) == ["w1", "w2"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
async def test_the_exit_tells_which_signal_it_was(number: signal.Signals) -> None:
    async with crew(plan(STAYS)) as made:
        await made.until(lambda: made.said("w1: up"))
        os.kill(made.supervisor.pids["w1"], number)
        await made.until(lambda: made.exits)
        assert made.exits[0]["exit"] == -number
