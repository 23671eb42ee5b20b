"""A job that goes into a row comes out as it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.artifact import Artifact
from glowplug.job import (
    Attempt,
    Budget,
    Checkpoint,
    Failure,
    Follower,
    Job,
    JobEvent,
    JobRequest,
    JobState,
    OutcomeKind,
    Progress,
    Spent,
    claimed,
    submitted,
)
from glowplug.store import Delivery, Try
from glowplug.stores.moments import EPOCH, micros, moment
from glowplug.stores.rows import (
    changed_columns,
    delivery_of,
    delivery_row,
    event_of,
    event_row,
    followers_of,
    job_of,
    job_row,
)
from glowplug.stores.tables import deliveries, events, jobs

NOW = datetime(2026, 1, 1, tzinfo=UTC)

texts = st.text(st.characters(codec="utf-8"), max_size=10)
floats = st.floats(allow_nan=False, allow_infinity=False)
times = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
objects = st.dictionaries(texts, json_values, max_size=3)
counts = st.integers(0, 2**31 - 1)
artifacts = st.builds(Artifact, texts, counts, texts, texts)
failures = st.builds(Failure, texts, texts, st.booleans(), objects)
progress = st.builds(Progress, floats, st.none() | floats, texts, st.none() | texts)
checkpoints = st.builds(Checkpoint, counts, artifacts, texts)
attempts = st.builds(
    Attempt,
    counts,
    counts,
    texts,
    times,
    st.none() | times,
    st.none() | st.sampled_from(OutcomeKind),
    st.none() | failures,
)
followers = st.builds(Follower, texts, st.lists(texts, max_size=2).map(tuple))
any_job = st.builds(
    Job,
    id=texts,
    task=texts,
    input=objects,
    owner=texts,
    state=st.sampled_from(JobState),
    created_at=times,
    run_at=times,
    key=st.none() | texts,
    priority=st.integers(-(2**31) + 1, 2**31 - 1),
    webhook=st.none() | texts,
    metadata=objects,
    batch_id=st.none() | texts,
    budget=st.builds(Budget, counts, counts, floats, floats),
    spent=st.builds(Spent, counts, counts, counts),
    attempts=st.lists(attempts, max_size=3).map(tuple),
    attempt=counts,
    token=counts,
    last_seq=counts,
    worker_id=st.none() | texts,
    lease_until=st.none() | times,
    started_at=st.none() | times,
    finished_at=st.none() | times,
    cancel_requested_at=st.none() | times,
    progress=st.none() | progress,
    checkpoint=st.none() | checkpoints,
    result=json_values,
    artifacts=st.lists(artifacts, max_size=2).map(tuple),
    failure=st.none() | failures,
    expires_at=st.none() | times,
    stride=st.integers(1, 2**31 - 1),
    turn=st.none() | st.integers(0, 2**62),
    dispatched_at=st.none() | times,
    followers=st.lists(followers, max_size=2).map(tuple),
)
tries = st.builds(Try, times, counts, texts, st.none() | counts, floats)
any_delivery = st.builds(
    Delivery,
    job_id=texts,
    door=texts,
    seq=counts,
    due_at=st.none() | times,
    failures=counts,
    failing_since=st.none() | times,
    given_up=st.booleans(),
    tries=st.lists(tries, max_size=3).map(tuple),
)


def make_job() -> Job:
    return submitted(JobRequest(task="m.t", input={"a": 1}), NOW)[0]


@given(any_job)
def test_any_job_comes_out_as_it_went_in(job: Job) -> None:
    assert job_of(tuple(job_row(job).values())) == job


@given(st.builds(JobEvent, texts, counts, texts, times, objects))
def test_any_event_comes_out_as_it_went_in(event: JobEvent) -> None:
    assert event_of(tuple(event_row(event).values())) == event


@given(any_delivery)
def test_any_delivery_comes_out_as_it_went_in(delivery: Delivery) -> None:
    assert delivery_of(tuple(delivery_row(delivery).values())) == delivery


@given(any_job)
def test_followers_can_be_read_by_themselves(job: Job) -> None:
    assert followers_of(job_row(job)["followers"]) == job.followers


@given(any_job, any_job)
def test_a_row_that_gets_the_changed_columns_is_the_row_of_the_changed_job(before: Job, after: Job) -> None:
    assert job_row(before) | changed_columns(before, after) == job_row(after)


def test_rows_have_the_columns_of_their_tables_in_order() -> None:
    assert list(job_row(make_job())) == [column.name for column in jobs.columns]
    event = submitted(JobRequest(task="m.t", input={}), NOW)[1][0]
    assert list(event_row(event)) == [column.name for column in events.columns]
    delivery = Delivery(job_id="1", door="hook")
    assert list(delivery_row(delivery)) == [column.name for column in deliveries.columns]


def test_only_what_a_transition_changed_is_written() -> None:
    job = make_job()
    changed, _ = claimed(job, "w1", NOW, timedelta(seconds=60))
    assert set(changed_columns(job, changed)) == {
        "state",
        "token",
        "attempt",
        "worker_id",
        "lease_until",
        "started_at",
        "attempts",
        "last_seq",
    }
    assert changed_columns(job, job) == {}


def test_what_is_not_said_takes_no_room() -> None:
    row = job_row(make_job())
    assert {name for name, value in row.items() if value is None} == {
        "key",
        "batch_id",
        "worker_id",
        "lease_until",
        "started_at",
        "finished_at",
        "cancel_requested_at",
        "webhook",
        "budget",
        "spent",
        "progress",
        "checkpoint",
        "failure",
        "attempts",
        "artifacts",
        "followers",
        "expires_at",
        "stride",
        "turn",
        "dispatched_at",
        "result",
    }


def test_two_jobs_never_share_a_value_that_could_be_changed() -> None:
    first, second = (job_of(tuple(job_row(make_job()).values())) for _ in range(2))
    assert first.metadata is not second.metadata
    assert first.input is not second.input


@pytest.mark.parametrize("value", [0, False, "", [], {}])
def test_an_empty_result_is_not_no_result(value: Any) -> None:
    job = job_of(tuple(job_row(replace(make_job(), result=value)).values()))
    assert job.result == value
    assert type(job.result) is type(value)


@given(times)
def test_a_time_is_kept_to_the_microsecond(at: datetime) -> None:
    assert moment(micros(at)) == at


def test_a_time_is_the_same_number_in_every_zone() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=-7)))
    assert micros(there) == micros(NOW)
    assert micros(EPOCH) == 0
    assert moment(micros(there)).utcoffset() == timedelta(0)
