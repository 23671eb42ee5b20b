"""Streams and long polls over a real socket: events as they happen, and clients that hang up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.gateway.house import WORKER_TOKEN, HandWorker, House, settle
from tests.unit.gateway.served import served, until

from glowplug.clock import ManualClock
from glowplug.errors import Unauthorized
from glowplug.job import Note, Outcome, OutcomeKind
from glowplug.links.http import HttpLink

SECONDS = 20.0


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with served(tmp_path) as made, asyncio.timeout(60):
        yield made


@pytest.fixture
async def link(home: House) -> AsyncIterator[HttpLink]:
    async with HttpLink(str(home.client.base_url), WORKER_TOKEN) as made:
        assert isinstance(made, HttpLink)
        yield made


async def read(lines: AsyncIterator[str], count: int | None = None) -> list[dict[str, Any]]:
    """Read `count` events, or all up to the end."""
    events: list[dict[str, Any]] = []
    event: dict[str, Any] = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        if name in ("id", "event"):
            event[name] = value
        elif name == "data":
            event["data"] = json.loads(value)
        elif not line and event:
            events.append(event)
            event = {}
            if len(events) == count:
                break
    return events


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


class TestEvents:
    async def test_events_arrive_while_the_job_runs_and_the_stream_ends_with_it(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        async with home.client.stream("GET", job["urls"]["events"]) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-cache"
            lines = response.aiter_lines()
            assert types(await read(lines, 1)) == ["queued"]
            grant = await worker.one()
            assert types(await read(lines, 1)) == ["started"]
            await worker.note(grant, Note("progress", {"done": 1, "total": 2}))
            assert (await read(lines, 1))[0]["data"]["data"] == {"done": 1, "total": 2}
            await worker.finish(grant, {"said": "hello"})
            last = (await read(lines))[-1]
        assert (last["event"], last["data"]["seq"], last["data"]["data"]) == (
            "completed",
            4,
            {"result": {"said": "hello"}},
        )

    async def test_an_event_has_its_seq_as_id_and_all_its_fields(self, home: House) -> None:
        job = await home.run_one(await home.ready_worker())
        async with home.client.stream("GET", job["urls"]["events"]) as response:
            first = (await read(response.aiter_lines()))[0]
        assert (first["id"], first["event"]) == ("1", "queued")
        assert set(first["data"]) == {"seq", "type", "at", "data"}

    @pytest.mark.parametrize("where", ["header", "query"])
    async def test_a_reconnect_goes_on_where_it_was(self, home: House, where: str) -> None:
        job = await home.run_one(await home.ready_worker())
        headers = {"last-event-id": "2"} if where == "header" else {}
        query = {"after": "2"} if where == "query" else {}
        async with home.client.stream("GET", job["urls"]["events"], headers=headers, params=query) as response:
            assert types(await read(response.aiter_lines())) == ["completed"]

    async def test_a_reconnect_after_the_end_is_told_to_stop(self, home: House) -> None:
        job = await home.run_one(await home.ready_worker())
        response = await home.client.get(job["urls"]["events"], headers={"last-event-id": "3"})
        assert (response.status_code, response.content) == (204, b"")

    @pytest.mark.parametrize("value", ["-1", "x", "1.5", "9" * 30])
    async def test_a_seq_that_is_none_is_refused(self, home: House, value: str) -> None:
        job = await home.run_one(await home.ready_worker())
        response = await home.client.get(job["urls"]["events"], headers={"last-event-id": value})
        assert response.status_code == 422

    async def test_many_watchers_hear_the_same(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()

        async def watch() -> list[str]:
            async with home.client.stream("GET", job["urls"]["events"]) as response:
                return types(await read(response.aiter_lines()))

        watchers = [asyncio.create_task(watch()) for _ in range(20)]
        await worker.finish(await worker.one())
        assert await asyncio.gather(*watchers) == [["queued", "started", "completed"]] * 20

    async def test_a_client_that_hangs_up_leaves_nothing_behind(self, home: House) -> None:
        await home.ready_worker()
        job = await home.submit()
        async with home.client.stream("GET", job["urls"]["events"]) as response:
            await read(response.aiter_lines(), 1)
            assert len(home.gateway.feed._channels) == 1
        await until(lambda: not home.gateway.feed._channels)

    async def test_hanging_up_ends_the_stream_of_a_job_that_runs_on(self, home: House) -> None:
        await home.ready_worker()
        job = await home.submit()
        async with home.client.stream("GET", job["urls"]["events"]) as response:
            lines = response.aiter_lines()
            await read(lines, 1)
            home.gateway.hang_up()
            assert await read(lines) == []


async def test_a_stream_without_news_sends_a_comment_now_and_then(tmp_path: Path) -> None:
    clock = ManualClock()
    async with asyncio.timeout(60), served(tmp_path, clock) as home:
        await home.ready_worker()
        job = await home.submit()
        async with home.client.stream("GET", job["urls"]["events"]) as response:
            lines = response.aiter_lines()
            await read(lines, 1)
            beat = asyncio.ensure_future(anext(lines))
            while not beat.done():
                await settle()
                await clock.advance(home.gateway.policy.pace.heartbeat_seconds)
            assert await beat == ": ping"


class TestPages:
    async def test_who_wants_json_gets_what_there_is_and_waits_for_nothing(self, home: House) -> None:
        await home.ready_worker()
        job = await home.submit()
        answer = await home.client.get(job["urls"]["events"], headers={"accept": "application/json"})
        events = answer.json()["events"]
        assert [(event["seq"], event["type"]) for event in events] == [(1, "queued")]

    async def test_a_page_goes_on_where_the_one_before_ended(self, home: House) -> None:
        job = await home.run_one(await home.ready_worker())
        headers, query = {"accept": "application/json"}, {"after": "1"}
        answer = await home.client.get(job["urls"]["events"], headers=headers, params=query)
        assert [event["type"] for event in answer.json()["events"]] == ["started", "completed"]


class TestLogs:
    async def test_what_a_job_printed_is_text(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        grant = await worker.one()
        await worker.note(grant, *[Note("log", {"text": f"line {number}"}) for number in range(1200)])
        response = await home.client.get(job["urls"]["logs"])
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert response.text.splitlines() == [f"line {number}" for number in range(1200)]

    async def test_a_job_that_printed_nothing_has_an_empty_log(self, home: House) -> None:
        job = await home.run_one(await home.ready_worker())
        assert (await home.client.get(job["urls"]["logs"])).text == ""


class TestTheLink:
    async def test_a_worker_does_its_whole_work_over_http(self, home: House, link: HttpLink) -> None:
        worker = HandWorker(link)
        assert (await worker.register()).lease_seconds == 60.0
        waiting = asyncio.create_task(worker.claim(wait=SECONDS))
        job = await home.submit()
        grant = (await waiting).grants[0]
        assert (await worker.note(grant, Note("log", {"text": "hi"}))).accepted == (True,)
        assert (await worker.renew(grant)).renewals[0].held
        assert await worker.finish(grant, {"n": [1, None, "ü"]})
        assert (await home.job(job["id"]))["result"] == {"n": [1, None, "ü"]}

    async def test_another_token_is_refused(self, home: House) -> None:
        async with HttpLink(str(home.client.base_url), "guess") as link:
            assert isinstance(link, HttpLink)
            with pytest.raises(Unauthorized):
                await HandWorker(link).register()

    @pytest.mark.parametrize("call", ["register", "claim", "renew", "events", "finish"])
    async def test_a_message_of_another_shape_is_refused(self, home: House, call: str) -> None:
        headers = {"authorization": f"Bearer {WORKER_TOKEN}", "content-type": "application/json"}
        response = await home.client.post(f"/api/internal/link/{call}", content=b'{"x": 1}', headers=headers)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_input")

    async def test_a_waiting_claim_whose_worker_hangs_up_takes_no_job_with_it(
        self, home: House, link: HttpLink
    ) -> None:
        worker = HandWorker(link)
        await worker.register()
        claim = asyncio.create_task(worker.claim(wait=SECONDS))
        await until(lambda: home.gateway.desk.free_slots("echo.say") == 1)
        claim.cancel()
        await until(lambda: home.gateway.desk.free_slots("echo.say") == 0)
        job = await home.submit()
        assert (await home.job(job["id"]))["attempt"] == 0

    async def test_a_job_granted_as_the_worker_hangs_up_is_released_at_once(self, home: House) -> None:
        store, may_answer = home.store, asyncio.Event()
        claim_of_the_store, looked = store.claim, asyncio.Event()

        async def slow(*args: Any, **more: Any) -> Any:
            jobs = await claim_of_the_store(*args, **more)
            looked.set()
            await may_answer.wait()
            return jobs

        await home.ready_worker()
        job = await home.submit()
        store.claim = slow  # type: ignore[method-assign]
        async with HttpLink(str(home.client.base_url), WORKER_TOKEN) as link:
            assert isinstance(link, HttpLink)
            claim = asyncio.create_task(HandWorker(link).claim(wait=SECONDS))
            await looked.wait()
            claim.cancel()
            await asyncio.sleep(0.2)
        may_answer.set()
        store.claim = claim_of_the_store  # type: ignore[method-assign]
        while (seen := await home.job(job["id"]))["state"] != "queued":
            await asyncio.sleep(0.005)
        assert [attempt["outcome"] for attempt in seen["attempts"]] == ["displaced"]

    async def test_a_cancel_reaches_a_waiting_claim_over_http(self, home: House, link: HttpLink) -> None:
        worker = HandWorker(link)
        await worker.register()
        job = await home.submit()
        grant = await worker.one()
        claim = asyncio.create_task(worker.claim(0, wait=SECONDS))
        await home.client.post(job["urls"]["cancel"])
        assert [order.target for order in (await claim).orders] == [job["id"]]
        assert await worker.end(grant.hold, Outcome(OutcomeKind.CANCELED))


async def test_a_slow_client_holds_nobody_up(home: House) -> None:
    worker = await home.ready_worker()
    job = await home.submit()
    grant = await worker.one()
    port = home.client.base_url.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(f"GET {job['urls']['events']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await reader.readline()
    for _ in range(20):
        await worker.note(grant, *[Note("log", {"text": "x" * 10_000}) for _ in range(20)])
    await worker.finish(grant)
    async with home.client.stream("GET", job["urls"]["events"]) as response:
        assert types(await read(response.aiter_lines()))[-1] == "completed"
    writer.close()


async def test_who_waits_for_a_job_and_hangs_up_is_not_waited_for(home: House) -> None:
    await home.ready_worker()
    body = {"task": "echo.say", "input": {"text": "hi"}}
    asking = asyncio.create_task(home.client.post("/v1/jobs", json=body, headers={"prefer": "wait=100"}))
    await until(lambda: home.gateway.feed._channels)
    asking.cancel()
    await until(lambda: not home.gateway.feed._channels)


async def test_submit_and_wait_over_http(home: House) -> None:
    worker = await home.ready_worker()
    body = {"task": "echo.say", "input": {"text": "hi"}}
    asking = asyncio.create_task(home.client.post("/v1/jobs", json=body, headers={"prefer": "wait=20"}))
    await worker.finish((await worker.claim(wait=SECONDS)).grants[0], "hi")
    response: httpx.Response = await asking
    assert (response.status_code, response.json()["result"]) == (200, "hi")
