"""One thread's connection: what outages, lost connections and lost commits come to. The database is made to fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from glowplug.errors import Conflict, Corrupt, SettingsError, Unreachable
from glowplug.stores import sessions
from glowplug.stores.database import Fault
from glowplug.stores.sessions import Answer, Operation, Order, Session
from glowplug.stores.sqlite import SqliteDatabase


class Lost(Exception):
    """The connection is gone."""


class Met(Exception):
    """Two got into each other's way."""


class Flaky(SqliteDatabase):
    """A database that does without savepoints, and fails as it is told to."""

    savepoints = False
    patience_seconds = 5.0

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.refusals: list[Exception] = []
        self.connects = 0
        self.known: bool | None = None
        self.has_receipt = True

    def connect(self, *, writes: bool) -> Connection:
        self.connects += 1
        if self.refusals:
            raise self.refusals.pop(0)
        return super().connect(writes=writes)

    def fault(self, error: BaseException) -> Fault:
        kinds: dict[type[BaseException], Fault] = {Lost: Fault.LOST, Met: Fault.UNDONE}
        return kinds.get(type(error), Fault.OWN)

    def receipt(self, connection: Connection) -> str | None:
        del connection
        return "7" if self.has_receipt else None

    def was_committed(self, connection: Connection, receipt: str) -> bool | None:
        del connection
        assert receipt == "7"
        return self.known


class Fails:
    """An operation that writes a note, and fails as often as there are errors."""

    def __init__(self, text: str, *errors: Exception) -> None:
        self._text = text
        self._errors = list(errors)
        self.runs = 0

    def __call__(self, connection: Connection) -> str:
        self.runs += 1
        connection.exec_driver_sql("INSERT INTO notes VALUES (?)", (self._text,))
        if self._errors:
            raise self._errors.pop(0)
        return self._text


def notes(connection: Connection) -> list[str]:
    return list(connection.exec_driver_sql("SELECT text FROM notes ORDER BY rowid").scalars())


@pytest.fixture
def database(tmp_path: Path) -> Flaky:
    database = Flaky(tmp_path / "x.db")
    database.prepare()
    with database.transaction(writes=True) as connection:
        connection.exec_driver_sql("CREATE TABLE notes (text TEXT NOT NULL)")
    database.connects = 0
    return database


@pytest.fixture
async def run(database: Flaky) -> AsyncIterator[Callable[..., list[Answer]]]:
    session = Session(database, writes=True, rest=threading.Event().wait)
    session.open()
    loop = asyncio.get_running_loop()

    def orders(*operations: Operation[Any]) -> list[Answer]:
        return session.run([Order(operation, loop.create_future()) for operation in operations])

    orders.session = session  # type: ignore[attr-defined]
    yield orders
    session.close()


Run = Callable[..., list[Answer]]


def values(answers: list[Answer]) -> list[Any]:
    return [answer.error or answer.value for answer in answers]


async def test_one_that_fails_leaves_the_others_of_its_group(run: Run) -> None:
    conflict = Conflict("no")
    answers = run(Fails("a"), Fails("b", conflict, conflict), Fails("c"))
    assert values(answers) == ["a", conflict, "c"]
    assert values(run(notes)) == [["a", "c"]]


@pytest.mark.parametrize("error", [Lost(), Met()])
async def test_what_was_taken_back_is_run_again(run: Run, database: Flaky, error: Exception) -> None:
    unlucky = Fails("b", error, error)
    assert values(run(Fails("a"), unlucky)) == ["a", "b"]
    assert unlucky.runs == 3
    assert values(run(notes)) == [["a", "b"]]
    assert (database.connects > 1) is isinstance(error, Lost)


async def test_what_never_succeeds_is_given_up(run: Run) -> None:
    error = Met()
    hopeless = Fails("a", *[error] * 50)
    assert values(run(hopeless)) == [error]
    assert hopeless.runs == sessions.TRIES + 1
    assert values(run(notes)) == [[]]


def lose_next_commit(monkeypatch: pytest.MonkeyPatch, *, made: bool) -> None:
    from sqlalchemy import RootTransaction

    commit = RootTransaction.commit
    left = [None]

    def lose(self: RootTransaction) -> None:
        if not left:
            return commit(self)
        left.pop()
        if made:
            commit(self)
        raise Lost

    monkeypatch.setattr(RootTransaction, "commit", lose)


@pytest.mark.parametrize("made", [True, False])
async def test_a_commit_that_can_be_asked_after_is(
    run: Run, database: Flaky, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    database.known = made
    lose_next_commit(monkeypatch, made=made)
    assert values(run(Fails("a"), Fails("b"))) == ["a", "b"]
    assert values(run(notes)) == [["a", "b"]]


async def test_a_commit_that_cannot_be_asked_after_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_next_commit(monkeypatch, made=True)
    (answer,) = run(Fails("a"))
    assert isinstance(answer.error, Unreachable)
    assert "look before you ask again" in answer.error.message
    assert values(run(notes)) == [["a"]]


async def test_a_lost_commit_of_nothing_is_run_again(
    run: Run, database: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.has_receipt = False
    lose_next_commit(monkeypatch, made=False)
    assert values(run(notes)) == [[]]


async def test_an_order_waits_for_a_short_outage_to_end(run: Run, database: Flaky) -> None:
    database.refusals = [Unreachable("down")] * 3
    assert values(run(Fails("a", Lost()))) == ["a"]
    assert database.connects == 1 + 3 + 1


async def test_a_long_outage_is_said_at_once_and_looked_at_now_and_then(
    run: Run, database: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Flaky, "patience_seconds", 0.0)
    monkeypatch.setattr(sessions, "FIRST_REST_SECONDS", 60.0)
    monkeypatch.setattr(sessions, "LONGEST_REST_SECONDS", 60.0)
    database.refusals = [Unreachable("down"), Unreachable("still down")]
    session: Session = run.session  # type: ignore[attr-defined]
    assert isinstance(values(run(Fails("a", Lost())))[0], Unreachable)
    connects = database.connects
    for _ in range(3):
        assert isinstance(values(run(Fails("b")))[0], Unreachable)
    session.look()
    assert database.connects == connects
    assert session.rests_seconds is not None
    assert session.rests_seconds > 1


async def test_an_outage_that_nobody_waits_for_ends_by_itself(
    run: Run, database: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Flaky, "patience_seconds", 0.0)
    monkeypatch.setattr(sessions, "LONGEST_REST_SECONDS", 0.001)
    database.refusals = [Unreachable("down")]
    session: Session = run.session  # type: ignore[attr-defined]
    assert isinstance(values(run(Fails("a", Lost())))[0], Unreachable)
    async with asyncio.timeout(10):
        while session.rests_seconds is not None:
            session.look()
    assert values(run(notes)) == [[]]


async def test_a_database_that_served_once_and_refuses_us_now_is_one_that_is_away(
    run: Run, database: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.refusals = [SettingsError("there is no such database")]
    assert values(run(Fails("a", Lost()))) == ["a"]
    monkeypatch.setattr(Flaky, "patience_seconds", 0.0)
    database.refusals = [SettingsError("wrong password")] * 9
    [refused] = values(run(Fails("b", Lost())))
    assert isinstance(refused, Unreachable)
    assert str(refused) == "wrong password"


async def test_a_refusal_that_waiting_does_not_mend_is_said_at_once(run: Run, database: Flaky) -> None:
    wrong = Corrupt("damaged")
    database.refusals = [wrong]
    assert values(run(Fails("a", Lost()))) == [wrong]
    assert values(run(Fails("b"))) == ["b"]
