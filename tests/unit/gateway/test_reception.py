"""What doors may ask of the gateway: the same as callers over HTTP, with the same checks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.house import ECHO_OF_FILES, House, house, policy
from tests.unit.gateway.listeners import Listener, until

from glowplug.door import Reception, Wish
from glowplug.errors import (
    Conflict,
    DiskFull,
    IdempotencyMismatch,
    InvalidInput,
    NotFound,
    TooLarge,
    UnknownTask,
    UserError,
)
from glowplug.gateway.policy import Limits
from glowplug.store import WorkerRecord


@pytest.fixture
def door() -> Listener:
    return Listener()


@pytest.fixture
async def busy(tmp_path: Path, door: Listener) -> AsyncIterator[House]:
    """Yield a gateway with a door and a ready worker."""
    async with house(tmp_path, chosen=policy(limits=Limits(input_bytes=1000)), doors=[door]) as home:
        await home.ready_worker()
        yield home


def reception(door: Listener) -> Reception:
    assert door.reception is not None
    return door.reception


def wish(**more: Any) -> Wish:
    return Wish(**({"task": "echo.say", "input": {"text": "hello"}, "owner": "queue:train"} | more))


async def test_a_wish_becomes_a_job_of_its_owner(busy: House, door: Listener) -> None:
    submission = await reception(door).submit(wish(key="42", priority=3, metadata={"kind": "train"}))
    job = submission.job
    assert (submission.created, job.owner, job.key, job.priority) == (True, "queue:train", "42", 3)
    assert job.metadata == {"kind": "train"}
    assert [follower.door for follower in job.followers] == ["listener"]
    assert (await busy.job(job.id))["state"] == "queued"


async def test_a_wish_that_comes_twice_is_one_job(busy: House, door: Listener) -> None:
    first = await reception(door).submit(wish(key="42"))
    second = await reception(door).submit(wish(key="42"))
    assert (second.job.id, second.created) == (first.job.id, False)
    with pytest.raises(IdempotencyMismatch):
        await reception(door).submit(wish(key="42", input={"text": "other"}))


async def test_the_same_key_of_another_owner_is_another_job(busy: House, door: Listener) -> None:
    first = await reception(door).submit(wish(key="42"))
    assert (await reception(door).submit(wish(key="42", owner="queue:infer"))).job.id != first.job.id


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"task": "nobody.knows"}, UnknownTask),
        ({"input": {"text": 5}}, InvalidInput),
        ({"input": {}}, InvalidInput),
        ({"input": {"text": "x" * 1001}}, TooLarge),
        ({"input": {"text": object()}}, InvalidInput),
        ({"key": "x" * 201}, UserError),
        ({"metadata": {"follow": "wrong"}}, InvalidInput),
    ],
)
async def test_a_wrong_wish_is_refused_as_over_http(
    busy: House, door: Listener, more: dict[str, Any], error: type[UserError]
) -> None:
    with pytest.raises(error):
        await reception(door).submit(wish(**more))
    assert (await busy.client.get("/v1/jobs")).json()["jobs"] == []


async def test_a_wish_may_name_files_that_are_there_and_say_anything(busy: House, door: Listener) -> None:
    await busy.worker("w2").register(models=(ECHO_OF_FILES,))
    with pytest.raises(InvalidInput, match="no artifact"):
        await reception(door).submit(wish(input={"file": "artifact:inputs/none/x.png"}))
    said = {"text": "artifact:inputs/none/x.png"}
    assert (await reception(door).submit(wish(input=said))).job.input == said


async def test_a_full_disk_takes_no_wish_and_may_pass(
    busy: House, door: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busy.gateway.jobs, "has_room", lambda: False)
    with pytest.raises(DiskFull):
        await reception(door).submit(wish())


async def test_it_says_which_tasks_are_known(busy: House, door: Listener) -> None:
    assert reception(door).knows("echo.say")
    assert not reception(door).knows("nobody.knows")


async def test_a_job_and_its_log_can_be_looked_at_and_a_job_be_canceled(busy: House, door: Listener) -> None:
    job = (await reception(door).submit(wish())).job
    assert (await reception(door).job(job.id)).id == job.id
    assert [event.type for event in await reception(door).events(job.id)] == ["queued"]
    assert (await reception(door).cancel(job.id)).state == "canceled"
    assert [event.type for event in await reception(door).events(job.id, after=1)] == ["canceled"]
    with pytest.raises(Conflict):
        await reception(door).cancel(job.id)
    with pytest.raises(NotFound):
        await reception(door).job("0" * 24)


async def test_the_last_event_is_told_again_on_demand(busy: House, door: Listener) -> None:
    job = await busy.run_one(busy.worker())
    async with asyncio.timeout(20):
        await until(lambda: [seq for _, seq, _ in door.told] == [1, 2, 3])
        while (await busy.store.deliveries(job["id"]))[0].due_at is not None:
            await asyncio.sleep(0.002)
        await reception(door).tell_again(job["id"], "listener")
        await until(lambda: [seq for _, seq, _ in door.told] == [1, 2, 3, 3])


async def test_nobody_is_told_again_of_what_is_not_there(busy: House, door: Listener) -> None:
    job = (await reception(door).submit(wish())).job
    for job_id, name in (("0" * 24, "listener"), (job.id, "nobody")):
        with pytest.raises(NotFound):
            await reception(door).tell_again(job_id, name)


async def test_workers_are_listed_and_their_changes_told(busy: House, door: Listener) -> None:
    heard: list[WorkerRecord] = []
    assert [worker.instance_id for worker in reception(door).workers()] == ["w1"]
    reception(door).follow_workers(heard.append)
    await busy.ready_worker("w2")
    assert {record.instance_id for record in heard} == {"w2"}
    await busy.gateway.worker_died("w2")
    assert heard[-1].status == "offline"


async def bytes_at(home: House, key: str) -> bytes:
    return b"".join([chunk async for chunk in home.artifacts.read(key)])


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_a_result_can_be_laid_anywhere_but_where_the_platform_keeps_its_own(busy: House, door: Listener) -> None:
    await busy.artifacts.put("models/best.pt", once(b"older"))
    await busy.artifacts.put("jobs/a/1/best.pt", once(b"weights"))
    await reception(door).place("jobs/a/1/best.pt", "models/best.pt")
    assert await bytes_at(busy, "models/best.pt") == b"weights"
    for target in ("jobs/b/1/best.pt", "inputs/x/best.pt", "calls/x", "uploads/x", "jobs", "../x", "/x", "x/"):
        with pytest.raises(InvalidInput):
            await reception(door).place("jobs/a/1/best.pt", target)


async def test_what_is_newer_there_stays_and_what_is_gone_may_have_been_laid_before(
    busy: House, door: Listener
) -> None:
    await busy.artifacts.put("jobs/a/1/best.pt", once(b"weights"))
    await reception(door).place("jobs/a/1/best.pt", "models/best.pt")
    await busy.artifacts.put("models/best.pt", once(b"somebody else's"))
    await reception(door).place("jobs/a/1/best.pt", "models/best.pt")
    await busy.artifacts.delete("jobs/a/1/best.pt")
    await reception(door).place("jobs/a/1/best.pt", "models/best.pt")
    assert await bytes_at(busy, "models/best.pt") == b"somebody else's"
    with pytest.raises(NotFound):
        await reception(door).place("jobs/a/1/best.pt", "models/other.pt")


async def test_nothing_is_laid_on_a_full_disk(busy: House, door: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    await busy.artifacts.put("jobs/a/1/best.pt", once(b"weights"))
    monkeypatch.setattr(busy.gateway.room, "enough", lambda: False)
    with pytest.raises(DiskFull):
        await reception(door).place("jobs/a/1/best.pt", "models/best.pt")
