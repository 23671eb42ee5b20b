"""Gauges that are read when somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

from glowplug.clock import ManualClock
from glowplug.errors import Unreachable
from glowplug.readiness.component_snapshot import ComponentSnapshot
from glowplug.readiness.estimate import Estimate
from glowplug.readiness.snapshot import Snapshot
from glowplug.readiness.state import Status
from glowplug.store import Depth
from glowplug.telemetry import Reading, Sampler, component_readings, queue_readings, worker_readings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def values(readings: Iterable[Reading], gauge: str) -> dict[tuple[str, ...], float]:
    return {reading.labels: reading.value for reading in readings if reading.gauge == gauge}


def snapshot(*components: ComponentSnapshot) -> Snapshot:
    return Snapshot.of(components, taken_at=NOW)


def test_a_component_is_in_exactly_one_state() -> None:
    said = values(component_readings(snapshot(ComponentSnapshot("tts", status=Status.WARMING))), "component_state")
    assert said["tts", "warming"] == 1
    assert sum(said.values()) == 1
    assert len(said) == len(Status)


def test_progress_is_a_ratio_and_whole_once_ready() -> None:
    loading = ComponentSnapshot("a", status=Status.LOADING, percent=25.0)
    ready = ComponentSnapshot("b", status=Status.READY, percent=0.0)
    said = values(component_readings(snapshot(loading, ready)), "component_load_progress_ratio")
    assert said == {("a",): 0.25, ("b",): 1.0}


def test_a_time_left_is_told_only_when_it_is_earned() -> None:
    earned = ComponentSnapshot(
        "a", status=Status.LOADING, estimate=Estimate(p10_seconds=8.0, p50_seconds=12.0, p90_seconds=20.0)
    )
    guessed = ComponentSnapshot("b", status=Status.LOADING)
    said = values(component_readings(snapshot(earned, guessed)), "component_load_eta_seconds")
    assert said == {("a",): 12.0}


def test_the_queue_is_told_by_task_and_state() -> None:
    readings = list(queue_readings({"a.b": Depth(queued=5, due=3, running=2, oldest_seconds=7.5)}))
    assert values(readings, "queue_jobs") == {("a.b", "queued"): 5, ("a.b", "due"): 3, ("a.b", "running"): 2}
    assert values(readings, "queue_oldest_seconds") == {("a.b",): 7.5}


def test_workers_are_counted_and_absent_ones_are_zero() -> None:
    said = values(worker_readings(["ready", "ready", "error"]), "workers")
    assert said["ready",] == 2
    assert said["error",] == 1
    assert said["offline",] == 0


async def test_a_sampler_is_a_source_of_what_it_read_last() -> None:
    clock, depth = ManualClock(), 1

    async def read() -> list[Reading]:
        return [Reading("queue_oldest_seconds", ("a.b",), depth)]

    async with (sampler := Sampler(read, clock, every_seconds=5)):
        await asyncio.sleep(0)
        assert values(sampler(), "queue_oldest_seconds") == {("a.b",): 1}
        depth = 2
        await clock.advance(4.9)
        assert values(sampler(), "queue_oldest_seconds") == {("a.b",): 1}
        await clock.advance(0.2)
        assert values(sampler(), "queue_oldest_seconds") == {("a.b",): 2}


async def test_a_sampler_that_cannot_read_leaves_a_gap_and_goes_on() -> None:
    clock, away = ManualClock(), True

    async def read() -> list[Reading]:
        if away:
            raise Unreachable("the store is away")
        return [Reading("queue_oldest_seconds", ("a.b",), 1)]

    async with (sampler := Sampler(read, clock, every_seconds=5)):
        await asyncio.sleep(0)
        assert list(sampler()) == []
        away = False
        await clock.advance(5.1)
        assert len(list(sampler())) == 1


def test_a_sampler_that_has_not_begun_says_nothing() -> None:
    async def read() -> list[Reading]:
        return []

    assert list(Sampler(read, ManualClock())()) == []
