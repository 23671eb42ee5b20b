"""Batches: all or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.house import House, house, policy

from glowplug.gateway.policy import Limits


def body(*texts: Any) -> dict[str, Any]:
    return {"jobs": [{"task": "echo.say", "input": {"text": text}} for text in texts]}


async def test_a_batch_is_queued_in_the_order_in_which_it_was_sent(home: House) -> None:
    await home.ready_worker()
    response = await home.client.post("/v1/batches", json=body("a", "b", "c"))
    batch = response.json()
    assert (response.status_code, batch["done"]) == (202, False)
    assert [job["input"]["text"] for job in batch["jobs"]] == ["a", "b", "c"]
    assert {job["batch_id"] for job in batch["jobs"]} == {batch["batch_id"]}


async def test_a_batch_is_done_when_all_of_it_is(home: House) -> None:
    worker = await home.ready_worker()
    batch_id = (await home.client.post("/v1/batches", json=body("a", "b"))).json()["batch_id"]
    for done in (False, True):
        await worker.finish(await worker.one())
        seen = (await home.client.get(f"/v1/batches/{batch_id}")).json()
        assert (seen["done"], len(seen["jobs"])) == (done, 2)


async def test_one_wrong_job_queues_none_and_is_named(home: House) -> None:
    await home.ready_worker()
    response = await home.client.post("/v1/batches", json=body("a", 7, "c"))
    assert response.status_code == 422
    assert response.json()["detail"].startswith("jobs.1: ")
    assert (await home.client.get("/v1/jobs")).json()["jobs"] == []


async def test_an_unknown_task_in_it_is_404_and_queues_none(home: House) -> None:
    await home.ready_worker()
    wishes = body("a")["jobs"] + [{"task": "nope.nope", "input": {}}]
    response = await home.client.post("/v1/batches", json={"jobs": wishes})
    assert (response.status_code, response.json()["code"]) == (404, "unknown_task")
    assert (await home.client.get("/v1/jobs")).json()["jobs"] == []


async def test_the_same_batch_under_the_same_key_is_the_same_batch(home: House) -> None:
    await home.ready_worker()
    answers = [
        (await home.client.post("/v1/batches", json=body("a", "b"), headers={"idempotency-key": "k"})).json()
        for _ in range(2)
    ]
    assert answers[0]["batch_id"] == answers[1]["batch_id"]
    assert [job["id"] for job in answers[0]["jobs"]] == [job["id"] for job in answers[1]["jobs"]]
    assert len((await home.client.get("/v1/jobs")).json()["jobs"]) == 2


async def test_another_batch_under_the_same_key_is_refused_whole(home: House) -> None:
    await home.ready_worker()
    await home.client.post("/v1/batches", json=body("a", "b"), headers={"idempotency-key": "k"})
    response = await home.client.post("/v1/batches", json=body("a", "z"), headers={"idempotency-key": "k"})
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize(("texts", "status"), [((), 422), (tuple("abcd"), 413)])
async def test_a_batch_of_no_or_too_many_jobs_is_refused(tmp_path: Path, texts: tuple[str, ...], status: int) -> None:
    async with house(tmp_path, chosen=policy(limits=Limits(batch_jobs=3))) as home:
        await home.ready_worker()
        response = await home.client.post("/v1/batches", json=body(*texts))
        assert response.status_code == status


async def test_one_input_beyond_the_limit_is_too_large(tmp_path: Path) -> None:
    async with house(tmp_path, chosen=policy(limits=Limits(input_bytes=100))) as home:
        await home.ready_worker()
        response = await home.client.post("/v1/batches", json=body("a", "x" * 101))
        assert (response.status_code, response.json()["limit_bytes"]) == (413, 100)
        assert response.json()["detail"].startswith("jobs.1: ")


async def test_a_body_beyond_the_limit_is_too_large(tmp_path: Path) -> None:
    async with house(tmp_path, chosen=policy(limits=Limits(batch_bytes=100))) as home:
        assert (await home.client.post("/v1/batches", json=body(*"abcdefgh"))).status_code == 413


async def test_a_batch_that_does_not_exist(home: House) -> None:
    assert (await home.client.get("/v1/batches/nope")).status_code == 404
