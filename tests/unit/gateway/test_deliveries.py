"""The log of deliveries: what was told, what failed, and telling again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.doors.receiver import Receiver, receiver
from tests.unit.gateway.house import House, house
from tests.unit.gateway.listeners import Listener, refused, taken, until, wind

from glowplug.clock import ManualClock
from glowplug.doors.job_webhook import JobWebhookOptions, JobWebhooks
from glowplug.doors.signatures import new_secret

SECRET = new_secret()


@pytest.fixture
def door() -> Listener:
    return Listener()


@pytest.fixture
async def told_home(tmp_path: Path, door: Listener) -> AsyncIterator[House]:
    async with asyncio.timeout(30), house(tmp_path, doors=[door]) as home:
        yield home


async def deliveries(home: House, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the job's log of deliveries."""
    answer = await home.client.get(f"/v1/jobs/{job['id']}/deliveries")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["deliveries"])


async def settled(home: House, job: dict[str, Any]) -> dict[str, Any]:
    """Return the job's only delivery once it is over for now."""
    while (found := await deliveries(home, job))[0]["due_at"] is not None:
        await asyncio.sleep(0.002)
    return found[0]


async def retry(home: House, job: dict[str, Any], door: str = "listener") -> int:
    return (await home.client.post(f"/v1/jobs/{job['id']}/deliveries/{door}/retry")).status_code


async def test_the_log_says_how_far_a_door_was_told_and_when(told_home: House) -> None:
    worker = await told_home.ready_worker()
    job = await told_home.run_one(worker)
    while (found := await settled(told_home, job))["seq"] < 3:
        await asyncio.sleep(0.002)
    assert {name: found[name] for name in ("door", "seq", "due_at", "failures", "given_up", "failing_since")} == {
        "door": "listener",
        "seq": 3,
        "due_at": None,
        "failures": 0,
        "given_up": False,
        "failing_since": None,
    }
    assert found["tries"][-1]["status"] == 204
    assert found["tries"][-1]["error"] == ""


async def test_the_log_says_what_failed_and_when_it_is_tried_again(told_home: House, door: Listener) -> None:
    door.answers = [refused(error="answered 500", status=500, retry_after_seconds=60)]
    await told_home.ready_worker()
    job = await told_home.submit()
    await until(lambda: door.told)
    while not (found := (await deliveries(told_home, job))[0])["tries"]:
        await asyncio.sleep(0.002)
    assert (found["seq"], found["failures"], found["given_up"]) == (0, 1, False)
    assert found["due_at"] > found["failing_since"]
    assert (found["tries"][0]["status"], found["tries"][0]["error"]) == (500, "answered 500")


async def test_a_job_that_nobody_follows_has_an_empty_log(told_home: House) -> None:
    await told_home.ready_worker()
    job = await told_home.submit(metadata={"follow": "nobody"})
    assert await deliveries(told_home, job) == []


async def test_a_follower_that_nothing_was_told_yet_stands_in_the_log(tmp_path: Path) -> None:
    async with asyncio.timeout(30), house(tmp_path, doors=[Listener(types=("completed",))]) as home:
        await home.ready_worker()
        job = await home.submit()
        assert [(one["door"], one["seq"], one["tries"]) for one in await deliveries(home, job)] == [("listener", 0, [])]


async def test_there_is_no_log_of_a_job_that_is_not_there(told_home: House) -> None:
    path = f"/v1/jobs/{'0' * 24}/deliveries"
    assert (await told_home.client.get(path)).status_code == 404
    assert (await told_home.client.post(f"{path}/listener/retry")).status_code == 404


async def test_a_retry_of_a_door_that_does_not_follow_is_not_found(told_home: House) -> None:
    await told_home.ready_worker()
    assert await retry(told_home, await told_home.submit(), "nobody") == 404


async def test_a_retry_tells_at_once_what_would_have_waited(told_home: House, door: Listener) -> None:
    door.answers = [refused(retry_after_seconds=3600), taken]
    await told_home.ready_worker()
    job = await told_home.submit()
    while not (await deliveries(told_home, job))[0]["tries"]:
        await asyncio.sleep(0.002)
    assert await retry(told_home, job) == 202
    await until(lambda: [seq for _, seq, _ in door.told] == [1, 1])
    assert (await settled(told_home, job))["failures"] == 0


async def test_a_retry_tells_what_was_given_up_and_all_that_came_since(told_home: House, door: Listener) -> None:
    door.answers = [refused(gone=True, error="gone"), taken]
    worker = await told_home.ready_worker()
    job = await told_home.submit()
    while not (await settled(told_home, job))["given_up"]:
        await asyncio.sleep(0.002)
    await worker.finish(await worker.one())
    assert await retry(told_home, job) == 202
    await until(lambda: [seq for _, seq, _ in door.told] == [1, 1, 2, 3])
    assert not (await settled(told_home, job))["given_up"]


