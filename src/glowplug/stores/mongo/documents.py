"""Jobs as documents, both ways.

A document has the columns of a row, absent where a row has NULL: payloads are JSON text, because BSON refuses keys and
numbers that JSON allows. Beside them stand `rev`, the guard of every write, the events that are not in their own
collection yet, the deliveries, and a few fields that exist only for an index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import msgspec
from bson.int64 import Int64

from glowplug.job import Job, JobEvent, JobState
from glowplug.store import Delivery
from glowplug.stores.moments import micros, moment
from glowplug.stores.rows import changed_columns, job_of, job_row
from glowplug.stores.tables import jobs

Document = dict[str, Any]

_COLUMNS = tuple(str(column.name) for column in jobs.columns)


@dataclass(frozen=True, slots=True)
class Told:
    """A delivery, and the number of the last event that its follower wants."""

    delivery: Delivery
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """A job's document as it was read, or as it is to be."""

    job: Job
    rev: int = 1
    news: tuple[JobEvent, ...] = ()
    told: tuple[Told, ...] = ()


_read_told = msgspec.json.Decoder(tuple[Told, ...]).decode
_write_told = msgspec.json.Encoder().encode


def document_of(record: Record) -> Document:
    """Return the whole document of a record."""
    columns = {name: value for name, value in job_row(record.job).items() if value is not None}
    return {"_id": columns.pop("id"), "rev": record.rev, **columns, **_beside(record)}


def record_of(document: Mapping[str, Any]) -> Record:
    """Rebuild a record; fields that were not asked for are as if absent."""
    row = [_plain(document.get(name)) for name in _COLUMNS]
    row[_COLUMNS.index("id")] = document["_id"]
    job = job_of(row)
    told = document.get("told")
    news = tuple(event_of(job.id, entry) for entry in document.get("news", ()))
    return Record(job, int(document["rev"]), news, _read_told(told) if told else ())


def update_of(before: Record, after: Record) -> Document:
    """Return the update that makes one document of the other; it moves `rev` on."""
    columns = changed_columns(before.job, after.job)
    columns.pop("id", None)
    old, new = _beside(before), _beside(after)
    columns |= {name: new.get(name) for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    absent = {name: True for name, value in columns.items() if value is None}
    present = {name: value for name, value in columns.items() if value is not None}
    update: Document = {"$inc": {"rev": 1}}
    return update | ({"$set": present} if present else {}) | ({"$unset": absent} if absent else {})


def event_document(event: JobEvent) -> Document:
    """Return the document of an event in the collection of events."""
    return {"job_id": event.job_id, **_entry(event)}


def event_of(job_id: str, entry: Mapping[str, Any]) -> JobEvent:
    """Rebuild an event from its document or from its entry in the job's."""
    data = entry.get("data")
    at = moment(int(entry["at"]))
    return JobEvent(job_id, int(entry["seq"]), entry["type"], at, msgspec.json.decode(data) if data else {})


def door_field(door: str) -> str:
    """Return the name of the field that says when a door is to be told."""
    return "to " + quote(door, safe=" ").replace(".", "%2E")


def _entry(event: JobEvent) -> Document:
    data = {"data": msgspec.json.encode(event.data).decode()} if event.data else {}
    return {"seq": event.seq, "type": event.type, "at": micros(event.at)} | data


def _beside(record: Record) -> Document:
    """Return the fields that are not columns: for the indexes, for the change stream, for doors."""
    job = record.job
    queued = job.state is JobState.QUEUED
    fields: Document = {
        "live": job.state.value if queued or job.state is JobState.RUNNING else None,
        "later_at": micros(job.run_at) if queued and job.turn is None else None,
        "lapses_at": micros(job.expires_at) if queued and job.expires_at is not None else None,
        "heard": f"{job.last_seq} {job.task}",
        "news": [_entry(event) for event in record.news] or None,
        "told": _write_told(record.told).decode() if record.told else None,
        "due": _due(record.told) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _due(told: Iterable[Told]) -> dict[str, int]:
    deliveries = (one.delivery for one in told)
    return {door_field(one.door): micros(one.due_at) for one in deliveries if one.due_at is not None}


def _plain(value: Any) -> Any:
    # The driver's own kind of number would be carried into jobs, and from there into JSON.
    return int(value) if isinstance(value, Int64) else value


def with_told(record: Record, told: Told) -> Record:
    """Return the record with one door's delivery put in its place, by door."""
    others = [one for one in record.told if one.delivery.door != told.delivery.door]
    return replace(record, told=tuple(sorted([*others, told], key=lambda one: one.delivery.door)))
