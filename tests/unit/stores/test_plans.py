"""How SQLite means to answer: the statements of the hot paths read an index, not the table.

A plan is a promise for a million rows that a timed test on ten could not make.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.dialects import postgresql, sqlite

from glowplug.job import JobState, Outcome, OutcomeKind
from glowplug.store import Hold, JobFilter, Settlement, Want
from glowplug.stores import queue, reads, writes
from glowplug.stores.schema import ensure_schema
from glowplug.stores.sqlite import SqliteDatabase
from glowplug.testing.work import request

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=60)


class Plans:
    """Remembers the plan of every statement that a connection runs."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._statements: list[tuple[str, Any]] = []
        event.listen(connection.engine, "before_cursor_execute", self._remember)

    def _remember(self, _: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            self._statements.append((statement, parameters))

    def taken(self) -> list[str]:
        """Return the steps of all plans since the last call."""
        statements, self._statements = self._statements, []
        return [step for statement in statements for step in self._steps(*statement)]

    def _steps(self, statement: str, parameters: Any) -> list[str]:
        cursor = self.connection.connection.cursor()
        shown = parameters[0] if isinstance(parameters, list) else parameters
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", shown)
        steps = [row[3] for row in cursor.fetchall()]
        cursor.close()
        return steps


@pytest.fixture
def plans(tmp_path: Path) -> Iterator[Plans]:
    database = SqliteDatabase(tmp_path / "plans.db")
    database.prepare()
    with database.connect(writes=True) as connection, connection.begin():
        ensure_schema(connection)
        writes.submit(connection, [request(key=f"k{number}") for number in range(20)], NOW)
        plans = Plans(connection)
        plans.taken()
        yield plans


def test_a_claim_reads_the_queue_s_index(plans: Plans) -> None:
    assert len(writes.claim(plans.connection, "w", [Want(("model.task",), 5)], NOW, LEASE)) == 5
    assert plans.taken() == [
        "SEARCH jobs USING INDEX jobs_queue (task=? AND priority=? AND run_at<?)",
        "SCALAR SUBQUERY 1",
        "SEARCH jobs USING INDEX jobs_queue (task=? AND priority<?)",
        "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id=?)",
    ]


def test_an_end_finds_its_job_by_id(plans: Plans) -> None:
    (job,) = writes.claim(plans.connection, "w", [Want(("model.task",), 1)], NOW, LEASE)
    plans.taken()
    done = Settlement(Hold(job.id, job.token), Outcome(OutcomeKind.COMPLETED))
    writes.settle_all(plans.connection, [done], NOW, lambda: 1.0)
    assert set(plans.taken()) == {"SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id=?)"}


def test_a_key_is_found_by_its_index(plans: Plans) -> None:
    writes.submit(plans.connection, [request(key="k1"), request(key="new")], NOW)
    assert plans.taken() == ["SEARCH jobs USING INDEX jobs_key (owner=? AND key=?)"]


def test_the_queue_is_counted_in_its_index(plans: Plans) -> None:
    queue.depths(plans.connection, NOW)
    assert plans.taken() == [
        "SCAN jobs USING INDEX jobs_queue",
        "SEARCH jobs USING INDEX jobs_lease (lease_until>?)",
    ]


def test_a_position_is_counted_in_the_queue_s_index(plans: Plans) -> None:
    (job,) = reads.job_page(plans.connection, JobFilter(), None, 1).jobs
    plans.taken()
    assert queue.position(plans.connection, job.id, 100, NOW) is not None
    assert not [step for step in plans.taken() if "jobs" in step and "jobs_queue" not in step and "(id=?)" not in step]


def test_the_next_due_time_is_read_from_the_queue_s_index(plans: Plans) -> None:
    queue.next_due_seconds(plans.connection, ["model.task"], NOW)
    assert all("jobs_queue" in step for step in plans.taken())


def test_leases_are_found_among_the_running_alone(plans: Plans) -> None:
    reads.expired(plans.connection, NOW, 10)
    reads.held_by(plans.connection, "w")
    assert all("jobs_lease" in step or "ORDER BY" in step for step in plans.taken())


def test_what_is_old_is_found_among_the_ended_alone(plans: Plans) -> None:
    writes.clean(plans.connection, NOW, 10)
    assert all("jobs_ended" in step for step in plans.taken())


@pytest.mark.parametrize(
    ("where", "index"),
    [
        (JobFilter(), "jobs_created"),
        (JobFilter(task="m.t"), "jobs_by_task"),
        (JobFilter(owner="ann"), "jobs_by_owner"),
        (JobFilter(batch_id="b"), "jobs_by_batch"),
        *((JobFilter(states=(state,)), f"jobs_{state.value}") for state in JobState),
    ],
)
@pytest.mark.parametrize("cursor", [None, "1767225600000000-0a"])
def test_a_page_is_a_range_of_one_index(plans: Plans, where: JobFilter, index: str, cursor: str | None) -> None:
    reads.job_page(plans.connection, where, cursor, 10)
    (step,) = plans.taken()
    assert f"USING INDEX {index}" in step


def test_events_are_a_range_of_their_key(plans: Plans) -> None:
    reads.job_events(plans.connection, "x", 5, 10)
    assert plans.taken() == ["SEARCH events USING PRIMARY KEY (job_id=? AND seq>?)"]


def test_a_database_with_row_locks_would_hand_out_only_what_nobody_else_looks_at() -> None:
    assert "FOR UPDATE SKIP LOCKED" in str(queue._DUE.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert "FOR UPDATE" not in str(queue._DUE.compile(dialect=sqlite.dialect()))
