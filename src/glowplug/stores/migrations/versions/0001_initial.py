"""The first tables: jobs, their events, workers, models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

IS_QUEUED = sa.text("state = 'queued'")
IS_RUNNING = sa.text("state = 'running'")
HAS_KEY = sa.text('"key" IS NOT NULL')
HAS_BATCH = sa.text("batch_id IS NOT NULL")
HAS_ENDED = sa.text("finished_at IS NOT NULL")


def upgrade() -> None:
    """Create the tables and their indexes."""
    _create_jobs()
    _create_events()
    op.create_table(
        "workers",
        sa.Column("instance_id", sa.String(200), primary_key=True),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "models",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("info", sa.Text, nullable=False),
    )
    _create_indexes()


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("task", sa.String(200), nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("run_at", sa.BigInteger, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("key", sa.String(200)),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("batch_id", sa.String(64)),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("last_seq", sa.Integer, nullable=False),
        sa.Column("worker_id", sa.String(200)),
        sa.Column("lease_until", sa.BigInteger),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("cancel_requested_at", sa.BigInteger),
        sa.Column("webhook", sa.Text),
        sa.Column("budget", sa.Text),
        sa.Column("spent", sa.Text),
        sa.Column("metadata", sa.Text),
        sa.Column("progress", sa.Text),
        sa.Column("checkpoint", sa.Text),
        sa.Column("failure", sa.Text),
        sa.Column("attempts", sa.Text),
        sa.Column("artifacts", sa.Text),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("result", sa.Text),
    )


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("job_id", sa.String(32), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("data", sa.Text),
        sqlite_with_rowid=False,
    )


def _create_indexes() -> None:
    op.create_index(
        "jobs_queue",
        "jobs",
        ["task", sa.text("priority DESC"), "run_at", "id"],
        sqlite_where=IS_QUEUED,
        postgresql_where=IS_QUEUED,
    )
    op.create_index(
        "jobs_lease", "jobs", ["lease_until", "worker_id"], sqlite_where=IS_RUNNING, postgresql_where=IS_RUNNING
    )
    op.create_index("jobs_key", "jobs", ["owner", "key"], unique=True, sqlite_where=HAS_KEY, postgresql_where=HAS_KEY)
    op.create_index("jobs_ended", "jobs", ["finished_at"], sqlite_where=HAS_ENDED, postgresql_where=HAS_ENDED)
    op.create_index("jobs_created", "jobs", ["created_at", "id"])
    for state in ("queued", "running", "completed", "failed", "canceled"):
        is_state = sa.text(f"state = '{state}'")
        op.create_index(f"jobs_{state}", "jobs", ["created_at", "id"], sqlite_where=is_state, postgresql_where=is_state)
    op.create_index("jobs_by_task", "jobs", ["task", "created_at", "id"])
    op.create_index("jobs_by_owner", "jobs", ["owner", "created_at", "id"])
    op.create_index(
        "jobs_by_batch",
        "jobs",
        ["batch_id", "created_at", "id"],
        sqlite_where=HAS_BATCH,
        postgresql_where=HAS_BATCH,
    )
