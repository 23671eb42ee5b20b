"""How the store on MongoDB begins, what it says when it cannot, and what it says when the server fails it later."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.servers.mongod import PASSWORD, USER, MongodServer, mongo_url, mongod, mongod_alone, sweep_sockets

from glowplug.clock import Clock, ManualClock, SystemClock
from glowplug.errors import DiskFull, GlowplugError, RemoteError, SettingsError, TooLarge, Unreachable
from glowplug.events import set_sink
from glowplug.job import OutcomeKind
from glowplug.store import Store
from glowplug.stores.mongo import MongoStore, rooms
from glowplug.testing.work import claim, queue, request, settle, types

__all__ = ["mongo_url", "mongod", "mongod_alone"]


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(60):
        yield


@pytest.fixture
async def store(mongo_url: str) -> AsyncIterator[MongoStore]:
    async with MongoStore(f"{mongo_url}&serverSelectionTimeoutMS=300", clock=SystemClock()) as store:
        yield store
    sweep_sockets()


async def refusal(url: str) -> GlowplugError:
    """Return the error that a store does not start with, having checked that it gives no password away."""
    with pytest.raises(GlowplugError) as caught:
        await MongoStore(url, clock=SystemClock()).start()
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.data)
    assert "wrong-pass" not in told
    assert PASSWORD not in told
    sweep_sockets()
    return caught.value


# A bad start.


async def test_a_wrong_password_is_said_with_what_to_check(mongod_alone: MongodServer) -> None:
    error = await refusal(mongod_alone.url("glowplug", user=USER, password="wrong-pass", authSource="admin"))
    assert isinstance(error, SettingsError)
    assert "refused user or password" in error.message
    assert "authSource" in error.message
    assert f"127.0.0.1:{mongod_alone.port}" in error.message


async def test_a_server_that_wants_a_password_and_gets_none_is_said(mongod_alone: MongodServer) -> None:
    error = await refusal(mongod_alone.url("glowplug"))
    assert isinstance(error, SettingsError)
    assert "readWrite" in error.message


async def test_a_host_that_is_none_is_said() -> None:
    error = await refusal("mongodb://no-such-host.invalid/glowplug?serverSelectionTimeoutMS=300")
    assert isinstance(error, Unreachable)
    assert "check that it runs" in error.message


async def test_a_port_where_nobody_listens_is_said(mongod: MongodServer) -> None:
    error = await refusal("mongodb://user:wrong-pass@127.0.0.1:1/glowplug?serverSelectionTimeoutMS=300")
    assert isinstance(error, Unreachable)


@pytest.mark.parametrize("option", [{"tls": "perhaps"}, {"tsl": "true"}, {"maxPoolSize": "many"}])
async def test_an_option_that_is_none_is_said_and_not_passed_over(mongod: MongodServer, option: dict[str, str]) -> None:
    error = await refusal(mongod.url("glowplug", **option))
    assert isinstance(error, SettingsError)
    assert next(iter(option)).lower() in error.message.lower()


async def test_a_database_of_another_program_is_left_alone(mongod: MongodServer) -> None:
    name = mongod.new_name()
    with mongod.client() as client:
        client[name]["jobs"].insert_one({"title": "carpenter"})
    error = await refusal(mongod.url(name))
    assert isinstance(error, SettingsError)
    assert "another program" in error.message


async def test_a_database_of_a_newer_version_is_left_alone(mongod: MongodServer) -> None:
    name = mongod.new_name()
    with mongod.client() as client:
        client[name]["schema"].insert_one({"_id": "schema", "version": rooms.VERSION + 1})
    error = await refusal(mongod.url(name))
    assert isinstance(error, SettingsError)
    assert "install the newer version" in error.message


async def test_an_older_database_is_brought_up_once(mongod: MongodServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = mongod.url(mongod.new_name())
    async with MongoStore(url, clock=SystemClock()) as store:
        job = await queue(store)
    brought_up: list[int] = []

    def step(number: int) -> rooms.Upgrade:
        async def upgrade(database: rooms.Database) -> None:
            assert await database["jobs"].count_documents({}) == 1
            brought_up.append(number)

        return upgrade

    monkeypatch.setattr(rooms, "VERSION", 3)
    monkeypatch.setattr(rooms, "UPGRADES", {1: step(1), 2: step(2)})
    for _ in range(2):
        async with MongoStore(url, clock=SystemClock()) as store:
            assert await store.job(job.id) == job
    assert brought_up == [1, 2]


async def test_too_few_members_for_a_majority_are_said_at_the_start(mongod: MongodServer) -> None:
    mongod.fail("insert", writeConcernError={"code": 100, "errmsg": "Not enough data-bearing nodes"})
    try:
        error = await refusal(mongod.url(mongod.new_name()))
    finally:
        mongod.heal()
    assert isinstance(error, SettingsError)
    assert "majority" in error.message


async def test_what_could_not_start_leaves_nothing_open_and_may_start_later(mongod: MongodServer) -> None:
    name = mongod.new_name()
    with mongod.client() as client:
        client[name]["schema"].insert_one({"_id": "schema", "version": 99})
        store = MongoStore(mongod.url(name), clock=SystemClock())
        with pytest.raises(SettingsError):
            await store.start()
        client[name]["schema"].delete_many({})
    async with store:
        assert (await queue(store)).id


# A server alone.


@pytest.fixture
def emitted() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    said: list[tuple[str, dict[str, Any]]] = []
    before = set_sink(lambda spec, values: said.append((spec.name, values)))
    yield said
    set_sink(before)


async def test_a_server_that_is_no_replica_set_works_and_it_is_said_what_is_missing(
    mongod_alone: MongodServer, emitted: list[tuple[str, dict[str, Any]]]
) -> None:
    url = mongod_alone.url("glowplug", user=USER, password=PASSWORD, authSource="admin")
    store = MongoStore(url, clock=SystemClock())
    store.follow(lambda _: None)
    async with store:
        answers = await store.submit([request(key="a"), request(key="b")])
        (job,) = await claim(store)
        assert (await settle(store, job, OutcomeKind.COMPLETED)).accepted
        assert await types(store, job.id) == ["queued", "started", "completed"]
        assert {answer.job.id for answer in answers} >= {job.id}
    ((name, values),) = emitted
    assert name == "store.limited"
    assert "--replSet" in values["advice"]
    assert PASSWORD not in repr(values)


# Later failures.


async def test_a_write_whose_answer_was_lost_is_made_once(store: Store, mongod: MongodServer) -> None:
    made = await store.submit([request(), request()])
    mongod.fail("update", closeConnection=True)
    # The driver asks once more by itself; that this is in vain too is rare, and then said.
    with suppress(Unreachable):
        await claim(store, slots=2)
    mongod.heal()
    rest = await claim(store, slots=2)
    jobs = [await store.job(one.job.id) for one in made]
    assert [job.token for job in jobs] == [1, 1]
    for job in jobs:
        assert await types(store, job.id) == ["queued", "started"]
    assert {job.id for job in rest} <= {job.id for job in jobs}


async def test_several_are_spread_again_when_the_answer_to_it_was_lost(store: Store, mongod: MongodServer) -> None:
    mongod.fail("update", closeConnection=True)
    answers = await store.submit([request(), request()])
    for answer in answers:
        assert await types(store, answer.job.id) == ["queued"]


async def test_a_server_that_goes_on_failing_is_unreachable(store: Store, mongod: MongodServer) -> None:
    mongod.fail("find", "insert", "aggregate", times=100, closeConnection=True)
    for ask in (store.depths(), queue(store), store.job("0" * 24)):
        with pytest.raises(Unreachable):
            await ask
    mongod.heal()
    assert await store.depths() == {}


async def test_a_server_that_is_no_longer_primary_is_unreachable_or_found_again(
    store: Store, mongod: MongodServer
) -> None:
    mongod.fail("insert", times=1, errorCode=10107)
    assert (await queue(store)).id


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ({"errorCode": 14031}, DiskFull, "full"),
        ({"writeConcernError": {"code": 64, "errmsg": "waiting timed out"}}, Unreachable, "did not confirm"),
        ({"errorCode": 13}, SettingsError, "readWrite"),
        ({"errorCode": 8000}, RemoteError, "refused"),
    ],
)
async def test_what_the_server_refuses_is_said_in_our_words(
    store: Store, mongod: MongodServer, how: dict[str, Any], kind: type[GlowplugError], words: str
) -> None:
    mongod.fail("insert", **how)
    with pytest.raises(kind) as caught:
        await queue(store)
    assert words in caught.value.message
    assert caught.value.__cause__ is not None


async def test_a_job_beyond_the_size_of_a_document_is_too_large_and_nothing_is_queued(store: Store) -> None:
    huge = request(input={"text": "x" * (17 << 20)})
    for asked in ([huge], [request(), huge]):
        with pytest.raises(TooLarge):
            await store.submit(asked)
    assert await store.depths() == {}


# Time.


class WrongClock(SystemClock):
    """The clock of a machine that is a day late."""

    def now(self) -> datetime:
        """Return yesterday."""
        return super().now() - timedelta(days=1)


async def test_time_is_the_server_s_on_a_machine_whose_clock_is_wrong(mongo_url: str) -> None:
    clock: Clock = WrongClock()
    async with MongoStore(mongo_url, clock=clock) as store:
        job = await queue(store)
    assert abs(job.created_at - datetime.now(UTC)) < timedelta(hours=1)


async def test_the_server_is_asked_for_its_time_again_and_again(
    mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    async with MongoStore(mongo_url, clock=clock) as store:
        first = await queue(store)
        await clock.advance(7 * 86_400)
        asked = store._session.time  # type: ignore[union-attr]
        while asked._asked < 60:
            await asyncio.sleep(0.01)
        second = await queue(store)
    assert timedelta(0) <= second.created_at - first.created_at < timedelta(hours=1)
