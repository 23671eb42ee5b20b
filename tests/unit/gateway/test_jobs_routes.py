"""The routes of jobs: what is taken in, what is refused and how, and what a job looks like."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.house import ECHO_OF_FILES, MOMENT, House, Told, house, picture, policy, settle

from glowplug.clock import SystemClock
from glowplug.errors import Corrupt
from glowplug.gateway.jobs import RunTimes, start_seconds
from glowplug.gateway.policy import Limits
from glowplug.job import Outcome, OutcomeKind
from glowplug.readiness import ComponentSnapshot, Estimate, Snapshot, Status
from glowplug.stores.memory import MemoryStore

SAY = {"task": "echo.say", "input": {"text": "hello"}}


async def refused(home: House, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    response = await home.client.post("/v1/jobs", json=body, headers=headers)
    assert response.headers["content-type"] == "application/problem+json", response.text
    return response.status_code, response.json()


class TestSubmitting:
    async def test_a_job_has_every_documented_field(self, home: House) -> None:
        await home.ready_worker()
        job = await home.submit(metadata={"user": "ann"}, priority=3)
        url = f"/v1/jobs/{job['id']}"
        assert job == {
            "id": job["id"],
            "task": "echo.say",
            "state": "queued",
            "done": False,
            "input": {"text": "hello"},
            "owner": "local",
            "priority": 3,
            "created_at": "2026-01-01T00:00:00Z",
            "run_at": "2026-01-01T00:00:00Z",
            "expires_at": None,
            "started_at": None,
            "finished_at": None,
            "run_seconds": None,
            "attempt": 0,
            "attempts": [],
            "progress": None,
            "position": 0,
            "position_is_exact": True,
            "estimated_start_seconds": None,
            "result": None,
            "artifacts": [],
            "error": None,
            "metadata": {"user": "ann"},
            "batch_id": None,
            "cancel_requested": False,
            "last_seq": 1,
            "urls": {
                "get": url,
                "events": f"{url}/events",
                "logs": f"{url}/logs",
                "cancel": f"{url}/cancel",
                "retry": f"{url}/retry",
                "web": f"/jobs/{job['id']}",
            },
        }

    async def test_the_answer_says_where_the_job_is(self, home: House) -> None:
        await home.ready_worker()
        response = await home.client.post("/v1/jobs", json=SAY)
        assert response.headers["location"] == f"/v1/jobs/{response.json()['id']}"

    async def test_links_are_absolute_when_the_gateway_knows_its_address(self, tmp_path: Path) -> None:
        async with house(tmp_path, chosen=policy(public_url="https://models.example/")) as home:
            await home.ready_worker()
            job = await home.submit()
        assert job["urls"]["get"] == f"https://models.example/v1/jobs/{job['id']}"

    async def test_a_job_is_accepted_while_its_model_loads(self, home: House) -> None:
        await home.worker().register(picture(Status.LOADING))
        assert (await home.submit())["state"] == "queued"

    async def test_a_job_is_accepted_when_no_worker_is_there_any_more(self, home: House) -> None:
        await home.ready_worker()
        await home.gateway.worker_died("w1")
        assert (await home.submit())["state"] == "queued"

    async def test_a_job_for_a_model_that_comes_up_for_the_first_time_is_accepted_unchecked(self, home: House) -> None:
        await home.worker().register(picture(digits=Status.LOADING), models=())
        response = await home.client.post("/v1/jobs", json={"task": "digits.generate", "input": {"any": 1}})
        assert response.status_code == 202

    async def test_it_is_told_once(self, home: House, told: Told) -> None:
        await home.ready_worker()
        job = await home.submit()
        assert told.of("job.submitted") == [{"job": job["id"], "task": "echo.say", "owner": "local"}]

    async def test_start_and_end_are_told_with_their_times(self, home: House, told: Told) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        await home.clock.advance(2)
        grant = await worker.one()
        await home.clock.advance(3)
        await worker.finish(grant)
        assert told.of("job.started") == [
            {"job": job["id"], "task": "echo.say", "worker": "w1", "attempt": 1, "waited_seconds": 2.0}
        ]
        assert told.of("job.settled") == [
            {"job": job["id"], "task": "echo.say", "state": "completed", "outcome": "completed", "seconds": 3.0}
        ]

    async def test_the_budget_is_the_task_authors(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        for _ in range(3):
            await home.clock.advance(10)
            await worker.fail(await worker.one(), retryable=True)
        assert (await home.job(job["id"]))["state"] == "failed"


class TestRefusals:
    async def test_an_unknown_task(self, home: House) -> None:
        await home.ready_worker()
        status, problem = await refused(home, {"task": "echo.sya", "input": {}})
        assert (status, problem["code"]) == (404, "unknown_task")
        assert "did you mean 'echo.say'?" in problem["detail"]

    async def test_a_wrong_input(self, home: House) -> None:
        await home.ready_worker()
        status, problem = await refused(home, {"task": "echo.say", "input": {"text": 7}})
        assert (status, problem["code"], problem["retryable"]) == (422, "invalid_input", False)
        assert problem["fields"] == [{"path": "text", "message": "7 is not of type 'string'"}]

    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({"input": {}}, ""),
            ({"task": 7}, "task"),
            ({"task": "echo.say", "input": [1]}, "input"),
            ({"task": "echo.say", "input": {}, "priority": "high"}, "priority"),
            ({"task": "echo.say", "input": {}, "prio": 1}, ""),
            ({"task": "echo.say", "input": {}, "run_at": "tomorrow"}, "run_at"),
            ([], ""),
        ],
    )
    async def test_a_wrong_request(self, home: House, body: Any, path: str) -> None:
        status, problem = await refused(home, body)
        assert (status, problem["fields"][0]["path"]) == (422, path)

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"task": }', b'{"task":"a","input":' + b'{"a":' * 50_000])
    async def test_what_is_not_json(self, home: House, body: bytes) -> None:
        response = await home.client.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
        assert (response.status_code, response.json()["code"]) == (400, "bad_request")

    async def test_a_time_without_a_zone(self, home: House) -> None:
        await home.ready_worker()
        status, problem = await refused(home, SAY | {"run_at": "2026-02-01T00:00:00"})
        assert status == 422
        assert "time zone" in problem["detail"]

    @pytest.mark.parametrize(
        "webhook",
        [
            "ftp://x",
            "javascript:alert(1)",
            "example.com",
            "",
            "http://",
            "https:///path",
            "http://[::1",
            "http://host:99999/",
            "http://host:0/",
            "http://host/\r\nX-Evil: 1",
            "http://host /",
            "http://b\u00fccher.example/",
            "https://host/" + "a" * 2000,
        ],
    )
    async def test_a_webhook_that_is_no_address(self, home: House, webhook: str) -> None:
        await home.ready_worker()
        status, problem = await refused(home, SAY | {"webhook": webhook})
        assert (status, problem["fields"]) == (
            422,
            [{"path": "webhook", "message": "webhook takes an http or https address"}],
        )

    @pytest.mark.parametrize("webhook", ["http://localhost:9/hook?id=1", "https://[::1]/", "HTTPS://host.example"])
    async def test_a_webhook_that_is_one_is_kept(self, home: House, webhook: str) -> None:
        await home.ready_worker()
        answer = await home.client.post("/v1/jobs", json=SAY | {"webhook": webhook})
        assert answer.status_code == 202

    @pytest.mark.parametrize("run_at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
    async def test_a_time_beyond_the_calendar(self, home: House, run_at: str) -> None:
        await home.ready_worker()
        status, problem = await refused(home, SAY | {"run_at": run_at})
        assert (status, [field["path"] for field in problem["fields"]]) == (422, ["run_at"])

    async def test_an_input_that_is_too_large(self, tmp_path: Path) -> None:
        async with house(tmp_path, chosen=policy(limits=Limits(input_bytes=1000))) as home:
            await home.ready_worker()
            status, problem = await refused(home, {"task": "echo.say", "input": {"text": "x" * 1100}})
            assert (status, problem["limit_bytes"]) == (413, 1000)
            assert "upload" in problem["detail"]
            status, problem = await refused(home, {"task": "echo.say", "input": {"text": "x" * 200_000}})
            assert status == 413

    async def test_a_large_envelope_around_a_small_input_is_fine(self, tmp_path: Path) -> None:
        async with house(tmp_path, chosen=policy(limits=Limits(input_bytes=1000))) as home:
            await home.ready_worker()
            await home.submit("x" * 900, metadata={"note": "y" * 2000})

    async def test_a_missing_artifact(self, home: House) -> None:
        await home.worker().register(models=(ECHO_OF_FILES,))
        status, problem = await refused(home, {"task": "echo.say", "input": {"file": "artifact:inputs/nope/cat.png"}})
        assert (status, problem["key"]) == (422, "inputs/nope/cat.png")

    @pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/passwd", "inputs/../secrets", "", "a//b"])
    async def test_a_reference_that_tries_to_escape(self, home: House, key: str) -> None:
        await home.worker().register(models=(ECHO_OF_FILES,))
        status, problem = await refused(home, {"task": "echo.say", "input": {"file": f"artifact:{key}"}})
        assert (status, problem["code"]) == (422, "invalid_input")

    @pytest.mark.parametrize("text", ["artifact: a vase, 3rd century", "artifact:../../etc/passwd", "artifact:a/b.png"])
    async def test_but_no_text_that_only_looks_like_one(self, home: House, text: str) -> None:
        worker = home.worker()
        await worker.register(models=(ECHO_OF_FILES,))
        await home.submit(text)
        assert (await worker.one()).input == {"text": text}

    async def test_a_name_of_nothing_while_nobody_knows_what_is_a_file(self, home: House) -> None:
        home.gateway.expect("w1", "echo")
        status, _ = await refused(home, {"task": "echo.say", "input": {"anything": ["artifact:inputs/nope/cat.png"]}})
        assert status == 422

    async def test_the_artifact_of_a_lost_attempt(self, home: House) -> None:
        worker = home.worker()
        await worker.register(models=(ECHO_OF_FILES,))
        job = await home.submit()
        await worker.one()
        key = f"jobs/{job['id']}/1/half.png"
        await home.artifacts.put(key, _chunks(b"half"))
        status, _ = await refused(home, {"task": "echo.say", "input": {"file": f"artifact:{key}"}})
        assert status == 422

    async def test_nothing_is_queued_while_the_disk_is_full(self, tmp_path: Path) -> None:
        free = [10]
        chosen = policy(data_folder=tmp_path, min_free_bytes=100)
        async with house(tmp_path, chosen=chosen, free_bytes=lambda folder: free[0]) as home:
            worker = await home.ready_worker()
            status, problem = await refused(home, SAY)
            assert (status, problem["code"], problem["retryable"]) == (507, "disk_full", True)
            free[0] = 1000
            home.gateway.room.look()
            await home.submit()
            assert len((await worker.claim()).grants) == 1

    async def test_a_store_that_fails_is_a_problem_too(self, tmp_path: Path) -> None:
        class Damaged(MemoryStore):
            async def submit(self, requests: Any) -> Any:
                raise Corrupt("the database is damaged: restore a backup")

        clock = SystemClock()
        async with house(tmp_path, clock, store=Damaged(clock=clock)) as home:
            await home.ready_worker()
            status, problem = await refused(home, SAY)
            assert (status, problem["code"]) == (500, "corrupt")


class TestIdempotency:
    async def test_the_same_request_under_the_same_key_is_the_same_job(self, home: House) -> None:
        await home.ready_worker()
        first = await home.submit(headers={"idempotency-key": "k1"})
        second = await home.submit(headers={"idempotency-key": "k1"})
        assert first["id"] == second["id"]
        assert (await home.submit(headers={"idempotency-key": "k2"}))["id"] != first["id"]

    async def test_another_request_under_the_same_key_is_refused(self, home: House) -> None:
        await home.ready_worker()
        await home.submit("one", headers={"idempotency-key": "k1"})
        body = {"task": "echo.say", "input": {"text": "two"}}
        status, problem = await refused(home, body, **{"idempotency-key": "k1"})
        assert (status, problem["code"]) == (422, "idempotency_mismatch")

    async def test_a_repeat_of_a_job_that_is_done_answers_with_the_done_job(self, home: House) -> None:
        worker = await home.ready_worker()
        first = await home.submit(headers={"idempotency-key": "k1"})
        await worker.finish(await worker.one(), 42)
        again = await home.submit(headers={"idempotency-key": "k1"})
        assert (again["id"], again["result"]) == (first["id"], 42)

    @pytest.mark.parametrize("key", ["", "x" * 201])
    async def test_a_key_of_no_use_is_refused(self, home: House, key: str) -> None:
        await home.ready_worker()
        assert (await refused(home, SAY, **{"idempotency-key": key}))[0] == 422


class TestWaiting:
    async def test_who_waits_gets_the_end(self, home: House) -> None:
        worker = await home.ready_worker()
        async with asyncio.timeout(20):
            asking = asyncio.create_task(home.client.post("/v1/jobs", json=SAY, headers={"prefer": "wait=30"}))
            grant = (await worker.claim(wait=20)).grants[0]
            await worker.finish(grant, {"said": "hello"})
            response = await asking
        assert (response.status_code, response.json()["result"]) == (200, {"said": "hello"})

    async def test_who_waits_in_vain_gets_the_job_as_it_is(self, home: House) -> None:
        await home.ready_worker()
        asking = asyncio.create_task(home.client.post("/v1/jobs", json=SAY, headers={"prefer": "wait=30"}))
        await settle()
        await home.clock.advance(31)
        async with asyncio.timeout(20):
            response = await asking
        assert (response.status_code, response.json()["state"]) == (202, "queued")

    async def test_nobody_waits_longer_than_the_limit(self, home: House) -> None:
        await home.ready_worker()
        asking = asyncio.create_task(home.client.post("/v1/jobs", json=SAY, headers={"prefer": "wait=1000000"}))
        await settle()
        await home.clock.advance(home.gateway.policy.limits.prefer_wait_seconds + 1)
        async with asyncio.timeout(20):
            assert (await asking).status_code == 202

    @pytest.mark.parametrize("prefer", ["wait=soon", "wait=-1", "wait=nan", "wait=inf", "wait="])
    async def test_a_wait_that_is_no_time_is_refused(self, home: House, prefer: str) -> None:
        await home.ready_worker()
        assert (await refused(home, SAY, prefer=prefer))[0] == 422


class TestListing:
    async def ids(self, home: House, **query: Any) -> list[str]:
        response = await home.client.get("/v1/jobs", params=query)
        assert response.status_code == 200, response.text
        return [job["id"] for job in response.json()["jobs"]]

    async def test_jobs_are_listed_newest_first_page_by_page(self, home: House) -> None:
        await home.ready_worker()
        made = []
        for number in range(5):
            made.append((await home.submit(str(number)))["id"])
            await home.clock.advance(1)
        first = (await home.client.get("/v1/jobs", params={"limit": 3})).json()
        assert [job["id"] for job in first["jobs"]] == made[:1:-1]
        second = (await home.client.get("/v1/jobs", params={"limit": 3, "cursor": first["next_cursor"]})).json()
        assert ([job["id"] for job in second["jobs"]], second["next_cursor"]) == (made[1::-1], None)

    async def test_by_state(self, home: House) -> None:
        worker = await home.ready_worker()
        done = (await home.run_one(worker))["id"]
        queued = (await home.submit())["id"]
        assert await self.ids(home, state="completed") == [done]
        assert await self.ids(home, state="queued,running") == [queued]
        assert set(await self.ids(home, state=["queued", "completed"])) == {done, queued}

    async def test_by_task(self, home: House) -> None:
        await home.ready_worker()
        job = (await home.submit())["id"]
        assert await self.ids(home, task="echo.say") == [job]
        assert await self.ids(home, task="echo.other") == []

    @pytest.mark.parametrize(
        "query",
        [
            {"state": "sleeping"},
            {"limit": "0"},
            {"limit": "many"},
            {"limit": "100000"},
            {"limit": "9" * 5000},
            {"cursor": "x"},
        ],
    )
    async def test_a_wrong_filter_is_refused(self, home: House, query: dict[str, str]) -> None:
        response = await home.client.get("/v1/jobs", params=query)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_input")


class TestOneJob:
    async def test_a_job_that_does_not_exist(self, home: House) -> None:
        for path in ("", "/events", "/logs"):
            response = await home.client.get(f"/v1/jobs/nope{path}")
            assert (response.status_code, response.json()["code"]) == (404, "not_found")
        for verb in ("cancel", "retry"):
            assert (await home.client.post(f"/v1/jobs/nope/{verb}")).status_code == 404

    async def test_a_queued_job_is_canceled_at_once(self, home: House) -> None:
        await home.ready_worker()
        job = await home.submit()
        response = await home.client.post(job["urls"]["cancel"])
        assert (response.status_code, response.json()["state"]) == (202, "canceled")

    async def test_a_running_job_says_that_it_was_asked_to_stop(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        await worker.one()
        seen = (await home.client.post(job["urls"]["cancel"])).json()
        assert (seen["state"], seen["cancel_requested"]) == ("running", True)

    async def test_a_done_job_cannot_be_canceled(self, home: House) -> None:
        job = await home.run_one(await home.ready_worker())
        response = await home.client.post(job["urls"]["cancel"])
        assert (response.status_code, response.json()["code"]) == (409, "conflict")

    async def test_a_failed_job_can_be_queued_again(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        await worker.fail(await worker.one())
        failed = await home.job(job["id"])
        assert (failed["state"], failed["error"]["message"]) == ("failed", "it did not work")
        response = await home.client.post(job["urls"]["retry"])
        assert (response.status_code, response.json()["state"]) == (202, "queued")
        assert (await worker.one()).attempt == 2

    async def test_a_retry_wakes_a_waiting_claim(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        await worker.fail(await worker.one())
        async with asyncio.timeout(20):
            claim = asyncio.create_task(worker.claim(wait=20))
            await settle()
            await home.client.post(job["urls"]["retry"])
            assert len((await claim).grants) == 1

    async def test_a_completed_job_cannot_be_queued_again(self, home: House) -> None:
        job = await home.run_one(await home.ready_worker())
        assert (await home.client.post(job["urls"]["retry"])).status_code == 409

    async def test_the_whole_history_is_told(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        await worker.end((await worker.one()).hold, Outcome(OutcomeKind.INTERRUPTED))
        await worker.finish(await worker.one())
        attempts = (await home.job(job["id"]))["attempts"]
        assert [(one["number"], one["worker"], one["outcome"]) for one in attempts] == [
            (1, "w1", "interrupted"),
            (2, "w1", "completed"),
        ]


class TestEstimates:
    @pytest.mark.parametrize(
        ("position", "free", "slots", "usual", "expected"),
        [
            (0, 1, 1, None, 0.0),
            (0, 0, 1, 10.0, 5.0),
            (1, 0, 1, 10.0, 15.0),
            (3, 0, 2, 10.0, 15.0),
            (2, 2, 2, 10.0, 5.0),
            (0, 0, 1, None, None),
            (0, 0, 0, 10.0, None),
        ],
    )
    def test_the_wait_is_counted_in_runs(
        self, position: int, free: int, slots: int, usual: float | None, expected: float | None
    ) -> None:
        assert start_seconds(position, free, slots, usual) == expected

    async def test_the_place_in_the_queue_is_told(self, home: House) -> None:
        await home.ready_worker()
        jobs = [await home.submit(str(number)) for number in range(3)]
        assert sorted([(await home.job(job["id"]))["position"] for job in jobs]) == [0, 1, 2]

    async def test_an_estimate_must_be_earned_by_a_few_runs(self, home: House) -> None:
        worker = await home.ready_worker()
        for number in range(4):
            running = await home.submit(f"run {number}")
            grant = await worker.one()
            await home.clock.advance(1)
            waiting = await home.submit("waiting")
            earned = (await home.job(waiting["id"]))["estimated_start_seconds"]
            assert earned == (None if number < 3 else 5.0)
            await home.client.post(waiting["urls"]["cancel"])
            await home.clock.advance(9)
            await worker.finish(grant)
            assert (await home.job(running["id"]))["run_seconds"] == 10.0

    async def test_a_free_slot_means_at_once(self, home: House) -> None:
        worker = await home.ready_worker()
        await worker.register(picture(echo=Status.READY))
        claim = asyncio.create_task(worker.claim(2, tasks=("echo.say", "echo.shout"), wait=20))
        await settle()
        assert home.gateway.desk.free_slots("echo.say") == 2
        claim.cancel()

    async def test_a_job_for_later_has_no_estimate(self, home: House) -> None:
        await home.ready_worker()
        job = await home.submit(run_at=(home.clock.now() + timedelta(hours=1)).isoformat())
        assert job["estimated_start_seconds"] is None

    async def test_while_the_model_loads_the_next_job_starts_when_it_is_loaded(self, home: House) -> None:
        component = ComponentSnapshot(
            "echo", model="echo", status=Status.LOADING, attempt=1, estimate=Estimate(30.0, 40.0, 50.0)
        )
        worker = home.worker()
        await worker.register(Snapshot.of([component], taken_at=MOMENT).to_dict())
        job = await home.submit()
        assert job["estimated_start_seconds"] == 40.0

    def test_only_completed_runs_teach(self) -> None:
        assert RunTimes().median_seconds("a.b") is None


async def _chunks(data: bytes) -> Any:
    yield data


async def test_bytes_of_an_answer_are_plain_json(home: House) -> None:
    await home.ready_worker()
    response = await home.client.post("/v1/jobs", json={"task": "echo.say", "input": {"text": "grüße 🎉"}})
    assert json.loads(response.content)["input"] == {"text": "grüße 🎉"}
