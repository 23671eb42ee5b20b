"""Times as whole microseconds since 1970 in UTC: exact, and fast to compare in an index."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def micros(at: datetime) -> int:
    """Return a time as a number."""
    return (at - EPOCH) // MICROSECOND


def moment(value: int) -> datetime:
    """Return the time that `micros` made a number of."""
    return EPOCH + timedelta(microseconds=value)
