"""Dead letters: failed jobs that have something in common are queued again; and jobs that expire."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.house import MOMENT, SAY, HandWorker, House, house, policy, settle

from glowplug.gateway.catalog import budget_of
from glowplug.gateway.policy import User
from glowplug.job import Budget, Failure, Outcome, OutcomeKind
from glowplug.store import TaskInfo

ASK = {"task": "echo.say", "input": {"text": "hello"}}


async def failed(home: House, worker: HandWorker, code: str = "ValueError", **more: Any) -> str:
    """Submit a job that fails for good with `code`; return its id."""
    job = await home.submit(**more)
    failure = Failure(code, "it did not work", retryable=False)
    assert await worker.end((await worker.one()).hold, Outcome(OutcomeKind.FAILED, failure=failure))
    return str(job["id"])


async def redrive(home: House, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
    answer = await home.client.post("/v1/jobs/redrive", json=body, headers=headers or {})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


class TestRedrive:
    async def test_all_that_failed_wait_again_the_oldest_first(self, home: House) -> None:
        worker = await home.ready_worker()
        made = []
        for _ in range(3):
            made.append(await failed(home, worker))
            await home.clock.advance(1)
        done = await home.run_one(worker)
        assert await redrive(home) == {"redriven": made, "more": False}
        assert [grant.hold.job_id for grant in (await worker.claim(slots=5)).grants] == made
        assert (await home.job(done["id"]))["state"] == "completed"
        assert (await home.job(made[0]))["attempts"][0]["error"]["code"] == "ValueError"

    async def test_they_stand_behind_what_their_owner_has_waiting(self, home: House) -> None:
        worker = await home.ready_worker()
        old = await failed(home, worker)
        await home.clock.advance(1)
        waiting = await home.submit()
        await redrive(home)
        assert [grant.hold.job_id for grant in (await worker.claim(slots=2)).grants] == [waiting["id"], old]

    async def test_they_are_chosen_by_error(self, home: House) -> None:
        worker = await home.ready_worker()
        await failed(home, worker, "ValueError")
        wanted = await failed(home, worker, "OutOfMemory")
        assert (await redrive(home, error_code="OutOfMemory"))["redriven"] == [wanted]
        assert (await redrive(home, error_code="KeyError"))["redriven"] == []

    async def test_they_are_chosen_by_task(self, home: House) -> None:
        worker = await home.ready_worker()
        made = await failed(home, worker)
        assert (await redrive(home, task="echo.shout"))["redriven"] == []
        assert (await redrive(home, task="echo.say"))["redriven"] == [made]

    async def test_they_are_chosen_by_when_they_failed(self, home: House) -> None:
        worker = await home.ready_worker()
        made = []
        for _ in range(3):
            made.append(await failed(home, worker))
            await home.clock.advance(60)
        after, before = MOMENT + timedelta(seconds=30), MOMENT + timedelta(seconds=90)
        said = await redrive(home, failed_after=after.isoformat(), failed_before=before.isoformat())
        assert said["redriven"] == [made[1]]

    async def test_more_than_the_limit_is_said(self, home: House) -> None:
        worker = await home.ready_worker()
        made = []
        for _ in range(3):
            made.append(await failed(home, worker))
            await home.clock.advance(1)
        assert await redrive(home, limit=2) == {"redriven": made[1:], "more": True}
        assert await redrive(home, limit=2) == {"redriven": made[:1], "more": False}
        assert await redrive(home, limit=2) == {"redriven": [], "more": False}

    async def test_pages_of_what_does_not_match_are_read_past(self, home: House) -> None:
        worker = await home.ready_worker()
        wanted = await failed(home, worker, "OutOfMemory")
        await home.clock.advance(1)
        for _ in range(205):
            await failed(home, worker)
        assert await redrive(home, error_code="OutOfMemory") == {"redriven": [wanted], "more": False}

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"limit": 0}, "limit"),
            ({"limit": 1001}, "limit"),
            ({"failed_after": "2026-01-01T00:00:00"}, "failed_after"),
            ({"failed_before": "0001-01-01T00:00:00+14:00"}, "failed_before"),
            ({"failed_after": "9999-12-31T23:59:59-14:00"}, "failed_after"),
        ],
    )
    async def test_what_is_wrong_is_named(self, home: House, body: dict[str, Any], field: str) -> None:
        refused = await home.client.post("/v1/jobs/redrive", json=body)
        assert refused.status_code == 422
        assert refused.json()["fields"][0]["path"] == field

    async def test_an_unknown_field_is_refused(self, home: House) -> None:
        assert (await home.client.post("/v1/jobs/redrive", json={"tasks": "echo.say"})).status_code == 422

    async def test_a_user_reaches_their_own_alone(self, tmp_path: Path) -> None:
        users = (User(name="ann", token="a"), User(name="bob", token="b"))
        a, b, o = ({"authorization": f"Bearer {token}"} for token in "abo")
        async with house(tmp_path, chosen=policy(access={"users": users, "api_token": "o"})) as home:
            worker = await home.ready_worker()
            anns, bobs = await failed(home, worker, headers=a), await failed(home, worker, headers=b)
            assert (await redrive(home, a))["redriven"] == [anns]
            refused = await home.client.post("/v1/jobs/redrive", json={"owner": "bob"}, headers=a)
            assert refused.status_code == 403
            assert (await redrive(home, o, owner="bob"))["redriven"] == [bobs]


class TestExpiry:
    async def test_a_job_that_nobody_starts_in_time_fails_as_expired(self, home: House) -> None:
        await home.ready_worker()
        ends = (MOMENT + timedelta(seconds=5)).isoformat()
        job = await home.submit(expires_at=ends)
        assert job["expires_at"] == "2026-01-01T00:00:05Z"
        await home.clock.advance(10)
        await settle()
        view = await home.job(job["id"])
        assert (view["state"], view["error"]["code"]) == ("failed", "expired")

    async def test_an_expired_job_that_is_redriven_does_not_expire_again(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit(expires_at=(MOMENT + timedelta(seconds=5)).isoformat())
        await home.clock.advance(10)
        await settle()
        assert (await redrive(home, error_code="expired"))["redriven"] == [job["id"]]
        assert (await home.job(job["id"]))["expires_at"] is None
        assert (await worker.one()).hold.job_id == job["id"]

    @pytest.mark.parametrize(
        "more",
        [
            {"expires_at": "2025-12-31T23:59:59Z"},
            {"expires_at": "2026-01-01T00:00:00Z"},
            {"expires_at": "2026-02-01T00:00:00"},
            {"expires_at": "2026-02-01T00:00:00Z", "run_at": "2026-02-02T00:00:00Z"},
            {"expires_at": "9999-12-31T23:59:59-14:00"},
            {"expires_at": "soon"},
        ],
    )
    async def test_a_time_that_makes_no_sense_is_refused(self, home: House, more: dict[str, str]) -> None:
        await home.ready_worker()
        refused = await home.client.post("/v1/jobs", json=ASK | more)
        assert refused.status_code == 422
        assert "expires_at" in refused.text


class TestBudgets:
    def test_a_tasks_budget_has_its_pauses(self) -> None:
        info = TaskInfo("m.t", errors=5, crashes=2, retry_base_seconds=0.5, retry_cap_seconds=9.0)
        assert budget_of(info) == Budget(5, 2, 0.5, 9.0)
        assert budget_of(None) == budget_of(SAY) == Budget()
