"""What every store does the same way, by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import IdempotencyMismatch, InvalidInput, NotFound
from glowplug.job import Job, JobRequest, JobState, Outcome, OutcomeKind, claimed, submitted
from glowplug.store import Hold, Settled, Settlement
from glowplug.stores.moments import micros, moment
from glowplug.stores.rules import checked, cursor_after, found, is_held, parse_cursor, resubmitted, settle

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = JobRequest(task="m.t", input={"a": 1}, key="k")


def year_end(year: int, hours: int) -> datetime:
    """Return the first moment of year 1, or the last of 9999, `hours` east of Greenwich."""
    zone = timezone(timedelta(hours=hours))
    return datetime(1, 1, 1, tzinfo=zone) if year == 1 else datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=zone)


def running() -> Job:
    return claimed(submitted(REQUEST, NOW)[0], "w1", NOW, timedelta(seconds=60))[0]


def test_a_checked_request_is_the_same_but_holds_nothing_of_the_caller_s() -> None:
    request = replace(REQUEST, input={"list": [1]}, metadata={"a": {}})
    copy = checked(request)
    assert copy == request
    assert copy.hash == request.hash
    assert copy.input["list"] is not request.input["list"]


@pytest.mark.parametrize("value", [(1, 2), {1: 2}, float("nan"), object(), {"a": {2, 3}}, b"bytes"])
def test_what_would_read_back_as_something_else_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        checked(replace(REQUEST, input={"value": value}))


def test_a_value_that_contains_itself_is_refused() -> None:
    value: dict[str, object] = {}
    value["self"] = value
    with pytest.raises(InvalidInput):
        checked(replace(REQUEST, input=value))


@pytest.mark.parametrize(("year", "hours"), [(1, 14), (9999, -14)])
def test_a_time_beyond_the_calendar_is_refused_because_its_row_could_not_be_read(year: int, hours: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked(replace(REQUEST, run_at=year_end(year, hours)))
    assert caught.value.data == {"fields": ["run_at"]}


@pytest.mark.parametrize("year", [1, 9999])
def test_the_first_and_the_last_moment_can_be_written_and_read(year: int) -> None:
    at = checked(replace(REQUEST, run_at=year_end(year, 0))).run_at
    assert at is not None
    assert moment(micros(at)) == at


def test_very_large_numbers_are_kept() -> None:
    assert checked(replace(REQUEST, input={"seed": 2**80})).input == {"seed": 2**80}


def test_the_same_request_is_answered_with_its_job() -> None:
    job, _ = submitted(REQUEST, NOW)
    submission = resubmitted(job, replace(REQUEST, batch_id="other"))
    assert (submission.job, submission.created) == (job, False)


def test_another_request_under_the_key_names_the_job_in_the_way() -> None:
    job, _ = submitted(REQUEST, NOW)
    with pytest.raises(IdempotencyMismatch) as caught:
        resubmitted(job, replace(REQUEST, input={"a": 2}))
    assert caught.value.data == {"job": job.id}


def test_a_hold_is_good_for_the_running_attempt_with_its_token_alone() -> None:
    job = running()
    assert is_held(job, Hold(job.id, 1))
    assert not is_held(job, Hold(job.id, 2))
    assert not is_held(replace(job, state=JobState.QUEUED), Hold(job.id, 1))
    assert not is_held(None, Hold(job.id, 1))


def test_what_is_not_there_is_not_found() -> None:
    job = running()
    assert found(job, job.id) is job
    with pytest.raises(NotFound, match="no job 'x'"):
        found(None, "x")


def test_a_settlement_changes_the_job_once_and_is_known_when_it_comes_again() -> None:
    settlement = Settlement(Hold(running().id, 1), Outcome(OutcomeKind.COMPLETED))
    answer, change = settle(running(), settlement, NOW, 1.0)
    assert change is not None
    assert answer == Settled(settlement.hold, accepted=True, job=change[0])
    assert settle(change[0], settlement, NOW, 1.0) == (answer, None)


def test_a_settlement_of_nothing_is_refused() -> None:
    settlement = Settlement(Hold("x", 1), Outcome(OutcomeKind.COMPLETED))
    assert settle(None, settlement, NOW, 1.0) == (Settled(settlement.hold, accepted=False, job=None), None)


@given(st.datetimes(datetime(1970, 1, 1), datetime(4000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_cursor_leads_back_to_its_job(at: datetime) -> None:
    job = replace(running(), created_at=at)
    assert parse_cursor(cursor_after(job)) == (at, job.id)


@given(st.text(max_size=60))
def test_no_text_breaks_the_reading_of_cursors(text: str) -> None:
    try:
        at, job_id = parse_cursor(text)
    except InvalidInput:
        return
    assert isinstance(at, datetime)
    assert job_id


def test_the_largest_number_that_looks_like_a_cursor_is_a_moment() -> None:
    assert parse_cursor("9" * 17 + "-a")[0].year < 9999
