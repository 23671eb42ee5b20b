"""A sick model is named on the board, and the others go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.journeys.system import MODELS, System, assert_told_once, until

LOADS = {
    "raises": "raise ValueError('the weights have the wrong shape')",
    "hangs": "time.sleep(3600)",
    "dies": "os.abort()",
    "eats": "keep = [b'x' * (1 << 24) for _ in range(1000)]; time.sleep(3600)",
}
SOURCE = """
import os, time
from glowplug import Model, task

class Sick(Model):
    def load(self, ctx):
        {load}

    @task
    def say(self, ctx, text: str = "") -> str:
        return text
"""


def service(plug: System, name: str) -> dict[str, Any]:
    found: dict[str, Any] = plug.get("/api/ready")["services"].get(name, {})
    return found


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raises", "the weights have the wrong shape"),
        ("hangs", "stalled"),
        ("dies", "SIGABRT"),
        ("eats", "memory"),
    ],
)
def test_a_model_that_cannot_load_says_why_while_another_one_works(
    plug: System, tmp_path: Path, how: str, said: str
) -> None:
    sick = tmp_path / "sick.py"
    sick.write_text(SOURCE.format(load=LOADS[how]))
    plug.environment |= {
        "GLOWPLUG_WORKER_STALL_SECONDS": "2",
        "GLOWPLUG_WORKER_LOAD_ATTEMPTS": "1",
        "GLOWPLUG_WORKER_MEMORY_LIMIT_BYTES": "300MiB",
    }
    plug.up(sick, MODELS / "echo.py")
    plug.wait_ready("echo")
    until(lambda: service(plug, "sick").get("status") == "error", "the sick model is given up", log=plug.log)
    assert said.lower() in service(plug, "sick")["error"].lower()
    assert plug.wait_done(plug.submit("echo.say", text="still here"))["result"] == "still here"
    refused = plug.http.post("/v1/run/sick.say", json={})
    assert refused.status_code == 503
    assert refused.json()["code"] in ("model_load_failed", "not_ready", "model_load_stalled")


def test_a_segmentation_fault_costs_one_job_and_the_model_comes_back(plug: System) -> None:
    plug.up(MODELS / "segv.py")
    plug.wait_ready("segv")
    dead = plug.submit("segv.die")
    fine = plug.submit("segv.say", text="me too")
    failed = plug.wait_done(dead)
    assert failed["state"] == "failed"
    assert failed["error"]["code"] == "model_crashed"
    assert "SIGSEGV" in failed["error"]["message"]
    assert plug.wait_done(fine)["result"] == "me too"
    assert_told_once(plug.events(dead))


def test_a_job_that_eats_all_memory_is_ended_and_the_model_comes_back(plug: System) -> None:
    plug.environment["GLOWPLUG_WORKER_MEMORY_LIMIT_BYTES"] = "300MiB"
    plug.up(MODELS / "eat_memory.py")
    plug.wait_ready("eatmemory")
    failed = plug.wait_done(plug.submit("eatmemory.eat", megabytes=2000))
    assert failed["state"] == "failed"
    assert "memory" in failed["error"]["message"].lower()
    plug.wait_ready("eatmemory")
    assert plug.wait_done(plug.submit("eatmemory.eat", megabytes=16))["result"] == 1


def test_a_job_that_ignores_its_cancel_is_ended_by_force(plug: System) -> None:
    plug.environment["GLOWPLUG_WORKER_CANCEL_GRACE_SECONDS"] = "1"
    plug.up(MODELS / "hang.py")
    plug.wait_ready("hang")
    job = plug.submit("hang.forever")
    plug.wait_event(job, "progress")
    assert plug.http.post(f"/v1/jobs/{job}/cancel").is_success
    assert plug.wait_done(job)["state"] == "canceled"
    assert_told_once(plug.events(job))
    plug.wait_ready("hang")
    assert plug.wait_done(plug.submit("hang.say", text="again"))["result"] == "again"
