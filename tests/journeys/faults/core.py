"""The core of the fault suite, for every pair: processes killed, the broker gone, hints repeated, a crash between."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest
from tests.journeys.faults.grounds import Ground
from tests.journeys.faults.oracle import Oracle
from tests.journeys.faults.site import FIRST, Site, site_on
from tests.journeys.system import until
from tests.models.epochs import expected

LONG = [pytest.mark.chaos, pytest.mark.timeout(1800)]
EPOCHS = 12


def sizes(short: int, long: int) -> pytest.MarkDecorator:
    """Run a test with a small number in the usual suite and with a large one in the long form."""
    return pytest.mark.parametrize("size", [pytest.param(short, id="short"), pytest.param(long, id="long", marks=LONG)])


class CoreFaults:
    """A test module makes a subclass whose class fixture `ground` yields the pair."""

    @pytest.fixture(scope="class")
    @classmethod
    def whole_site(cls, ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
        """One gateway and one worker for all tests of the class."""
        with site_on(ground, tmp_path_factory.mktemp("site")) as made:
            yield made

    @pytest.fixture
    def site(self, whole_site: Site) -> Site:
        """The site, whole again after whatever the test before did to it."""
        whole_site.heal()
        return whole_site

    @pytest.fixture
    def oracle(self, site: Site) -> Oracle:
        """An oracle that has heard of no job yet."""
        return Oracle(site)

    @sizes(2, 200)
    def test_t01_the_compute_process_is_killed_at_random_times(self, site: Site, oracle: Oracle, size: int) -> None:
        chance = random.Random(1)
        for number in range(size):
            job = train(oracle, f"t01-{number}")
            site.wait_works(job)
            time.sleep(chance.uniform(0.0, 0.3))
            site.kill_child()
        oracle.judge()

    @sizes(1, 30)
    def test_t02_the_supervisor_is_killed(self, site: Site, oracle: Oracle, size: int) -> None:
        for number in range(size):
            job = train(oracle, f"t02-{number}", epochs=30)
            site.wait_works(job)
            site.kill_worker()
            site.start_worker(FIRST)
            site.wait_worker_ready(FIRST)
        oracle.judge()

    @sizes(1, 10)
    def test_t04_the_broker_is_killed_before_a_claim_in_the_midst_of_a_run_and_before_its_end(
        self, site: Site, oracle: Oracle, size: int
    ) -> None:
        for number in range(size):
            site.end_worker()
            before_claim = [train(oracle, f"t04-{number}-a{one}", epochs=3) for one in range(4)]
            break_broker(site)
            site.start_worker(FIRST)
            mend_broker(site)
            site.wait_works(before_claim[0])
            running = train(oracle, f"t04-{number}-b", epochs=40)
            site.wait_works(running)
            break_broker(site)
            until(lambda job=running: ends_soon(site, job, 34), "the run is about to end", log=site.plug.log)
            mend_broker(site)
        # The broker's loss is not the job's: each has run once.
        oracle.judge(attempts=dict.fromkeys(oracle.expected, ("completed",)))

    @sizes(40, 400)
    def test_t07_every_hint_comes_three_times_and_in_disorder(self, site: Site, oracle: Oracle, size: int) -> None:
        site.end_worker()
        jobs = [oracle.submit("quick", number=number, result=number) for number in range(size)]
        site.start_worker(FIRST)
        site.ground.broker.repeat([(job, "epochs.quick") for job in jobs], 3)
        oracle.judge(attempts=dict.fromkeys(jobs, ("completed",)))

    @sizes(60, 600)
    def test_t08_every_fifth_hint_is_lost(self, site: Site, oracle: Oracle, size: int) -> None:
        stop = threading.Event()
        lost: list[int] = []

        def steal() -> None:
            while not stop.is_set():
                lost.append(site.ground.broker.steal(5))
                time.sleep(0.01)

        thief = threading.Thread(target=steal)
        thief.start()
        try:
            jobs = [oracle.submit("quick", number=number, result=number) for number in range(size)]
            carries = site.ground.broker.server is not None
            while carries and not sum(lost) and len(jobs) < 20 * size:
                jobs.append(oracle.submit("quick", number=len(jobs), result=len(jobs)))
        finally:
            stop.set()
            thief.join()
        oracle.judge(attempts=dict.fromkeys(jobs, ("completed",)), limit=180)
        assert bool(sum(lost)) == carries, "hints were lost where there are any"
        print(f"{sum(lost)} hints lost")

    @sizes(1, 10)
    def test_t09_the_gateway_dies_between_the_commit_of_a_job_and_its_hint(
        self, site: Site, oracle: Oracle, size: int
    ) -> None:
        for number in range(size):
            # With the broker away nothing can be published: what is accepted now is committed and no more.
            site.ground.broker.kill()
            jobs = [oracle.submit("quick", number=one, result=one) for one in range(number, number + 5)]
            site.kill_gateway()
            site.ground.broker.mend()
            site.start_gateway()
            until(lambda jobs=jobs: all(site.plug.job(job)["done"] for job in jobs), "they ran", log=site.plug.log)
        oracle.judge(attempts=dict.fromkeys(oracle.expected, ("completed",)))


def train(oracle: Oracle, name: str, epochs: int = EPOCHS) -> str:
    """Queue a training job whose result tells of every epoch."""
    return oracle.submit("train", epochs=epochs, name=name, result=expected(name, epochs))


def break_broker(site: Site) -> None:
    """Take the broker away; where the rows are the queue, that is the gateway itself."""
    if site.ground.broker.server is None:
        site.kill_gateway()
    else:
        site.ground.broker.kill()


def mend_broker(site: Site) -> None:
    """Bring it back."""
    site.ground.broker.mend()
    if site.ground.broker.server is None:
        site.start_gateway()


def ends_soon(site: Site, job: str, epoch: int) -> bool:
    """Say whether a run is beyond an epoch; a gateway that is away has nothing to say, and that is fine, too."""
    if not site.plug.answers("/readyz"):
        return True
    return any(event["type"] == "metrics" and event["data"]["epoch"] >= epoch for event in site.plug.events_so_far(job))