async def test_a_retry_of_what_was_taken_tells_the_last_event_again(told_home: House, door: Listener) -> None:
    worker = await told_home.ready_worker()
    job = await told_home.run_one(worker)
    while (await settled(told_home, job))["seq"] < 3:
        await asyncio.sleep(0.002)
    count = len(door.told)
    assert await retry(told_home, job) == 202
    await until(lambda: [kind for _, _, kind in door.told[count:]] == ["completed"])


class TestWebhooks:
    """The whole way, from a submission to a receiver."""

    @pytest.fixture
    async def it(self) -> AsyncIterator[Receiver]:
        async with receiver() as made:
            yield made

    @pytest.fixture
    async def home(self, tmp_path: Path) -> AsyncIterator[House]:
        clock = ManualClock()
        options = JobWebhookOptions(secret=SECRET, allow_private=True)
        doors = [JobWebhooks(options, clock=clock)]
        async with asyncio.timeout(30), house(tmp_path, clock=clock, doors=doors) as made:
            await made.ready_worker()
            yield made

    def types(self, it: Receiver) -> list[str]:
        return [json.loads(body)["type"] for _, body in it.asked]

    async def test_a_job_tells_its_webhook_that_it_started_and_how_it_ended(self, home: House, it: Receiver) -> None:
        job = await home.submit(webhook=f"{it.url}/hook")
        worker = home.worker()
        await worker.finish(await worker.one(), {"said": "hello"})
        await until(lambda: self.types(it) == ["job.started", "job.completed"])
        (headers, _) = it.asked[1]
        assert headers["webhook-id"] == f"{job['id']}:3"
        assert headers["Content-Type"] == "application/json"

    async def test_a_webhook_that_is_away_hears_later_what_it_missed_in_order(self, home: House, it: Receiver) -> None:
        it.answers = [(500, {}), (503, {"Retry-After": "5"}), (200, {})]
        job = await home.submit(webhook=it.url, webhook_events=["*"])
        worker = home.worker()
        await worker.finish(await worker.one())
        await wind(home.clock, lambda: len(it.asked) == 5)
        assert self.types(it)[-3:] == ["job.queued", "job.started", "job.completed"]
        assert len({headers["webhook-id"] for headers, _ in it.asked[:3]}) == 1
        found = await settled(home, job)
        assert [one["status"] for one in found["tries"]][:2] == [500, 503]

    async def test_a_batch_with_a_wrong_webhook_says_which_job_it_is(self, home: House, it: Receiver) -> None:
        jobs = [
            {"task": "echo.say", "input": {"text": "x"}, "webhook": it.url},
            {"task": "echo.say", "input": {"text": "x"}, "webhook": it.url, "webhook_events": ["finished"]},
        ]
        answer = await home.client.post("/v1/batches", json={"jobs": jobs})
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("jobs.1: no event 'finished'")

    async def test_the_same_key_with_other_events_is_another_request(self, home: House, it: Receiver) -> None:
        body = {"task": "echo.say", "input": {"text": "x"}, "webhook": it.url}
        headers = {"Idempotency-Key": "one"}
        for more, status in (({}, 202), ({}, 202), ({"webhook_events": ["completed"]}, 422)):
            answer = await home.client.post("/v1/jobs", json={**body, **more}, headers=headers)
            assert answer.status_code == status, answer.text

    async def test_slow_receivers_hold_up_no_fast_one(self, home: House, it: Receiver) -> None:
        async with receiver() as slow:
            slow.hangs = True
            jobs = [await home.submit(webhook=slow.url) for _ in range(20)]
            last = await home.submit(webhook=it.url)
            worker = home.worker()
            for _ in (*jobs, last):
                await worker.finish(await worker.one())
            await until(lambda: self.types(it) == ["job.started", "job.completed"])
            assert len(slow.asked) <= 8
            slow.release.set()


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest/", "http://localhost:1/", "http://10.0.0.1/"])
async def test_a_private_webhook_is_refused_at_once_on_a_gateway_for_others(tmp_path: Path, url: str) -> None:
    clock = ManualClock()
    async with house(tmp_path, clock=clock, doors=[JobWebhooks(clock=clock)]) as home:
        await home.ready_worker()
        body = {"task": "echo.say", "input": {"text": "x"}, "webhook": url}
        answer = await home.client.post("/v1/jobs", json=body)
        assert answer.status_code == 422
        assert "GLOWPLUG_WEBHOOKS_ALLOW_PRIVATE" in answer.json()["detail"]
        assert answer.json()["fields"][0]["path"] == "webhook"
