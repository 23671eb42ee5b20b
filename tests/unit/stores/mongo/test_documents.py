"""Jobs as documents: nothing is lost, and an update changes what has changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.job import (
    Follower,
    JobEvent,
    JobRequest,
    JobState,
    Outcome,
    OutcomeKind,
    claimed,
    dispatched,
    lined_up,
    settled,
    submitted,
)
from glowplug.store import Delivery, Try
from glowplug.stores.mongo.changes import told_of
from glowplug.stores.mongo.documents import (
    Record,
    Told,
    document_of,
    door_field,
    event_document,
    event_of,
    record_of,
    update_of,
    with_told,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=60)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), json_values, max_size=3)


def made(**fields: Any) -> Record:
    job, events = submitted(JobRequest(**({"task": "m.a", "input": {"n": 1}} | fields)), NOW)
    return Record(lined_up(job, None, None), news=events)


def through_bson(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document as the server gives it back."""
    back: dict[str, Any] = bson.decode(bson.encode(document))
    return back


def applied(document: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    """Do to a document what the server does with an update."""
    after: dict[str, Any] = document | update.get("$set", {})
    for name in update.get("$unset", {}):
        after.pop(name, None)
    after["rev"] += 1
    return after


@given(input=objects, metadata=objects, owner=st.text(max_size=5), key=st.none() | st.text(max_size=5))
def test_a_job_reads_back_whatever_its_values_are(
    input: dict[str, Any],  # noqa: A002 - the field's name
    metadata: dict[str, Any],
    owner: str,
    key: str | None,
) -> None:
    record = made(input=input, metadata=metadata, owner=owner, key=key, followers=(Follower("d", ("x",)),))
    assert record_of(through_bson(document_of(record))) == record


def test_a_document_read_back_has_plain_numbers() -> None:
    record = record_of(through_bson(document_of(made(stride=2**30))))
    assert {type(value) for value in (record.rev, record.job.turn, record.job.stride, record.job.last_seq)} == {int}


def test_what_is_absent_in_a_row_is_absent_in_a_document() -> None:
    document = document_of(made())
    assert None not in document.values()
    assert not {"key", "batch_id", "lease_until", "result", "told", "due", "later_at", "lapses_at"} & set(document)


def test_an_update_makes_one_document_of_the_other() -> None:
    record = made(followers=(Follower("d"),), expires_at=NOW + LEASE)
    steps = [record]
    marked = replace(record, job=dispatched(record.job, NOW))
    steps.append(marked)
    job, events = claimed(marked.job, "w", NOW, LEASE)
    steps.append(told_of(Record(job, 2, (*record.news, *events), record.told), events))
    job, events = settled(job, Outcome(OutcomeKind.COMPLETED, result={"n": 1}), NOW)
    steps.append(told_of(Record(job, 3, events, steps[-1].told), events))
    for before, after in pairwise(steps):
        document = through_bson(document_of(before))
        read = record_of(document)
        # Compared by what the store would have read, as a store does.
        expected = document_of(after) | {"rev": document["rev"] + 1}
        assert applied(document, update_of(read, after)) == expected


def test_an_update_names_only_what_has_changed() -> None:
    record = record_of(through_bson(document_of(made(input={"text": "x" * 1000}))))
    update = update_of(record, replace(record, job=dispatched(record.job, NOW)))
    assert update == {"$inc": {"rev": 1}, "$set": {"dispatched_at": 1767225600000000}}
    assert update_of(record, record) == {"$inc": {"rev": 1}}


@pytest.mark.parametrize(
    ("state", "turn", "fields"),
    [
        (JobState.QUEUED, None, {"live": "queued", "later_at": 1767225600000000, "lapses_at": 1767225660000000}),
        (JobState.QUEUED, 3, {"live": "queued", "turn": 3, "lapses_at": 1767225660000000}),
        (JobState.RUNNING, None, {"live": "running"}),
        (JobState.COMPLETED, None, {}),
    ],
)
def test_a_document_is_in_the_indexes_of_its_state_alone(
    state: JobState, turn: int | None, fields: dict[str, Any]
) -> None:
    job = replace(made(expires_at=NOW + LEASE).job, state=state, turn=turn)
    document = document_of(Record(job))
    indexed = {"live", "later_at", "lapses_at", "turn"}
    assert {name: value for name, value in document.items() if name in indexed} == fields


# Events and deliveries.


@given(data=objects, seq=st.integers(1, 2**31), kind=st.text(max_size=5))
def test_an_event_reads_back(data: dict[str, Any], seq: int, kind: str) -> None:
    event = JobEvent("j", seq, kind, NOW + timedelta(microseconds=7), data)
    assert event_of("j", through_bson(event_document(event))) == event


@given(st.lists(st.text(max_size=6), unique=True))
def test_each_door_has_a_field_of_its_own_that_a_query_can_name(doors: list[str]) -> None:
    names = [door_field(door) for door in doors]
    assert len(set(names)) == len(doors)
    for name in names:
        assert name
        assert "." not in name
        assert not name.startswith("$")
        assert "\0" not in name


def test_deliveries_read_back_and_the_due_ones_have_their_field() -> None:
    tries = (Try(NOW, 3, "refused", 500, 0.25),)
    waiting = Delivery(job_id="j", door="a.b", seq=2, failures=1, failing_since=NOW, tries=tries)
    due = Delivery(job_id="j", door="c", due_at=NOW)
    record = with_told(with_told(made(), Told(waiting, 4)), Told(due, 1))
    document = through_bson(document_of(record))
    assert record_of(document).told == (Told(waiting, 4), Told(due, 1))
    assert document["due"] == {door_field("c"): 1767225600000000}


def test_a_delivery_takes_the_place_of_the_one_before() -> None:
    first, second = (Told(Delivery(job_id="j", door="d", seq=seq)) for seq in (1, 2))
    assert with_told(with_told(made(), first), second).told == (second,)


def test_an_event_that_a_follower_wants_makes_its_delivery_due_and_is_remembered() -> None:
    record = made(followers=(Follower("all"), Follower("ends", ("completed",))))
    told = told_of(record, record.news).told
    assert told == (Told(Delivery(job_id=record.job.id, door="all", due_at=NOW), 1),)
    later = JobEvent(record.job.id, 5, "completed", NOW + LEASE)
    both = told_of(replace(record, told=told), [later]).told
    assert [(one.delivery.door, one.wanted, one.delivery.due_at) for one in both] == [
        ("all", 5, NOW),
        ("ends", 5, NOW + LEASE),
    ]


def test_a_delivery_that_was_given_up_stays_so() -> None:
    given_up = Told(Delivery(job_id="j", door="d", given_up=True), 1)
    record = replace(made(followers=(Follower("d"),)), told=(given_up,))
    (told,) = told_of(record, [JobEvent(record.job.id, 2, "started", NOW)]).told
    assert told == Told(given_up.delivery, 2)
