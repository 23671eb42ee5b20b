"""How many jobs an owner may submit in a minute."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.gateway.house import ECHO, House, house, policy

from glowplug.clock import ManualClock
from glowplug.door import Wish
from glowplug.errors import RateLimited
from glowplug.gateway.policy import Rates, User
from glowplug.store import ModelInfo, TaskInfo
from glowplug.stores.memory import MemoryStore

SHOUT = TaskInfo("echo.shout")
MODELS = (ModelInfo("echo", "1", (*ECHO.tasks, SHOUT)),)
SAY = {"task": "echo.say", "input": {"text": "hello"}}


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[House]:
    """Yield a gateway that takes three jobs a minute from each owner, and one of them to shout."""
    chosen = policy(rates=Rates(jobs_per_minute=3, tasks={"echo.shout": 1}))
    async with house(tmp_path, chosen=chosen) as made:
        await made.worker().register(models=MODELS)
        yield made


async def post(home: House, body: Any = None, path: str = "/v1/jobs", **headers: str) -> httpx.Response:
    return await home.client.post(path, json=body or SAY, headers=headers)


class TestTheMinute:
    async def test_one_too_many_is_told_when_there_is_room_again(self, strict: House) -> None:
        for _ in range(3):
            assert (await post(strict)).status_code == 202
            await strict.clock.advance(10)
        refused = await post(strict)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert refused.headers["retry-after"] == "30"
        assert "local may submit 3 jobs a minute; there is room again in 30 s" in refused.json()["detail"]
        assert refused.json()["retryable"] is True
        await strict.clock.advance(30)
        assert (await post(strict)).status_code == 202
        assert (await post(strict)).status_code == 429

    async def test_a_minute_slides(self, strict: House) -> None:
        for _ in range(12):
            assert (await post(strict)).status_code == 202
            await strict.clock.advance(20)

    async def test_a_part_of_a_second_is_rounded_up(self, strict: House) -> None:
        for _ in range(3):
            await post(strict)
        await strict.clock.advance(59.5)
        assert (await post(strict)).headers["retry-after"] == "1"

    async def test_a_task_has_a_limit_of_its_own(self, strict: House) -> None:
        shout = {"task": "echo.shout", "input": {}}
        assert (await post(strict, shout)).status_code == 202
        refused = await post(strict, shout)
        assert refused.status_code == 429
        assert "local may submit 1 job a minute of echo.shout" in refused.json()["detail"]
        assert (await post(strict)).status_code == 202

    async def test_ten_at_once_are_let_in_one_after_the_other(self, strict: House) -> None:
        answers = await asyncio.gather(*(post(strict) for _ in range(10)))
        assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 7

    async def test_the_count_is_the_stores_and_outlives_the_gateway(self, tmp_path: Path) -> None:
        clock = ManualClock()
        store = MemoryStore(clock=clock)
        chosen = policy(rates=Rates(jobs_per_minute=1))
        async with house(tmp_path, clock, chosen, store=store) as first:
            await first.ready_worker()
            assert (await post(first)).status_code == 202
            async with house(tmp_path, clock, chosen, store=store) as second:
                await second.gateway.catalog.refresh()
                assert (await post(second)).status_code == 429

    async def test_without_limits_nothing_is_counted(self, home: House) -> None:
        await home.ready_worker()
        for _ in range(20):
            assert (await post(home)).status_code == 202


class TestBatches:
    async def test_a_batch_counts_by_its_size(self, strict: House) -> None:
        assert (await post(strict, {"jobs": [SAY, SAY]}, "/v1/batches")).status_code == 202
        assert (await post(strict, {"jobs": [SAY, SAY]}, "/v1/batches")).status_code == 429
        assert (await post(strict, {"jobs": [SAY]}, "/v1/batches")).status_code == 202

    async def test_one_beyond_the_limit_is_refused_with_the_way_out(self, strict: House) -> None:
        refused = await post(strict, {"jobs": [SAY] * 4}, "/v1/batches")
        assert refused.status_code == 429
        assert "these are 4 at once: send them in smaller batches" in refused.json()["detail"]
        assert (await strict.client.get("/v1/jobs")).json()["jobs"] == []

    async def test_a_repeated_batch_is_answered(self, strict: House) -> None:
        batch = {"jobs": [SAY, SAY, SAY]}
        first = await post(strict, batch, "/v1/batches", **{"idempotency-key": "b"})
        again = await post(strict, batch, "/v1/batches", **{"idempotency-key": "b"})
        assert first.json()["batch_id"] == again.json()["batch_id"]

    async def test_jobs_added_to_a_known_batch_count(self, strict: House) -> None:
        await post(strict, {"jobs": [SAY, SAY]}, "/v1/batches", **{"idempotency-key": "b"})
        more = await post(strict, {"jobs": [SAY] * 4}, "/v1/batches", **{"idempotency-key": "b"})
        assert more.status_code == 429


class TestRepeats:
    async def test_a_known_key_is_answered_and_not_counted(self, strict: House) -> None:
        first = await post(strict, **{"idempotency-key": "k"})
        for _ in range(5):
            again = await post(strict, **{"idempotency-key": "k"})
            assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
        await post(strict)
        await post(strict)
        assert (await post(strict, **{"idempotency-key": "k"})).json()["id"] == first.json()["id"]
        assert (await post(strict, **{"idempotency-key": "new"})).status_code == 429

    async def test_a_known_key_with_another_request_is_a_mismatch(self, strict: House) -> None:
        await post(strict, **{"idempotency-key": "k"})
        await post(strict)
        await post(strict)
        other = {"task": "echo.say", "input": {"text": "other"}}
        assert (await post(strict, other, **{"idempotency-key": "k"})).status_code == 422


class TestOwners:
    async def test_each_has_a_minute_of_their_own_and_a_users_limit_goes_first(self, tmp_path: Path) -> None:
        users = (User(name="ann", token="a", jobs_per_minute=2), User(name="bob", token="b"))
        chosen = policy(access={"users": users, "api_token": "o"}, rates=Rates(jobs_per_minute=1))
        async with house(tmp_path, chosen=chosen) as home:
            await home.ready_worker()
            for token, allowed in (("a", 2), ("b", 1), ("o", 1)):
                said = [await post(home, authorization=f"Bearer {token}") for _ in range(3)]
                assert [one.status_code for one in said] == [202] * allowed + [429] * (3 - allowed)

    async def test_what_comes_through_a_door_is_counted_too(self, strict: House) -> None:
        def wish() -> Wish:
            return Wish(task="echo.say", input={"text": "a"}, owner="rabbitmq")

        for _ in range(3):
            await strict.gateway.front_desk.submit(wish())
        with pytest.raises(RateLimited, match="rabbitmq may submit 3 jobs a minute"):
            await strict.gateway.front_desk.submit(wish())
        assert (await post(strict)).status_code == 202

    async def test_a_refused_request_leaves_nothing_behind_and_blocks_nobody(self, strict: House) -> None:
        for _ in range(3):
            await post(strict)
        for _ in range(3):
            assert (await post(strict)).status_code == 429
        assert len((await strict.client.get("/v1/jobs")).json()["jobs"]) == 3
