"""Jobs and events as rows, both ways."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import compress
from operator import attrgetter, is_not
from typing import Any

import msgspec

from glowplug.artifact import Artifact
from glowplug.job import (
    STRIDE,
    Attempt,
    Budget,
    Checkpoint,
    Failure,
    Follower,
    Job,
    JobEvent,
    JobState,
    Progress,
    Spent,
)
from glowplug.store import Delivery, Try
from glowplug.stores.moments import micros, moment
from glowplug.stores.tables import jobs

_to_json = msgspec.json.Encoder().encode

_TIMES = (
    "created_at",
    "run_at",
    "lease_until",
    "started_at",
    "finished_at",
    "cancel_requested_at",
    "expires_at",
    "dispatched_at",
)

# The type of each JSON column, and the value that NULL stands for.
_JSON: dict[str, tuple[Any, Any]] = {
    "budget": (Budget, Budget()),
    "spent": (Spent, Spent()),
    "metadata": (dict[str, Any], None),
    "progress": (Progress, None),
    "checkpoint": (Checkpoint, None),
    "failure": (Failure, None),
    "attempts": (tuple[Attempt, ...], ()),
    "artifacts": (tuple[Artifact, ...], ()),
    "followers": (tuple[Follower, ...], ()),
    "input": (dict[str, Any], None),
    "result": (Any, None),
}
_read_followers = msgspec.json.Decoder(tuple[Follower, ...]).decode
_read_tries = msgspec.json.Decoder(tuple[Try, ...]).decode
# Interned, because a call with thirty keywords compares each with each unless they are the same objects.
_COLUMNS = tuple(sys.intern(str(column.name)) for column in jobs.columns)
_DECODERS = tuple((name, msgspec.json.Decoder(kind).decode, default) for name, (kind, default) in _JSON.items())
_states = {state.value: state for state in JobState}


def to_text(value: Any) -> str:
    """Return a value as JSON text."""
    return _to_json(value).decode()


def _optional_micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def _json_or_null(default: Any) -> Callable[[Any], str | None]:
    def encode(value: Any) -> str | None:
        return None if value is default or value == default else _to_json(value).decode()

    return encode


def _as_is(value: Any) -> Any:
    return value


def _stride_or_null(stride: int) -> int | None:
    return None if stride == STRIDE else stride


def _encoder(name: str) -> Callable[[Any], Any]:
    if name == "state":
        return attrgetter("value")
    if name == "stride":
        return _stride_or_null
    if name in _JSON:
        return _json_or_null(_JSON[name][1])
    return _optional_micros if name in _TIMES else _as_is


_ENCODERS = tuple((name, _encoder(name)) for name in _COLUMNS)
_values = attrgetter(*_COLUMNS)


def job_row(job: Job) -> dict[str, Any]:
    """Return every column of a job."""
    return {name: encode(getattr(job, name)) for name, encode in _ENCODERS}


def changed_columns(before: Job, after: Job) -> dict[str, Any]:
    """Return the columns in which `after` differs from `before`."""
    new = _values(after)
    differs = map(is_not, new, _values(before))
    return {name: encode(value) for (name, encode), value in compress(zip(_ENCODERS, new, strict=True), differs)}


def job_of(row: Sequence[Any]) -> Job:
    """Rebuild a job from all its columns, in the table's order."""
    fields = dict(zip(_COLUMNS, row, strict=True))
    for name in _TIMES:
        if fields[name] is not None:
            fields[name] = moment(fields[name])
    for name, decode, default in _DECODERS:
        text = fields[name]
        fields[name] = default if text is None else decode(text)
    fields["state"] = _states[fields["state"]]
    fields["stride"] = fields["stride"] or STRIDE
    return Job(**fields)


def followers_of(text: str | None) -> tuple[Follower, ...]:
    """Rebuild the followers of a job from their column."""
    return _read_followers(text) if text else ()


def event_row(event: JobEvent) -> dict[str, Any]:
    """Return the columns of an event."""
    return {
        "job_id": event.job_id,
        "seq": event.seq,
        "type": event.type,
        "at": micros(event.at),
        "data": _to_json(event.data).decode() if event.data else None,
    }


def event_of(row: Sequence[Any]) -> JobEvent:
    """Rebuild an event from its columns, in the table's order."""
    job_id, seq, kind, at, data = row
    return JobEvent(job_id, seq, kind, moment(at), msgspec.json.decode(data) if data else {})


def delivery_row(delivery: Delivery) -> dict[str, Any]:
    """Return the columns of a delivery."""
    return {
        "job_id": delivery.job_id,
        "door": delivery.door,
        "seq": delivery.seq,
        "due_at": _optional_micros(delivery.due_at),
        "failures": delivery.failures,
        "failing_since": _optional_micros(delivery.failing_since),
        "given_up": delivery.given_up,
        "tries": to_text(delivery.tries) if delivery.tries else None,
    }


def delivery_of(row: Sequence[Any]) -> Delivery:
    """Rebuild a delivery from its columns, in the table's order."""
    job_id, door, seq, due_at, failures, failing_since, given_up, tries = row
    return Delivery(
        job_id=job_id,
        door=door,
        seq=seq,
        due_at=None if due_at is None else moment(due_at),
        failures=failures,
        failing_since=None if failing_since is None else moment(failing_since),
        given_up=bool(given_up),
        tries=_read_tries(tries) if tries else (),
    )
