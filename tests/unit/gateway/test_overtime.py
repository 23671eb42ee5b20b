"""Runs that are far too long are ended even where the worker does not."""

from __future__ import annotations

from typing import Any

from tests.unit.gateway.house import HandWorker, House

from glowplug.gateway.overtime import MARGIN_SECONDS
from glowplug.store import ModelInfo, TaskInfo

BRIEF = (ModelInfo("echo", "1", (TaskInfo("echo.brief", timeout_seconds=10.0, errors=2), TaskInfo("echo.long"))),)


async def running(home: House, task: str) -> tuple[HandWorker, Any]:
    """Let a job of `task` be claimed."""
    worker = home.worker()
    await worker.register(models=BRIEF)
    answer = await home.client.post("/v1/jobs", json={"task": task, "input": {}})
    assert answer.status_code == 202, answer.text
    return worker, await worker.one(tasks=[task])


async def wind(home: House, worker: HandWorker, grant: Any, seconds: float) -> bool:
    """Let time pass while the worker renews its lease; return whether it is still held."""
    held = True
    for _ in range(int(seconds // 20)):
        await home.clock.advance(20)
        held = (await worker.renew(grant)).renewals[0].held
    return held


async def test_a_run_whose_worker_renews_for_ever_is_ended_and_tried_again(home: House) -> None:
    worker, grant = await running(home, "echo.brief")
    assert await wind(home, worker, grant, MARGIN_SECONDS)
    assert not await wind(home, worker, grant, 60)
    job = await home.job(grant.hold.job_id)
    assert job["state"] == "queued"
    assert job["attempts"][0]["error"]["code"] == "deadline_exceeded"
    assert "took longer than 10 s" in job["attempts"][0]["error"]["message"]
    assert not await worker.finish(grant, "too late")


async def test_a_run_without_a_limit_goes_on(home: House) -> None:
    worker, grant = await running(home, "echo.long")
    assert await wind(home, worker, grant, MARGIN_SECONDS * 2)
    assert await worker.finish(grant, "done")
