"""The tables: columns that queries look at are plain, the rest is JSON text.

Times are whole microseconds since 1970 in UTC, so that an index compares integers. NULL in a JSON column stands for
the field's default. The big columns come last, because SQLite reads a row from its start.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    and_,
    literal_column,
)

from glowplug.job import JobState

REVISION = "0002"

metadata = MetaData()

revisions = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("task", String(200), nullable=False),
    Column("owner", String(200), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("run_at", BigInteger, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("key", String(200)),
    Column("request_hash", String(64), nullable=False),
    Column("batch_id", String(64)),
    Column("attempt", Integer, nullable=False),
    Column("token", Integer, nullable=False),
    Column("last_seq", Integer, nullable=False),
    Column("worker_id", String(200)),
    Column("lease_until", BigInteger),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("cancel_requested_at", BigInteger),
    Column("expires_at", BigInteger),
    Column("stride", BigInteger),
    Column("turn", BigInteger),
    Column("dispatched_at", BigInteger),
    Column("webhook", Text),
    Column("budget", Text),
    Column("spent", Text),
    Column("metadata", Text),
    Column("progress", Text),
    Column("checkpoint", Text),
    Column("failure", Text),
    Column("attempts", Text),
    Column("artifacts", Text),
    Column("followers", Text),
    Column("input", Text, nullable=False),
    Column("result", Text),
)

events = Table(
    "events",
    metadata,
    Column("job_id", String(32), ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("type", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("data", Text),
    sqlite_with_rowid=False,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("job_id", String(32), ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("door", String(200), primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("due_at", BigInteger),
    Column("failures", Integer, nullable=False),
    Column("failing_since", BigInteger),
    Column("given_up", Boolean, nullable=False),
    Column("tries", Text),
)

duties = Table(
    "duties",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("holder", String(200), nullable=False),
    Column("until", BigInteger, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("instance_id", String(200), primary_key=True),
    Column("record", Text, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("info", Text, nullable=False),
)

# Written out, not bound: a planner matches a partial index only against what it can read in the statement.
STATE_IS = {state: jobs.c.state == literal_column(f"'{state.value}'") for state in JobState}
IS_QUEUED, IS_RUNNING = STATE_IS[JobState.QUEUED], STATE_IS[JobState.RUNNING]
# Every running job has a lease; to say so leads a planner to that index, whatever order or grouping is asked for.
IS_LEASED = (IS_RUNNING, jobs.c.lease_until.is_not(None))
HAS_KEY = jobs.c.key.is_not(None)
HAS_BATCH = jobs.c.batch_id.is_not(None)
HAS_ENDED = jobs.c.finished_at.is_not(None)
IS_LINED_UP = and_(IS_QUEUED, jobs.c.turn.is_not(None))
IS_FOR_LATER = and_(IS_QUEUED, jobs.c.turn.is_(None))
IS_DISPATCHED = jobs.c.dispatched_at.is_not(None)
HAS_EXPIRY = and_(IS_QUEUED, jobs.c.expires_at.is_not(None))
IS_TO_DELIVER = deliveries.c.due_at.is_not(None)

Index(
    "jobs_queue",
    jobs.c.task,
    jobs.c.priority.desc(),
    jobs.c.turn,
    jobs.c.id,
    sqlite_where=IS_LINED_UP,
    postgresql_where=IS_LINED_UP,
)
Index(
    "jobs_owner_line",
    jobs.c.task,
    jobs.c.priority,
    jobs.c.owner,
    jobs.c.turn,
    sqlite_where=IS_LINED_UP,
    postgresql_where=IS_LINED_UP,
)
Index("jobs_due", jobs.c.task, jobs.c.run_at, sqlite_where=IS_LINED_UP, postgresql_where=IS_LINED_UP)
Index("jobs_later", jobs.c.task, jobs.c.run_at, jobs.c.id, sqlite_where=IS_FOR_LATER, postgresql_where=IS_FOR_LATER)
Index("jobs_dispatched", jobs.c.task, jobs.c.dispatched_at, sqlite_where=IS_DISPATCHED, postgresql_where=IS_DISPATCHED)
Index("jobs_expiry", jobs.c.expires_at, jobs.c.id, sqlite_where=HAS_EXPIRY, postgresql_where=HAS_EXPIRY)
Index(
    "deliveries_due",
    deliveries.c.door,
    deliveries.c.due_at,
    deliveries.c.job_id,
    sqlite_where=IS_TO_DELIVER,
    postgresql_where=IS_TO_DELIVER,
)
Index("jobs_lease", jobs.c.lease_until, jobs.c.worker_id, sqlite_where=IS_RUNNING, postgresql_where=IS_RUNNING)
Index("jobs_key", jobs.c.owner, jobs.c.key, unique=True, sqlite_where=HAS_KEY, postgresql_where=HAS_KEY)
Index("jobs_ended", jobs.c.finished_at, sqlite_where=HAS_ENDED, postgresql_where=HAS_ENDED)
Index("jobs_created", jobs.c.created_at, jobs.c.id)
for _state, _is in STATE_IS.items():
    # One each and not one for all: SQLite has no statistics, and would take that one to look for the next job.
    Index(f"jobs_{_state.value}", jobs.c.created_at, jobs.c.id, sqlite_where=_is, postgresql_where=_is)
    if _state is not JobState.QUEUED:
        # Beside a million of an owner's jobs that wait, those that failed would be looked for one by one. The state
        # is a column for the planner alone: it takes the index that says most of what is asked.
        Index(
            f"jobs_{_state.value}_by_owner",
            jobs.c.owner,
            jobs.c.state,
            jobs.c.created_at,
            jobs.c.id,
            sqlite_where=_is,
            postgresql_where=_is,
        )
Index("jobs_by_task", jobs.c.task, jobs.c.created_at, jobs.c.id)
Index("jobs_by_owner", jobs.c.owner, jobs.c.created_at, jobs.c.id)
Index(
    "jobs_by_batch",
    jobs.c.batch_id,
    jobs.c.created_at,
    jobs.c.id,
    sqlite_where=HAS_BATCH,
    postgresql_where=HAS_BATCH,
)
