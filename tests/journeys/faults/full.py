"""The rest of the fault suite: frozen workers, databases that go away, poison, notices, cancels, clocks, full disks."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from tests.journeys.faults.core import CoreFaults, sizes, train
from tests.journeys.faults.oracle import UNCOUNTED, Oracle
from tests.journeys.faults.site import FIRST, LEASE_SECONDS, Site
from tests.journeys.system import until
from tests.models.epochs import expected

SECOND = "second"


class FullFaults(CoreFaults):
    """Everything, for the pairs that most people run."""

    def test_t03_a_worker_frozen_beyond_its_lease_cannot_write_when_it_wakes(self, site: Site, oracle: Oracle) -> None:
        site.start_worker(SECOND)
        site.wait_worker_ready(SECOND)
        job = oracle.submit("paint", seconds=3.0)
        site.wait_works(job)
        holder = site.plug.job(job)["attempts"][0]["worker"]
        site.pause_worker(holder)
        until(lambda: len(site.plug.job(job)["attempts"]) > 1, "somebody else runs it", log=site.plug.log)
        site.resume_worker(holder)
        oracle.judge(attempts={job: ["lost", "completed"]})
        # The stale one noticed, and is of use again.
        again = [oracle.submit("quick", number=number, result=number) for number in range(4)]
        oracle.judge(attempts=dict.fromkeys(again, ("completed",)))

    @sizes(1, 20)
    def test_t05_the_database_is_restarted_and_its_connections_are_cut(
        self, site: Site, oracle: Oracle, size: int
    ) -> None:
        for number in range(size):
            job = train(oracle, f"t05-{number}", epochs=40)
            site.wait_works(job)
            with load(oracle):
                break_store(site)
        oracle.judge(attempts=dict.fromkeys(oracle.expected, ("completed",)))

    def test_t06_every_connection_of_the_database_is_taken(self, site: Site, oracle: Oracle) -> None:
        with load(oracle, seconds=2.0), crowd(site):
            pass
        oracle.judge()

    @sizes(1, 20)
    def test_t10_a_crash_between_the_upload_of_a_result_and_the_end(
        self, site: Site, oracle: Oracle, size: int
    ) -> None:
        for _ in range(size):
            job = oracle.submit("paint", seconds=3.0)
            site.wait_works(job)
            site.kill_child()
            done = site.plug.wait_done(job)
            (artifact,) = done["artifacts"]
            assert site.plug.http.get(f"/v1/artifacts/{artifact['key']}").text == done["result"]
        oracle.judge(attempts=dict.fromkeys(oracle.expected, ("crashed", "completed")))

    def test_t11_a_poisonous_job_stops_with_its_budget_and_harms_no_other(self, site: Site, oracle: Oracle) -> None:
        poison = oracle.submit("poison")
        others = [train(oracle, f"t11-{number}", epochs=3) for number in range(2)]
        states = oracle.judge(attempts={poison: ["crashed"] * 3, **dict.fromkeys(others, ("completed",))})
        assert states["failed"] == 1

    @sizes(1, 20)
    def test_t12_a_notice_burns_no_budget_and_the_job_goes_on_at_its_step(
        self, site: Site, oracle: Oracle, size: int
    ) -> None:
        for number in range(size):
            job = train(oracle, f"t12-{number}", epochs=40)
            site.wait_works(job)
            site.end_worker()
            site.start_worker(FIRST)
            site.wait_works(job, attempt=2)
            metrics = [event for event in site.plug.events(job) if event["type"] == "metrics"]
            epochs = [event["data"]["epoch"] for event in metrics]
            assert epochs == list(range(1, 41)), "no epoch twice, none left out"
        oracle.judge(attempts=dict.fromkeys(oracle.expected, ("interrupted", "completed")))

    def test_t13_a_cancel_reaches_a_job_in_each_state_even_with_its_worker_dead(
        self, site: Site, oracle: Oracle
    ) -> None:
        running = oracle.submit("bounded", seconds=60.0)
        site.wait_works(running)
        queued = oracle.submit("bounded", seconds=60.0)
        cancel(site, queued)
        cancel(site, running)
        oracle.judge()
        orphan = oracle.submit("bounded", seconds=60.0)
        site.wait_works(orphan)
        site.kill_worker()
        cancel(site, orphan)
        begun = time.monotonic()
        states = oracle.judge()
        assert states == {"canceled": 3}
        assert time.monotonic() - begun < LEASE_SECONDS + 15
        answer = site.plug.http.post(f"/v1/jobs/{orphan}/cancel")
        assert answer.status_code == 409, "what has ended cannot be canceled"

    @sizes(3, 40)
    def test_t14_nothing_is_handed_out_while_the_model_is_not_ready(
        self, site: Site, oracle: Oracle, size: int
    ) -> None:
        jobs = [oracle.submit("quick", number=number, result=number) for number in range(20 * size)]
        away: list[tuple[float, float]] = []
        for _ in range(size):
            former = model(site)["loaded_at"]
            site.kill_child()
            until(lambda former=former: not is_up(site, former), "its end is seen", log=site.plug.log)
            gone_at = time.time()
            until(lambda: model(site)["ready"], "it is back", log=site.plug.log)
            away.append((gone_at, datetime.fromisoformat(model(site)["loaded_at"]).timestamp()))
        oracle.judge()
        begun = [moment(event) for job in jobs for event in site.plug.events(job) if event["type"] == "started"]
        early = [at for at in begun for gone_at, ready_at in away if gone_at < at < ready_at]
        assert early == []
        for job in jobs:
            outcomes = [attempt["outcome"] for attempt in site.plug.job(job)["attempts"]]
            assert set(outcomes[:-1]) <= {"crashed", *UNCOUNTED}, outcomes

    @sizes(2, 20)
    def test_t16_a_job_that_holds_the_interpreter_keeps_its_lease(self, site: Site, oracle: Oracle, size: int) -> None:
        job = oracle.submit("hog", seconds=size * LEASE_SECONDS - 1.0, result="done")
        oracle.judge(attempts={job: ["completed"]})

    def test_t17_a_full_disk_stops_the_intake_and_a_busy_database_loses_nothing(
        self, site: Site, oracle: Oracle
    ) -> None:
        site.kill_gateway()
        site.start_gateway(GLOWPLUG_RETENTION_MIN_FREE_BYTES="1000TiB")
        answer = site.plug.http.post("/v1/jobs", json={"task": "epochs.quick", "input": {}})
        assert answer.status_code == 507
        assert "disk" in answer.json()["detail"]
        site.kill_gateway()
        site.start_gateway()
        with load(oracle, seconds=2.0), busy_store(site):
            time.sleep(1.0)
        oracle.judge()

    @pytest.mark.parametrize("minutes", [-10, 10])
    def test_t18_a_worker_whose_clock_is_wrong_by_minutes_works_as_any_other(
        self, site: Site, oracle: Oracle, minutes: int
    ) -> None:
        site.end_worker()
        site.start_worker(FIRST, **wrong_clock(minutes))
        site.wait_worker_ready(FIRST)
        # The library that lies about the time breaks sleeping.
        job = oracle.submit("train", epochs=8, seconds=0, name="t18", result=expected("t18", 8))
        oracle.judge(attempts={job: ["completed"]})
        for event in site.plug.events(job):
            assert abs(datetime.fromisoformat(event["at"]).timestamp() - time.time()) < 120
        site.end_worker()


def model(site: Site) -> dict[str, Any]:
    """Return how the model stands over all workers."""
    found: dict[str, Any] = site.plug.get("/api/ready")["services"]["epochs"]
    return found


def is_up(site: Site, loaded_at: str) -> bool:
    """Say whether the model that was loaded then is ready still; another one may have taken its place meanwhile."""
    now = model(site)
    return bool(now["ready"]) and now["loaded_at"] == loaded_at


def moment(event: dict[str, Any]) -> float:
    """Return when an event happened, by the gateway's clock."""
    return datetime.fromisoformat(event["at"]).timestamp()


