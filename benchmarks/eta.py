"""How right the estimate is on the second load of real model processes, and how often its band holds the truth.

A machine is a fresh history: its model is loaded once, then once more under watch. The component, its history file,
the worker's announcements and the gateway's merged picture are those of the product.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from benchmarks.loads import SCENARIOS, Scenario
from benchmarks.report import Figure
from glowplug.clock import SystemClock
from glowplug.link import Register, Registered
from glowplug.process.host import Host, HostSpec
from glowplug.readiness import Board, ComponentSnapshot, HistoryFile, MergedBoard, Snapshot, Transition
from glowplug.runtime.announce import Announcer
from glowplug.runtime.policy import WorkerIdentity, WorkerPolicy
from glowplug.runtime.station import Station

LOOK_SECONDS = 0.02
NAME = "model"


@dataclass(frozen=True)
class Look:
    """What was shown at one moment, by the worker and by the gateway; None where it had nothing to say."""

    at: float
    worker: ComponentSnapshot | None
    gateway: ComponentSnapshot | None


@dataclass
class Watched:
    """One load: its looks, and each progress that was published, by worker and gateway."""

    began: float = 0.0
    ended: float = 0.0
    looks: list[Look] = field(default_factory=list)
    worker_percent: list[float] = field(default_factory=list)
    gateway_percent: list[float] = field(default_factory=list)

    def hear(self, transition: Transition) -> None:
        """Note when the load began and when it was over."""
        if transition.component and transition.new == "loading" and not self.began:
            self.began = time.monotonic()
        if transition.component and transition.new == "ready":
            self.ended = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return how long the load took."""
        return self.ended - self.began

    @property
    def steps_back(self) -> int:
        """Return how often a percentage was less than the one before."""
        return sum(
            after < before
            for shown in (self.worker_percent, self.gateway_percent)
            for before, after in itertools.pairwise(shown)
        )


@dataclass(frozen=True)
class Judged:
    """One load judged: errors at half-way against the whole and against the time left, and how often the band held."""

    seconds: float
    of_whole: float
    of_left: float
    gateway_of_whole: float
    held_half_way: bool
    held: float
    pictures: int
    steps_back: int


def measure() -> list[Figure]:
    """Return the error of each kind of load, then the bands and the progress of all of them."""
    judged = {scenario: list(_machines(scenario)) for scenario in SCENARIOS if not scenario.missing}
    every = [one for found in judged.values() for one in found]
    return [
        *(_not_measured(scenario) for scenario in SCENARIOS if scenario.missing),
        *(_error(scenario, found) for scenario, found in judged.items()),
        _gateway(every),
        *_bands(judged),
        _progress(every),
    ]


def _not_measured(scenario: Scenario) -> Figure:
    return Figure(f"ETA at half-way: {scenario.name}", f"not measured: {', '.join(scenario.missing)} not installed")


def _machines(scenario: Scenario) -> Iterator[Judged]:
    for machine in range(scenario.machines):
        with tempfile.TemporaryDirectory() as folder:
            for load in range(2):
                watched = asyncio.run(_load(scenario, machine, load, Path(folder)))
        yield _judge(watched)


async def _load(scenario: Scenario, machine: int, load: int, folder: Path) -> Watched:
    """Load the model once, with the history that lies in `folder`, and watch."""
    scenario.prepare(load)
    clock, watched = SystemClock(), Watched()
    board = Board(clock, HistoryFile(folder / "loads.json"), on_transition=watched.hear)
    component = board.add(NAME, model=NAME, device="cpu")
    spec = HostSpec(target=scenario.target, options=scenario.options(machine, load), scratch=folder / "scratch")
    host = Host(spec, component, clock=clock, weights=scenario.weights(machine, load, folder))
    gateway = _Gateway()
    worker = WorkerIdentity(instance_id="worker", incarnation="1")
    announcer = Announcer(Station(gateway, worker, clock, WorkerPolicy()), board, [host], lambda registered: None)
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        duties = [
            group.create_task(duty)
            for duty in (announcer.run(), _hear(board, announcer, watched), _look(board, gateway.board, watched))
        ]
        async with host:
            await board.wait_until_ready()
            for duty in duties:
                duty.cancel()
    return watched


class _Gateway(SimpleNamespace):
    """The gateway's end of the link, as far as announcements go."""

    def __init__(self) -> None:
        super().__init__(board=MergedBoard(SystemClock()))

    async def register(self, message: Register) -> Registered:
        """Take the worker's picture."""
        self.board.report(message.instance_id, Snapshot.from_dict(message.snapshot))
        return Registered(60.0)


