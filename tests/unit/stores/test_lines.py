"""The ends of the lines in a database: looked for once in a transaction, and moved with every job that joins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from glowplug.job import STRIDE, JobState, Spent
from glowplug.store import Want
from glowplug.stores import queue, writes
from glowplug.stores.lines import Lines
from glowplug.stores.sqlite import SqliteDatabase
from glowplug.stores.tables import metadata
from glowplug.testing.work import TASK, request

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LEASE = timedelta(seconds=60)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    database = SqliteDatabase(tmp_path / "lines.db")
    database.prepare()
    with database.connect(writes=True) as connection:
        with connection.begin():
            metadata.create_all(connection)
        yield connection


def turns(connection: Connection, owner: str) -> list[int | None]:
    return [job.turn for job in queue.undispatched(connection, [TASK], 99, NOW) if job.owner == owner]


def test_one_transaction_and_many_make_the_same_line(connection: Connection) -> None:
    owners = ["ann", "ann", "bob", "ann", "cem", "bob"]
    with connection.begin() as transaction:
        for owner in owners:
            writes.submit(connection, [request(owner=owner)], NOW)
        together = [turns(connection, owner) for owner in ("ann", "bob", "cem")]
        transaction.rollback()
    for owner in owners:
        with connection.begin():
            writes.submit(connection, [request(owner=owner)], NOW)
    with connection.begin():
        assert [turns(connection, owner) for owner in ("ann", "bob", "cem")] == together
        assert together == [[0, STRIDE, 2 * STRIDE], [0, STRIDE], [0]]


def test_who_joins_after_a_claim_of_the_same_transaction_joins_at_the_new_head(connection: Connection) -> None:
    with connection.begin():
        writes.submit(connection, [request(owner="ann") for _ in range(4)], NOW)
        writes.claim(connection, "w", [Want((TASK,), 2)], NOW, LEASE)
        (bob,) = writes.submit(connection, [request(owner="bob")], NOW)
        assert bob.job.turn == 2 * STRIDE


def test_a_line_whose_last_job_was_canceled_begins_anew(connection: Connection) -> None:
    with connection.begin():
        submissions = writes.submit(connection, [request(owner="ann") for _ in range(3)], NOW)
        for submission in submissions:
            writes.cancel(connection, submission.job.id, NOW)
        (bob,) = writes.submit(connection, [request(owner="bob")], NOW)
        assert bob.job.turn == 0


def test_lines_of_other_tasks_and_priorities_are_apart(connection: Connection) -> None:
    with connection.begin():
        asked = [request(), request(), request(priority=1), request(task="m.other"), request(priority=1)]
        assert [one.job.turn for one in writes.submit(connection, asked, NOW)] == [0, STRIDE, 0, 0, STRIDE]


def test_what_another_transaction_wrote_is_found_by_the_next(connection: Connection, tmp_path: Path) -> None:
    with connection.begin():
        writes.submit(connection, [request()], NOW)
    with SqliteDatabase(tmp_path / "lines.db").connect(writes=True) as other, other.begin():
        writes.submit(other, [request() for _ in range(3)], NOW)
    with connection.begin():
        assert writes.submit(connection, [request()], NOW)[0].job.turn == 4 * STRIDE


def test_what_has_run_before_takes_the_head_and_moves_nobody(connection: Connection) -> None:
    with connection.begin():
        (first, second) = writes.submit(connection, [request(), request()], NOW)
        lines = Lines(connection)
        again = lines.lined_up(replace(first.job, turn=None, spent=Spent(interruptions=1)))
        assert (again.turn, second.job.turn) == (0, STRIDE)
        assert lines.lined_up(replace(first.job, turn=None)).turn == 2 * STRIDE


def test_jobs_become_due_in_bounded_numbers(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "LINED_UP_AT_ONCE", 3)
    with connection.begin():
        asked = [request(run_at=NOW + number * SECOND) for number in range(1, 8)]
        made = [submission.job for submission in writes.submit(connection, asked, NOW)]
        later = NOW + 10 * SECOND
        writes.line_up(connection, [TASK, TASK, "m.none"], later)
        assert [job.id for job in queue.undispatched(connection, [TASK], 9, later)] == [job.id for job in made[:3]]
        claimed = writes.claim(connection, "w", [Want((TASK,), 1)], later, LEASE)
        assert [job.id for job in claimed] == [made[0].id]
        assert len(queue.undispatched(connection, [TASK], 9, later)) == 5
        assert queue.overdue_tasks(connection, [TASK, "m.none"], later) == [TASK]


def test_who_has_many_slots_finds_as_many_jobs_though_all_become_due_at_once(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "LINED_UP_AT_ONCE", 3)
    with connection.begin():
        writes.submit(connection, [request(run_at=NOW + SECOND) for _ in range(7)], NOW)
        claimed = writes.claim(connection, "w", [Want((TASK,), 7)], NOW + SECOND, LEASE)
        assert [job.state for job in claimed] == [JobState.RUNNING] * 7


def test_a_due_job_that_has_no_turn_yet_can_be_claimed_by_id(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "LINED_UP_AT_ONCE", 1)
    with connection.begin():
        asked = [request(run_at=NOW + number * SECOND) for number in range(1, 4)]
        made = [submission.job for submission in writes.submit(connection, asked, NOW)]
        ids = [job.id for job in made[1:]]
        claimed = writes.claim(connection, "w", [Want((TASK,), 1)], NOW + 5 * SECOND, LEASE, ids)
        assert [job.id in ids for job in claimed] == [True]


def test_a_job_that_has_its_turn_keeps_it_when_the_clock_goes_back(connection: Connection) -> None:
    with connection.begin():
        first, second = (one.job for one in writes.submit(connection, [request(), request()], NOW))
        before = NOW - SECOND
        assert [job.id for job in writes.claim(connection, "w", [Want((TASK,), 1)], before, LEASE, [second.id])] == [
            second.id
        ]
        assert [job.id for job in writes.claim(connection, "w", [Want((TASK,), 1)], before, LEASE)] == [first.id]
