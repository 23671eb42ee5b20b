"""What PostgreSQL with RabbitMQ must bear beyond the suite: a broker out of patience, three bars, two gateways."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.faults.core import LONG, sizes, train
from tests.journeys.faults.full import SECOND, cancel, load
from tests.journeys.faults.oracle import UNCOUNTED, Oracle
from tests.journeys.faults.site import Site, site_on
from tests.journeys.system import until

RATE_SECONDS = 3.0
BACK_SECONDS = 10.0


class CarriedFaults:
    """For a class that also has the fixtures of the suite, on PostgreSQL with RabbitMQ."""

    @pytest.mark.parametrize(
        ("timeout", "look", "seconds"),
        [pytest.param(1.0, 0.2, 4.0, id="short"), pytest.param(60.0, 5.0, 150.0, id="long", marks=LONG)],
    )
    def test_t15_a_job_longer_than_the_brokers_patience_runs_once(
        self, site: Site, oracle: Oracle, timeout: float, look: float, seconds: float
    ) -> None:
        broker: Any = site.ground.broker
        with broker.impatient(timeout, look):
            job = oracle.submit("bounded", seconds=seconds, result="done")
            site.wait_works(job)
            jobs = [job, *oracle.submit_quick(5)]
            # Somebody takes a hint and does nothing with it, until the broker gives it to another one.
            broker.hold_one()
            oracle.judge(attempts=dict.fromkeys(jobs, ("completed",)), limit=seconds + 90)
        print(f"RabbitMQ {broker.version}, consumer_timeout {timeout:g} s: a job of {seconds:g} s ran once")

    @sizes(200, 1000)
    def test_a_killed_rabbitmq_costs_no_job_of_a_long_queue(self, site: Site, oracle: Oracle, size: int) -> None:
        first = oracle.submit("bounded", seconds=300.0)
        site.wait_works(first)
        jobs = oracle.submit_quick(size)
        site.ground.broker.kill()
        cancel(site, first)
        until(lambda: site.plug.job(first)["done"], "the slot is free", log=site.plug.log)
        site.ground.broker.mend()
        back_at = time.time()
        oracle.judge(attempts=dict.fromkeys(jobs, ("completed",)), limit=300)
        seconds = max(ends(oracle, jobs)) - back_at
        print(f"{size} queued jobs ran in {seconds:.1f} s once RabbitMQ was back")

    @pytest.mark.chaos
    @pytest.mark.timeout(900)
    @pytest.mark.parametrize("load_seconds", [30.0])
    def test_the_rate_is_back_ten_seconds_after_a_restart_of_postgresql(
        self, site: Site, oracle: Oracle, load_seconds: float
    ) -> None:
        trial = oracle.submit_quick(500)
        oracle.judge()
        usual = len(trial) / (max(ends(oracle, trial)) - min(ends(oracle, trial)))
        jobs = oracle.submit_quick(int(usual * load_seconds))
        begun = len(jobs) // 5
        until(lambda: site.plug.job(jobs[begun])["done"], "the load is under way", limit=120, log=site.plug.log)
        away_at = time.time()
        site.ground.store.server.restart()
        back_at = time.time()
        oracle.judge(attempts=dict.fromkeys(jobs, ("completed",)), limit=300)
        ended = ends(oracle, jobs)
        before = rate(ended, away_at - RATE_SECONDS)
        tries = [0.1 * number for number in range(int(10 * BACK_SECONDS) + 1)]
        soon = [wait for wait in tries if rate(ended, back_at + wait) >= 0.8 * before]
        best = max(rate(ended, back_at + wait) for wait in tries)
        print(
            f"PostgreSQL was away for {back_at - away_at:.1f} s: {before:.0f} jobs/s before, up to {best:.0f} after, "
            f"four fifths of the former rate from {soon[0] if soon else float('nan'):.1f} s on"
        )
        assert soon, f"at most {best:.0f} of {before:.0f} jobs/s within {BACK_SECONDS:g} s"

    @sizes(1, 10)
    def test_the_leading_one_of_two_gateways_is_killed_under_load(
        self, site: Site, oracle: Oracle, tmp_path: Path, size: int
    ) -> None:
        with neighbour_of(site, tmp_path) as other:
            for number in range(size):
                other.heal()
                site.heal()
                self.kill_leader(site, other, f"leader-{number}")

    def kill_leader(self, site: Site, other: Site, name: str) -> None:
        """Kill whichever leads; the other one is asked how everything ended."""
        leads: list[str] = []

        def known() -> bool:
            leads[:] = [leader(site)]
            return any(one.has_led("relay", leads[0]) for one in (site, other))

        until(known, "one of the two leads", log=site.plug.log)
        dies, heir = (site, other) if site.has_led("relay", leads[0]) else (other, site)
        oracle, early = Oracle(heir), Oracle(dies)
        with load(oracle):
            early.submit_quick(30)
            for number in range(3):
                train(early, f"{name}-{number}", epochs=30)
            until(lambda: len(workers_at(heir, list(early.expected))) == 2, "both workers work", log=heir.plug.log)
            dies.kill_gateway()
            begun = time.monotonic()
            until(lambda: leader(site) != leads[0], "the other one leads", log=heir.plug.log)
            until(lambda: heir.has_led("relay", leader(site)), "it knows that it leads", log=heir.plug.log)
            seconds = time.monotonic() - begun
        oracle.expected |= early.expected
        oracle.judge(limit=120)
        for job in oracle.ended.values():
            outcomes = [attempt["outcome"] for attempt in job["attempts"]]
            assert outcomes[-1] == "completed", outcomes
            assert set(outcomes[:-1]) <= {"lost", *UNCOUNTED}, outcomes
        print(f"the duties were taken over after {seconds:.1f} s")


def ends(oracle: Oracle, jobs: Sequence[str]) -> list[float]:
    """Return when judged jobs ended, by the store's clock."""
    return [datetime.fromisoformat(oracle.ended[job]["finished_at"]).timestamp() for job in jobs]


def rate(ended: Sequence[float], since: float) -> float:
    """Return how many jobs ended per second from a moment on, for some seconds."""
    return sum(since <= at < since + RATE_SECONDS for at in ended) / RATE_SECONDS


def leader(site: Site) -> str:
    """Return the name of the gateway that relays."""
    store: Any = site.ground.store
    return str(store.leader("relay"))


def workers_at(site: Site, jobs: Sequence[str]) -> set[str]:
    """Return who has worked on jobs."""
    return {attempt["worker"] for job in jobs for attempt in site.plug.job(job)["attempts"]}


@contextmanager
def neighbour_of(site: Site, folder: Path) -> Iterator[Site]:
    """Yield a second site on the same ground, which has its artifacts where the first one has them."""
    artifacts = (site.plug.folder / "data" / "artifacts").as_uri()
    with site_on(site.ground, folder, {"GLOWPLUG_ARTIFACTS": artifacts}, worker=SECOND) as other:
        yield other
        # Its worker takes its leave, or it would be taken for one that is there for a while yet.
        other.heal()
        other.end_worker(SECOND)
