"""kill -9 at random moments: nothing lost, nothing done twice, work lost at most one checkpoint."""

from __future__ import annotations

import pytest
from tests.journeys.kills import Campaign
from tests.journeys.system import MODELS, System, assert_told_once, until

TRAINER = MODELS / "epochs.py"
LONG = [pytest.mark.chaos, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(5, id="short"),
        pytest.param(200, id="long", marks=LONG),
        pytest.param(4000, id="soak", marks=[pytest.mark.soak, pytest.mark.timeout(5000)]),
    ],
)
def test_kills_of_the_model_process_lose_nothing(plug: System, kills: int) -> None:
    plug.up(TRAINER)
    plug.wait_ready("epochs")
    report = Campaign(plug, plug.child_pids).run(kills)
    print(f"\nchild: {report}")
    assert max(report.recoveries) < 5.0


@pytest.mark.parametrize(
    "kills",
    [pytest.param(3, id="short"), pytest.param(50, id="long", marks=LONG)],
)
def test_kills_of_a_supervised_worker_lose_nothing(plug: System, kills: int) -> None:
    plug.environment["GLOWPLUG_LEASE_SECONDS"] = "60"
    plug.up(TRAINER)
    plug.wait_ready("epochs")
    report = Campaign(plug, lambda: plug.worker_pids()).run(kills)
    print(f"\nsupervised worker: {report}")
    # The lease is 60 s: only the supervisor's word can have freed the jobs this soon.
    assert max(report.recoveries) < 30.0


@pytest.mark.parametrize(
    ("lease", "kills"),
    [
        pytest.param(5, 1, id="short"),
        pytest.param(5, 50, id="long", marks=LONG),
        pytest.param(60, 3, id="default-lease", marks=[pytest.mark.chaos, pytest.mark.timeout(900)]),
    ],
)
def test_kills_of_a_worker_on_another_machine_cost_one_lease(plug: System, lease: int, kills: int) -> None:
    plug.environment["GLOWPLUG_LEASE_SECONDS"] = str(lease)
    plug.gateway()
    workers = [plug.worker(TRAINER)]
    plug.wait_ready("epochs")
    campaign = Campaign(
        plug,
        lambda: [workers[-1].pid],
        after_kill=lambda: workers.append(plug.worker(TRAINER)),
        recovery_limit=lease + 30,
    )
    report = campaign.run(kills)
    print(f"\nworker elsewhere, lease {lease} s: {report}")
    assert max(report.recoveries) < lease + 15


def test_a_job_that_kills_its_model_every_time_ends_with_its_budget(plug: System) -> None:
    plug.up(TRAINER)
    plug.wait_ready("epochs")
    job = plug.submit("epochs.bounded")
    for attempt in (1, 2, 3):
        until(lambda attempt=attempt: _works(plug, job, attempt), f"attempt {attempt} works", log=plug.log)
        campaign = Campaign(plug, plug.child_pids)
        assert campaign._kill()
    done = plug.wait_done(job)
    assert done["state"] == "failed"
    assert done["error"]["code"] == "model_crashed"
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["crashed"] * 3
    assert_told_once(plug.events(job))


def _works(plug: System, job: str, attempt: int) -> bool:
    events = plug.events_so_far(job)
    started = [event["seq"] for event in events if event["type"] == "started"]
    return len(started) == attempt and events[-1]["type"] == "metrics"
