"""How SQLite means to answer: the statements of the hot paths read an index, not the table.

A plan is a promise for a million rows that a timed test on ten could not make.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ClauseElement, Connection, event
from sqlalchemy.dialects import postgresql, sqlite

from glowplug.job import JobState, Outcome, OutcomeKind
from glowplug.store import Hold, JobFilter, Settlement, Want
from glowplug.stores import changes, deliveries, queue, reads, writes
from glowplug.stores.schema import ensure_schema
from glowplug.stores.sqlite import SqliteDatabase
from glowplug.testing.work import request

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=60)
ENDED_OR_RUNNING = [state for state in JobState if state is not JobState.QUEUED]


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


def jobs_steps(plans: Plans) -> list[str]:
    """Return the steps that look at jobs, but for those that find one by its id."""
    return [step for step in plans.taken() if "jobs" in step and "(id=?)" not in step]


def test_a_claim_reads_the_queue_s_index(plans: Plans) -> None:
    assert len(writes.claim(plans.connection, "w", [Want(("model.task",), 5)], NOW, LEASE)) == 5
    assert plans.taken() == [
        "SEARCH jobs USING INDEX jobs_later (task=? AND run_at<?)",
        "SEARCH jobs USING INDEX jobs_queue (task=?)",
        "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id=?)",
    ]


def test_a_claim_by_id_looks_at_those_jobs_alone(plans: Plans) -> None:
    (job,) = queue.undispatched(plans.connection, ["model.task"], 1, NOW)
    plans.taken()
    assert writes.claim(plans.connection, "w", [Want(("model.task",), 5)], NOW, LEASE, [job.id])
    assert set(plans.taken()) == {"SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id=?)"}


def test_jobs_that_become_due_are_found_among_those_for_later(plans: Plans) -> None:
    writes.submit(plans.connection, [request(run_at=NOW + LEASE) for _ in range(3)], NOW)
    plans.taken()
    assert queue.overdue_tasks(plans.connection, ["model.task"], NOW + LEASE) == ["model.task"]
    writes.line_up(plans.connection, ["model.task"], NOW + LEASE)
    steps = jobs_steps(plans)
    assert [step for step in steps if "jobs_later" in step] == [
        "SEARCH jobs USING INDEX jobs_later (task=? AND run_at<?)",
        "SEARCH jobs USING INDEX jobs_later (task=? AND run_at<?)",
    ]


def test_the_ends_of_a_line_are_read_from_its_indexes(plans: Plans) -> None:
    writes.submit(plans.connection, [request(owner="ann")], NOW)
    assert jobs_steps(plans) == [
        "SEARCH jobs USING INDEX jobs_queue (task=? AND priority=? AND turn>?)",
        "SEARCH jobs USING INDEX jobs_owner_line (task=? AND priority=? AND owner=? AND turn>?)",
    ]


def test_the_ends_of_a_line_are_looked_for_once_in_a_transaction_until_a_job_leaves_it(plans: Plans) -> None:
    writes.submit(plans.connection, [request()], NOW)
    assert jobs_steps(plans) == []
    writes.claim(plans.connection, "w", [Want(("model.task",), 1)], NOW, LEASE)
    plans.taken()
    writes.submit(plans.connection, [request()], NOW)
    assert len(jobs_steps(plans)) == 2


def test_what_has_expired_is_found_among_what_can(plans: Plans) -> None:
    writes.expire(plans.connection, NOW, 10)
    assert plans.taken() == ["SEARCH jobs USING INDEX jobs_expiry (expires_at>? AND expires_at<?)"]


def test_what_has_no_hint_is_found_in_the_order_of_claims(plans: Plans) -> None:
    assert len(queue.undispatched(plans.connection, ["model.task"], 5, NOW)) == 5
    assert plans.taken() == ["SEARCH jobs USING INDEX jobs_queue (task=?)"]


def test_lost_hints_are_found_among_those_that_were_given(plans: Plans) -> None:
    writes.mark_lost(plans.connection, ["model.task"], NOW)
    assert plans.taken() == ["SEARCH jobs USING INDEX jobs_dispatched (task=? AND dispatched_at>? AND dispatched_at<?)"]


def test_deliveries_are_found_by_their_time(plans: Plans) -> None:
    deliveries.undelivered(plans.connection, "hook", NOW, 10)
    deliveries.next_delivery_seconds(plans.connection, "hook", NOW)
    assert all("deliveries_due (door=?" in step for step in plans.taken())


def test_the_newest_of_an_owner_are_read_from_their_index(plans: Plans) -> None:
    reads.nth_newest(plans.connection, "local", 10, None)
    assert plans.taken() == ["SEARCH jobs USING COVERING INDEX jobs_by_owner (owner=?)"]


def test_an_end_finds_its_job_by_id(plans: Plans) -> None:
    (job,) = writes.claim(plans.connection, "w", [Want(("model.task",), 1)], NOW, LEASE)
    plans.taken()
    done = Settlement(Hold(job.id, job.token), Outcome(OutcomeKind.COMPLETED))
    writes.settle_all(plans.connection, [done], NOW, lambda: 1.0)
    assert set(plans.taken()) == {"SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id=?)"}


def test_a_key_is_found_by_its_index(plans: Plans) -> None:
    writes.submit(plans.connection, [request(key="k1"), request(key="new")], NOW)
    assert "SEARCH jobs USING INDEX jobs_key (owner=? AND key=?)" in plans.taken()


def test_the_queue_is_counted_in_its_index(plans: Plans) -> None:
    queue.depths(plans.connection, NOW)
    scan, *steps = [step for step in plans.taken() if " jobs " in step]
    # Whichever of those that hold the jobs in line: they are as good as each other for that.
    assert scan in [f"SCAN jobs USING INDEX jobs_{name}" for name in ("due", "queue", "owner_line")]
    assert steps == [
        "SEARCH jobs USING INDEX jobs_due (task=?)",
        "SCAN jobs USING INDEX jobs_later",
        "SEARCH jobs USING INDEX jobs_later (task=?)",
        "SCAN jobs USING COVERING INDEX jobs_dispatched",
        "SEARCH jobs USING INDEX jobs_lease (lease_until>?)",
    ]


@pytest.mark.parametrize(("delay", "index"), [(timedelta(0), "jobs_queue"), (LEASE, "jobs_queue")])
def test_a_position_is_counted_in_the_indexes_of_the_lines(plans: Plans, delay: timedelta, index: str) -> None:
    (submission,) = writes.submit(plans.connection, [request(run_at=NOW + delay)], NOW)
    plans.taken()
    assert queue.standing(plans.connection, submission.job.id, 100, NOW) == queue.Standing(20, None)
    counted = [step for step in jobs_steps(plans) if "jobs_later" not in step]
    # What stands above a priority is a range of either index; a place among equals is one of the queue's alone.
    assert [step.split()[4] for step in counted] in (["jobs_owner_line", index], ["jobs_queue", index])


def test_the_next_due_time_is_read_from_an_index_by_time(plans: Plans) -> None:
    queue.next_due_seconds(plans.connection, ["model.other"], NOW)
    assert plans.taken() == [f"SEARCH jobs USING INDEX {index} (task=?)" for index in ("jobs_due", "jobs_later")]


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
        (JobFilter(states=(JobState.QUEUED,), owner="ann"), "jobs_by_owner"),
        *((JobFilter(states=(state,), owner="ann"), f"jobs_{state.value}_by_owner") for state in ENDED_OR_RUNNING),
    ],
)
@pytest.mark.parametrize("cursor", [None, "1767225600000000-0a"])
def test_a_page_is_a_range_of_one_index(plans: Plans, where: JobFilter, index: str, cursor: str | None) -> None:
    reads.job_page(plans.connection, where, cursor, 10)
    (step,) = plans.taken()
    assert step.split()[4] == index


def test_events_are_a_range_of_their_key(plans: Plans) -> None:
    reads.job_events(plans.connection, "x", 5, 10)
    assert plans.taken() == ["SEARCH events USING PRIMARY KEY (job_id=? AND seq>?)"]


def said_to_postgres(statement: ClauseElement) -> str:
    return str(statement.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("statement", [queue._DUE, queue._OVERDUE, queue._EXPIRED, writes._ENDED])
def test_a_database_with_row_locks_would_hand_out_only_what_nobody_else_looks_at(statement: ClauseElement) -> None:
    assert "FOR UPDATE SKIP LOCKED" in said_to_postgres(statement)
    assert "FOR UPDATE" not in str(statement.compile(dialect=sqlite.dialect()))


@pytest.mark.parametrize("statement", [queue._CHOSEN, changes._LOAD, deliveries._LOCK])
def test_jobs_asked_for_by_id_are_waited_for_and_locked_in_one_order(statement: ClauseElement) -> None:
    assert "ORDER BY jobs.id FOR UPDATE" in said_to_postgres(statement).replace("\n", "").replace("  ", " ")
    assert "SKIP LOCKED" not in said_to_postgres(statement)


@pytest.mark.parametrize("statement", [writes._LEAD, deliveries._WAKE, deliveries._SAVE, writes._SAVE_WORKER])
def test_what_may_be_there_is_written_over_in_one_statement_on_both(statement: ClauseElement) -> None:
    said = [said_to_postgres(statement), str(statement.compile(dialect=sqlite.dialect()))]
    assert len({one.partition("ON CONFLICT")[2].partition(" WHERE")[0] for one in said}) == 1
