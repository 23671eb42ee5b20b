"""The writer's lane: what waits together is committed together, and answered after the commit."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from glowplug.errors import BugError, Conflict, SettingsError, Unreachable
from glowplug.stores.lanes import GROUP_LIMIT, Lane
from glowplug.stores.sqlite import SqliteDatabase

SECONDS = 60.0


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(SECONDS):
        yield


@pytest.fixture
def database(tmp_path: Path) -> SqliteDatabase:
    database = SqliteDatabase(tmp_path / "lane.db")
    database.prepare()
    return database


@pytest.fixture
async def lane(database: SqliteDatabase) -> AsyncIterator[Lane]:
    lane = Lane(database, writes=True)
    async with lane:
        await lane.run(lambda connection: connection.exec_driver_sql("CREATE TABLE notes (text TEXT NOT NULL)"))
        yield lane


class Gate:
    """An operation that keeps the lane busy until it is let go."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self._go = threading.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self, _: Connection) -> None:
        self._loop.call_soon_threadsafe(self.entered.set)
        assert self._go.wait(SECONDS)

    def open(self) -> None:
        self._go.set()


class Write:
    """An operation that writes a note, and says whether it ran."""

    def __init__(self, text: str | None) -> None:
        self._text = text
        self.ran = False

    def __call__(self, connection: Connection) -> str | None:
        self.ran = True
        connection.exec_driver_sql("INSERT INTO notes VALUES (?)", (self._text,))
        return self._text


class WriteAndFail(Write):
    """An operation that fails when it has written."""

    def __call__(self, connection: Connection) -> str | None:
        super().__call__(connection)
        raise Conflict("no")


def notes(connection: Connection) -> list[str]:
    return list(connection.exec_driver_sql("SELECT text FROM notes ORDER BY rowid").scalars())


async def held_back(lane: Lane, *operations: Write) -> list[asyncio.Task[str | None]]:
    """Let `operations` pile up behind one that is under way, then let them all go."""
    gate = Gate()
    first = asyncio.create_task(lane.run(gate))
    await gate.entered.wait()
    tasks = [asyncio.create_task(lane.run(operation)) for operation in operations]
    await asyncio.sleep(0)
    gate.open()
    await first
    return tasks


def count_commits(database: SqliteDatabase) -> list[None]:
    seen: list[None] = []
    assert database._engine is not None
    event.listen(database._engine, "commit", lambda _: seen.append(None))
    return seen


async def test_what_waits_together_shares_one_commit(lane: Lane, database: SqliteDatabase) -> None:
    commits = count_commits(database)
    answers = await asyncio.gather(*await held_back(lane, *(Write(str(number)) for number in range(20))))
    assert answers == [str(number) for number in range(20)]
    assert len(commits) == 2
    assert await lane.run(notes) == answers


async def test_a_group_has_a_limit(lane: Lane, database: SqliteDatabase) -> None:
    commits = count_commits(database)
    await asyncio.gather(*await held_back(lane, *(Write(str(number)) for number in range(GROUP_LIMIT + 1))))
    assert len(commits) == 3


async def test_one_that_fails_loses_its_own_writes_alone(lane: Lane) -> None:
    first, second, third = await held_back(lane, Write("a"), WriteAndFail("b"), Write("c"))
    assert (await first, await third) == ("a", "c")
    with pytest.raises(Conflict):
        await second
    assert await lane.run(notes) == ["a", "c"]


async def test_one_that_the_database_refuses_harms_no_other(lane: Lane) -> None:
    first, second, third = await held_back(lane, Write("a"), Write(None), Write("c"))
    assert (await first, await third) == ("a", "c")
    with pytest.raises(BugError, match="NOT NULL"):
        await second
    assert await lane.run(notes) == ["a", "c"]


async def test_nothing_is_answered_that_was_not_committed(lane: Lane, database: SqliteDatabase) -> None:
    assert database._engine is not None

    def refuse(_: Connection) -> None:
        raise sqlite3.OperationalError("disk gone")

    event.listen(database._engine, "commit", refuse)
    tasks = await asyncio.gather(*[lane.run(Write("a")), lane.run(Write("b"))], return_exceptions=True)
    assert [type(answer) for answer in tasks] == [BugError, BugError]
    event.remove(database._engine, "commit", refuse)
    assert await lane.run(notes) == []
    assert await lane.run(Write("c")) == "c"


async def test_an_order_whose_caller_has_gone_is_not_run(lane: Lane) -> None:
    gone, kept = Write("gone"), Write("kept")
    gate = Gate()
    first = asyncio.create_task(lane.run(gate))
    await gate.entered.wait()
    given_up, waiting = asyncio.create_task(lane.run(gone)), asyncio.create_task(lane.run(kept))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    gate.open()
    await asyncio.gather(first, waiting)
    assert (gone.ran, kept.ran) == (False, True)
    assert await lane.run(notes) == ["kept"]


async def test_a_stop_waits_for_what_was_ordered(lane: Lane, database: SqliteDatabase) -> None:
    tasks = [asyncio.create_task(lane.run(Write(str(number)))) for number in range(100)]
    await asyncio.sleep(0)
    await lane.stop()
    assert await asyncio.gather(*tasks) == [str(number) for number in range(100)]
    with pytest.raises(Unreachable):
        await lane.run(notes)
    await lane.start()
    assert len(await lane.run(notes)) == 100


async def test_readers_answer_while_the_writer_is_busy(lane: Lane, database: SqliteDatabase) -> None:
    await lane.run(Write("a"))
    gate = Gate()
    writing = asyncio.create_task(lane.run(gate))
    await gate.entered.wait()
    readers = Lane(database, writes=False, threads=2)
    async with readers:
        assert await asyncio.gather(*(readers.run(notes) for _ in range(10))) == [["a"]] * 10
    gate.open()
    await writing


async def test_readers_cannot_write_what_they_read(lane: Lane, database: SqliteDatabase) -> None:
    readers = Lane(database, writes=False, threads=2)
    async with readers:
        with pytest.raises(Conflict):
            await readers.run(WriteAndFail("x"))
    assert await lane.run(notes) == []


async def test_no_thread_is_left_behind(database: SqliteDatabase) -> None:
    before = set(threading.enumerate())
    lane = Lane(database, writes=False, threads=3)
    async with lane:
        assert len(set(threading.enumerate()) - before) == 3
    assert {thread for thread in set(threading.enumerate()) - before if thread.name == "glowplug-store"} == set()


async def test_a_lane_that_cannot_open_says_why_and_leaves_no_thread(tmp_path: Path) -> None:
    lane = Lane(SqliteDatabase(tmp_path / "absent" / "lane.db"), writes=False, threads=2)
    with pytest.raises(SettingsError):
        await lane.start()
    assert [thread for thread in threading.enumerate() if thread.name == "glowplug-store"] == []