def cancel(site: Site, job: str) -> None:
    """Ask a job to stop."""
    answer = site.plug.http.post(f"/v1/jobs/{job}/cancel")
    assert answer.status_code == 202, answer.text


def break_store(site: Site) -> None:
    """Cut the database's connections for a while, then restart it; where it is a file, the gateway is restarted."""
    server = site.ground.store.server
    if server is None:
        site.kill_gateway()
        site.start_gateway()
        return
    cut = getattr(site.ground.store, "terminate_all", None)
    for _ in range(4 if cut else 0):
        assert cut is not None
        cut()
        time.sleep(0.5)
    site.ground.store.kill()
    site.ground.store.mend()
    site.wait_gateway()


@contextlib.contextmanager
def load(oracle: Oracle, seconds: float = 0.0) -> Iterator[None]:
    """Have a careful caller queue jobs, one after another, for as long as the block runs."""
    ends_at = time.monotonic() + seconds
    stop = threading.Event()
    failed: list[BaseException] = []

    def call() -> None:
        number = 0
        try:
            while not stop.is_set() or time.monotonic() < ends_at:
                oracle.submit("quick", number=number, result=number)
                number += 1
                time.sleep(0.05)
        except BaseException as error:  # noqa: BLE001 - it is raised where the block ends
            failed.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield
    finally:
        stop.set()
        caller.join()
    if failed:
        raise failed[0]


@contextlib.contextmanager
def crowd(site: Site) -> Iterator[None]:
    """Take every connection that the database has left, for two seconds; a file has none to take."""
    take: Callable[[], list[contextlib.AbstractContextManager[object]]] | None = getattr(
        site.ground.store, "take_all_connections", None
    )
    with contextlib.ExitStack() as taken:
        for connection in take() if take else []:
            taken.enter_context(connection)
        time.sleep(2.0 if take else 0.0)
        yield


@contextlib.contextmanager
def busy_store(site: Site) -> Iterator[None]:
    """Let another program hold the database's write lock, where there is one such lock."""
    hold: Callable[[], contextlib.AbstractContextManager[object]] | None = getattr(
        site.ground.store, "hold_write_lock", None
    )
    with hold() if hold else contextlib.nullcontext():
        yield


def wrong_clock(minutes: int) -> dict[str, str]:
    """Return the environment under which a process sees another time of day; what only grows, grows as ever."""
    from tests.journeys.faults.clocks import faketime

    return {"LD_PRELOAD": str(faketime()), "FAKETIME": f"{minutes:+d}m", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
