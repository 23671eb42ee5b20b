"""From submission to result, through the routes and the desk."""

from __future__ import annotations

import asyncio

from tests.unit.gateway.house import House, settle


async def test_a_job_goes_from_submission_through_a_worker_to_its_result(home: House) -> None:
    worker = await home.ready_worker()
    job = await home.submit("hello")
    assert (job["state"], job["position"], job["done"]) == ("queued", 0, False)

    grant = await worker.one()
    assert (grant.hold.job_id, grant.task, dict(grant.input)) == (job["id"], "echo.say", {"text": "hello"})
    assert (await home.job(job["id"]))["state"] == "running"

    assert await worker.finish(grant, {"said": "hello"})
    ended = await home.job(job["id"])
    assert (ended["state"], ended["done"], ended["result"]) == ("completed", True, {"said": "hello"})
    assert [attempt["outcome"] for attempt in ended["attempts"]] == ["completed"]


async def test_a_waiting_claim_is_answered_as_soon_as_a_job_is_submitted(home: House) -> None:
    worker = await home.ready_worker()
    async with asyncio.timeout(10):
        waiting = asyncio.create_task(worker.claim(wait=20))
        await settle()
        assert not waiting.done()
        job = await home.submit()
        claimed = await waiting
    assert [grant.hold.job_id for grant in claimed.grants] == [job["id"]]


async def test_the_event_stream_tells_the_whole_story_and_ends(home: House) -> None:
    worker = await home.ready_worker()
    job = await home.run_one(worker)
    response = await home.client.get(job["urls"]["events"])
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = response.text.splitlines()
    told = [line.removeprefix("event: ") for line in lines if line.startswith("event:")]
    assert told == ["queued", "started", "completed"]
    assert [line for line in lines if line.startswith("id:")] == ["id: 1", "id: 2", "id: 3"]
