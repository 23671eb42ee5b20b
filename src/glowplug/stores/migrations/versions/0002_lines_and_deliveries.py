"""Places in line, expiry and hints of jobs; how far doors were told; who leads a duty."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from glowplug.clock import SystemClock
from glowplug.stores.moments import micros

revision = "0002"
down_revision = "0001"

STRIDE = 1 << 20
IS_LINED_UP = sa.text("state = 'queued' AND turn IS NOT NULL")
IS_FOR_LATER = sa.text("state = 'queued' AND turn IS NULL")
IS_DISPATCHED = sa.text("dispatched_at IS NOT NULL")
HAS_EXPIRY = sa.text("state = 'queued' AND expires_at IS NOT NULL")
IS_TO_DELIVER = sa.text("due_at IS NOT NULL")

# Each owner's jobs one stride apart in the order they had: what `lined_up` would have made of them one by one.
LINE_UP = sa.text(
    f"""
    UPDATE jobs SET turn = lined.place * {STRIDE}
    FROM (
        SELECT id, row_number() OVER (PARTITION BY task, priority, owner ORDER BY run_at, id) - 1 AS place
        FROM jobs WHERE state = 'queued' AND run_at <= :now
    ) AS lined
    WHERE lined.id = jobs.id
    """  # noqa: S608 - a number of ours
)


def upgrade() -> None:
    """Add the columns and tables, and give every job that is due its place in line."""
    for name in ("expires_at", "stride", "turn", "dispatched_at"):
        op.add_column("jobs", sa.Column(name, sa.BigInteger))
    op.add_column("jobs", sa.Column("followers", sa.Text))
    op.execute(LINE_UP.bindparams(now=micros(SystemClock().now())))
    _create_deliveries()
    op.create_table(
        "duties",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("holder", sa.String(200), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    _create_indexes()


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("job_id", sa.String(32), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("door", sa.String(200), primary_key=True),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failing_since", sa.BigInteger),
        sa.Column("given_up", sa.Boolean, nullable=False),
        sa.Column("tries", sa.Text),
    )


def _create_indexes() -> None:
    op.drop_index("jobs_queue", "jobs")
    _create_index("jobs_queue", ["task", sa.text("priority DESC"), "turn", "id"], IS_LINED_UP)
    _create_index("jobs_owner_line", ["task", "priority", "owner", "turn"], IS_LINED_UP)
    _create_index("jobs_due", ["task", "run_at"], IS_LINED_UP)
    _create_index("jobs_later", ["task", "run_at", "id"], IS_FOR_LATER)
    _create_index("jobs_dispatched", ["task", "dispatched_at"], IS_DISPATCHED)
    _create_index("jobs_expiry", ["expires_at", "id"], HAS_EXPIRY)
    for state in ("running", "completed", "failed", "canceled"):
        columns = ["owner", "state", "created_at", "id"]
        _create_index(f"jobs_{state}_by_owner", columns, sa.text(f"state = '{state}'"))
    _create_index("deliveries_due", ["door", "due_at", "job_id"], IS_TO_DELIVER)


def _create_index(name: str, columns: Sequence[str | sa.TextClause], where: sa.TextClause) -> None:
    op.create_index(name, name.partition("_")[0], columns, sqlite_where=where, postgresql_where=where)
