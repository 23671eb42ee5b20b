"""Leaving in good order: signals, drains, and a gateway that goes away for a while."""

from __future__ import annotations

import os
import signal
import socket

from tests.journeys.system import MODELS, System, assert_told_once, end, until
from tests.models.epochs import expected

TRAINER = MODELS / "epochs.py"


def test_a_worker_that_is_told_to_leave_hands_its_job_on_uncounted(plug: System) -> None:
    plug.gateway()
    first = plug.worker(TRAINER)
    plug.wait_ready("epochs")
    job = plug.submit("epochs.train", epochs=40, name="handed-on")
    plug.wait_event(job, "checkpoint")
    assert end(first) == 0
    assert plug.job(job)["state"] == "queued"
    plug.worker(TRAINER)
    done = plug.wait_done(job)
    assert done["result"] == expected("handed-on", 40)
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["interrupted", "completed"]
    epochs = [event["data"]["epoch"] for event in plug.events(job) if event["type"] == "metrics"]
    assert epochs == list(range(1, 41))


def test_a_gateway_killed_under_a_running_job_finds_it_done_or_running_when_it_is_back(plug: System) -> None:
    gateway = plug.gateway()
    plug.worker(TRAINER)
    plug.wait_ready("epochs")
    job = plug.submit("epochs.train", epochs=60, name="outlives")
    plug.wait_event(job, "checkpoint")
    os.kill(gateway.pid, signal.SIGKILL)
    gateway.wait()
    plug.gateway()
    until(lambda: plug.answers("/readyz"), "the gateway is back", log=plug.log)
    done = plug.wait_done(job)
    assert done["result"] == expected("outlives", 60)
    assert done["attempt"] == 1, "the worker kept its job over the outage"
    assert_told_once(plug.events(job))


def test_ctrl_c_ends_everything_that_up_started_and_the_job_is_kept(plug: System) -> None:
    up = plug.up(TRAINER)
    plug.wait_ready("epochs")
    job = plug.submit("epochs.train", epochs=200, name="kept")
    plug.wait_event(job, "checkpoint")
    started = [*plug.worker_pids(), *plug.child_pids()]
    os.kill(up.pid, signal.SIGINT)
    assert up.wait(40) == 0
    assert [pid for pid in started if _lives(pid)] == []
    plug.up(TRAINER)
    plug.wait_ready("epochs")
    until(lambda: plug.job(job)["attempt"] == 2, "the job goes on", log=plug.log)
    assert plug.http.post(f"/v1/jobs/{job}/cancel").is_success
    assert plug.wait_done(job)["state"] == "canceled"


def test_a_gateway_that_is_told_to_leave_while_it_opens_leaves_in_good_order(plug: System) -> None:
    up = plug.up(TRAINER)
    until(lambda: plug.answers("/livez"), "the doorman answers", log=plug.log)
    assert end(up) == 0
    assert "Traceback" not in plug.log()


def test_a_request_that_is_on_its_way_when_the_gateway_leaves_is_still_served(plug: System) -> None:
    gateway = plug.gateway()
    until(lambda: plug.answers("/ready"), "the gateway is there", log=plug.log)
    with socket.create_connection(("127.0.0.1", plug.port), timeout=20) as slow:
        slow.sendall(b"PUT /v1/artifacts/a.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nfirst")
        until(lambda: plug.answers("/livez"), "what was sent before has come in", log=plug.log)
        os.kill(gateway.pid, signal.SIGTERM)
        until(lambda: not plug.answers("/livez"), "nobody is let in any more", log=plug.log)
        slow.sendall(b" then")
        assert slow.recv(4096).startswith(b"HTTP/1.1 201 ")
    assert gateway.wait(40) == 0


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