async def _hear(board: Board, announcer: Announcer, watched: Watched) -> None:
    async for snapshot in board.watch():
        watched.worker_percent += [part.percent for part in snapshot.components]
        announcer.changed(snapshot)


async def _look(board: Board, gateway: MergedBoard, watched: Watched) -> None:
    while True:
        here, there = board.snapshot().find(NAME), gateway.snapshot().find(NAME)
        watched.looks.append(Look(time.monotonic(), here, there))
        watched.gateway_percent += [there.percent] if there else []
        await asyncio.sleep(LOOK_SECONDS)


def _judge(watched: Watched) -> Judged:
    half_way = min(watched.looks, key=lambda look: abs(look.at - (watched.began + watched.ended) / 2))
    left = watched.ended - half_way.at
    error = _off(half_way.worker, left)
    held = [
        _holds(look.worker, watched.ended - look.at)
        for look in watched.looks
        if watched.began <= look.at < watched.ended
    ]
    return Judged(
        seconds=watched.seconds,
        of_whole=error / watched.seconds,
        of_left=error / left,
        gateway_of_whole=_off(half_way.gateway, left) / watched.seconds,
        held_half_way=_holds(half_way.worker, left),
        held=statistics.fmean(held),
        pictures=len(watched.worker_percent) + len(watched.gateway_percent),
        steps_back=watched.steps_back,
    )


def _off(shown: ComponentSnapshot | None, left: float) -> float:
    """Return by how many seconds the estimate is off; without one, all of them."""
    return left if shown is None or shown.estimate is None else abs(shown.estimate.p50_seconds - left)


def _holds(shown: ComponentSnapshot | None, left: float) -> bool:
    found = shown.estimate if shown else None
    return found is not None and found.p10_seconds <= left <= found.p90_seconds


def _error(scenario: Scenario, found: Sequence[Judged]) -> Figure:
    middle, of_left = _median(found, lambda one: one.of_whole), _median(found, lambda one: one.of_left)
    worst, seconds = max(one.of_whole for one in found), _median(found, lambda one: one.seconds)
    return Figure(
        f"ETA at half-way: {scenario.name}",
        f"off by {middle:.0%} of the load (worst {worst:.0%}), {of_left:.0%} of the time left",
        "median <= 15 % of the load",
        middle <= 0.15,
        f"second load, {len(found)} machines, {seconds:.1f} s; {scenario.method}",
    )


def _gateway(found: Sequence[Judged]) -> Figure:
    here, there = _median(found, lambda one: one.of_whole), _median(found, lambda one: one.gateway_of_whole)
    said = f"off by {there:.0%} of the load, the worker's own by {here:.0%}"
    return Figure("ETA at half-way as the gateway shows it", said, method="all loads; announced ten times a second")


def _bands(judged: dict[Scenario, list[Judged]]) -> Iterator[Figure]:
    every = [one for found in judged.values() for one in found]
    shares = {scenario.name: (_held_half_way(found), _held(found)) for scenario, found in judged.items()}
    half_way, always = _held_half_way(every), _held(every)
    each = "; ".join(f"{name} {half:.0%}, {time:.0%}" for name, (half, time) in shares.items())
    name, bar = "the band p10-p90 holds the truth", "80-95 %"
    yield Figure(f"{name}, over the time of all loads", f"{always:.0%}", bar, 0.8 <= always <= 0.95, each)
    # Loads as regular as those of a quiet machine are held more often than the band promises: one past load cannot say.
    yield Figure(f"{name}, at half-way", f"{half_way:.0%} of {len(every)} loads", bar, 0.8 <= half_way <= 0.95)


def _progress(found: Sequence[Judged]) -> Figure:
    back, pictures = sum(one.steps_back for one in found), sum(one.pictures for one in found)
    return Figure("progress going back", f"{back} of {pictures:,} pictures", "never", back == 0, "worker and gateway")


def _median(found: Sequence[Judged], value: Callable[[Judged], float]) -> float:
    return statistics.median(value(one) for one in found)


def _held_half_way(found: Sequence[Judged]) -> float:
    return statistics.fmean(one.held_half_way for one in found)


def _held(found: Sequence[Judged]) -> float:
    return statistics.fmean(one.held for one in found)
