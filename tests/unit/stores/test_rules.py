"""What every store does the same way, by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import IdempotencyMismatch, InvalidInput, NotFound
from glowplug.job import Follower, Job, JobEvent, JobRequest, JobState, Outcome, OutcomeKind, claimed, submitted
from glowplug.store import Delivery, Hold, Settled, Settlement, Try
from glowplug.stores.moments import micros, moment
from glowplug.stores.rules import (
    checked,
    cursor_after,
    doors_to_tell,
    found,
    is_expired,
    is_held,
    line_order,
    may_start,
    parse_cursor,
    resubmitted,
    settle,
    to_save,
    waits_for_its_turn,
    woken,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
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


@pytest.mark.parametrize("name", ["run_at", "expires_at"])
def test_the_time_that_is_wrong_is_named(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name} needs a time zone") as caught:
        checked(replace(REQUEST, **{name: datetime(2026, 1, 1)}))  # type: ignore[arg-type]  # noqa: DTZ001
    assert caught.value.data == {"fields": [name]}


@pytest.mark.parametrize("stride", [0, -5, 2**31])
def test_a_stride_that_would_break_the_order_is_refused(stride: int) -> None:
    with pytest.raises(InvalidInput, match="out of range"):
        checked(replace(REQUEST, stride=stride))


@pytest.mark.parametrize("follower", [Follower("\ud800"), Follower("hook", ("ok", "\ud800"))])
def test_a_follower_s_words_are_text(follower: Follower) -> None:
    with pytest.raises(InvalidInput, match="followers"):
        checked(replace(REQUEST, followers=(follower,)))


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


# The line.


def queued(**fields: object) -> Job:
    return replace(submitted(REQUEST, NOW)[0], **fields)  # type: ignore[arg-type]


def test_the_order_is_by_priority_then_turn_then_id_and_what_has_no_turn_is_last() -> None:
    jobs = [
        queued(id="5", turn=None),
        queued(id="4", turn=7),
        queued(id="3", turn=3),
        queued(id="2", turn=3),
        queued(id="1", turn=9, priority=1),
    ]
    assert [job.id for job in sorted(jobs, key=line_order)] == ["1", "2", "3", "4", "5"]


def test_only_a_due_job_without_a_place_waits_for_its_turn() -> None:
    assert waits_for_its_turn(queued(), NOW)
    assert not waits_for_its_turn(queued(turn=0), NOW)
    assert not waits_for_its_turn(queued(run_at=LATER), NOW)
    assert waits_for_its_turn(queued(run_at=LATER), LATER)
    assert not waits_for_its_turn(running(), NOW)


def test_a_job_may_start_from_its_time_on_until_it_expires() -> None:
    job = queued(run_at=NOW, expires_at=LATER)
    early, late = NOW - timedelta(microseconds=1), LATER - timedelta(microseconds=1)
    assert [may_start(job, at) for at in (early, NOW, late, LATER)] == [False, True, True, False]
    assert not may_start(running(), NOW)
    assert may_start(queued(run_at=LATER, turn=0), NOW)
    assert [is_expired(job, at) for at in (late, LATER)] == [False, True]
    assert not is_expired(queued(), LATER)


# What doors are told.


def event(kind: str, seq: int = 1) -> JobEvent:
    return JobEvent("x", seq, kind, NOW)


def test_doors_are_told_if_one_of_their_followers_wants_one_of_the_events() -> None:
    followers = [Follower("all"), Follower("ends", ("completed",)), Follower("ends", ("failed",)), Follower("all")]
    assert doors_to_tell(followers, [event("log")]) == ["all"]
    assert doors_to_tell(followers, [event("log"), event("failed")]) == ["all", "ends"]
    assert doors_to_tell(followers, []) == []
    assert doors_to_tell([], [event("log")]) == []


def test_a_delivery_is_woken_unless_it_has_a_time_or_was_given_up() -> None:
    idle = Delivery(job_id="x", door="all")
    assert woken(idle, NOW) == replace(idle, due_at=NOW)
    for other in (replace(idle, due_at=LATER), replace(idle, given_up=True)):
        assert woken(other, NOW) is other


def test_what_is_saved_stays_due_for_what_was_written_meanwhile() -> None:
    idle = Delivery(job_id="x", door="ends", seq=1)
    followers = [Follower("all"), Follower("ends", ("completed",))]
    assert to_save(idle, followers, [event("log", 2)], NOW) == idle
    assert to_save(idle, followers, [event("log", 2), event("completed", 3)], NOW).due_at == NOW
    assert to_save(replace(idle, door="gone"), followers, [event("completed", 2)], NOW).due_at is None


def test_the_newest_twenty_tries_are_saved() -> None:
    tries = tuple(Try(NOW, number) for number in range(25))
    assert to_save(Delivery(job_id="x", door="all", tries=tries), [], [], NOW).tries == tries[5:]
