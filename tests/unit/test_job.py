"""Jobs: each transition by example, and what must hold after any of them in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from glowplug.artifact import Artifact
from glowplug.errors import Conflict
from glowplug.job import (
    MAX_ATTEMPTS_KEPT,
    NOTE_TYPES,
    STRIDE,
    TERMINAL_TYPES,
    Budget,
    Change,
    Checkpoint,
    Failure,
    Follower,
    Job,
    JobEvent,
    JobRequest,
    JobState,
    Note,
    Outcome,
    OutcomeKind,
    Progress,
    Spent,
    cancel_asked,
    claimed,
    dispatched,
    expired,
    lined_up,
    new_job_id,
    noted,
    renewed,
    repeats_last_settlement,
    retried,
    settled,
    submitted,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=90)
LEASE = timedelta(seconds=60)
PICTURE = Artifact("jobs/1/1/a.png", 3, "0" * 64, "image/png")
CHECKPOINT = Checkpoint(4, PICTURE)


def queued(**fields: object) -> Job:
    job, _ = submitted(JobRequest(task="digits.generate", input={"text": "7"}, **fields), NOW)  # type: ignore[arg-type]
    return job


def running(**fields: object) -> Job:
    job, _ = claimed(queued(**fields), "w1", NOW, LEASE)
    return job


def ended(job: Job, kind: OutcomeKind, failure: Failure | None = None, jitter: float = 1.0) -> Change:
    return settled(job, Outcome(kind, failure=failure), LATER, jitter)


def told(change: Change) -> list[tuple[int, str]]:
    return [(event.seq, event.type) for event in change[1]]


# Requests and ids.


def test_an_id_sorts_by_the_time_it_was_made() -> None:
    ids = [new_job_id(NOW + timedelta(milliseconds=step)) for step in (0, 1, 2, 1000, 10**9)]
    assert ids == sorted(ids)
    assert {len(one) for one in ids} == {24}


def test_ids_of_one_moment_differ() -> None:
    assert len({new_job_id(NOW) for _ in range(1000)}) == 1000


def test_the_same_request_has_the_same_hash_whatever_the_order_of_its_fields() -> None:
    first = JobRequest(task="m.t", input={"a": 1, "b": [1, 2]})
    assert first.hash == JobRequest(task="m.t", input={"b": [1, 2], "a": 1}).hash


@pytest.mark.parametrize(
    "changed",
    [
        {"task": "m.u"},
        {"input": {"a": 2}},
        {"priority": 1},
        {"webhook": "https://x"},
        {"metadata": {"a": 1}},
        {"run_at": NOW},
        {"expires_at": NOW},
    ],
)
def test_another_request_has_another_hash(changed: dict[str, object]) -> None:
    request = JobRequest(task="m.t", input={"a": 1})
    assert replace(request, **changed).hash != request.hash  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "unsaid", [{"key": "k"}, {"owner": "ann"}, {"batch_id": "b"}, {"stride": 5}, {"followers": (Follower("d"),)}]
)
def test_who_asks_and_under_which_key_is_not_part_of_the_hash(unsaid: dict[str, str]) -> None:
    request = JobRequest(task="m.t", input={})
    assert replace(request, **unsaid).hash == request.hash  # type: ignore[arg-type]


def test_a_submitted_job_waits_from_now_or_from_its_time() -> None:
    assert (queued().state, queued().run_at, queued().created_at) == (JobState.QUEUED, NOW, NOW)
    assert queued(run_at=LATER).run_at == LATER


def test_a_job_belongs_to_the_model_before_the_dot() -> None:
    assert queued().model == "digits"


# Claims and leases.


def test_a_claim_raises_token_and_attempt_and_starts_the_lease() -> None:
    job, events = claimed(queued(), "w1", LATER, LEASE)
    assert (job.state, job.token, job.attempt, job.worker_id) == (JobState.RUNNING, 1, 1, "w1")
    assert (job.lease_until, job.started_at, job.progress) == (LATER + LEASE, LATER, None)
    assert [(event.seq, event.type, event.data) for event in events] == [(2, "started", {"attempt": 1, "worker": "w1"})]


def test_a_second_attempt_keeps_when_the_job_first_started() -> None:
    job, _ = ended(running(), OutcomeKind.INTERRUPTED)
    job, _ = claimed(job, "w2", LATER, LEASE)
    assert (job.token, job.attempt, job.started_at) == (2, 2, NOW)
    assert [attempt.worker_id for attempt in job.attempts] == ["w1", "w2"]


def test_only_the_last_attempts_are_kept_of_a_job_that_never_ends() -> None:
    job = queued()
    for _ in range(MAX_ATTEMPTS_KEPT + 10):
        job, _ = claimed(job, "w1", NOW, LEASE)
        job, _ = ended(job, OutcomeKind.INTERRUPTED)
    assert len(job.attempts) == MAX_ATTEMPTS_KEPT
    assert job.attempts[-1].number == job.attempt == MAX_ATTEMPTS_KEPT + 10


def test_a_renewal_moves_the_lease_alone() -> None:
    job = running()
    assert renewed(job, LATER, LEASE) == replace(job, lease_until=LATER + LEASE)


# Places in line.


@pytest.mark.parametrize(
    ("head", "last", "turn"),
    [
        (None, None, 0),
        (7 * STRIDE, None, 7 * STRIDE),
        (7 * STRIDE, 9 * STRIDE, 10 * STRIDE),
        # Who has waited so long that the line has passed by owes nothing.
        (7 * STRIDE, 2 * STRIDE, 7 * STRIDE),
    ],
)
def test_an_owner_s_jobs_lie_one_stride_apart_behind_the_head(head: int | None, last: int | None, turn: int) -> None:
    job = queued()
    assert lined_up(job, head, last) == replace(job, turn=turn)


def test_a_job_of_half_the_stride_costs_half_a_turn() -> None:
    assert lined_up(queued(stride=STRIDE // 2), 0, 4 * STRIDE).turn == 4 * STRIDE + STRIDE // 2


@pytest.mark.parametrize("spent", [Spent(errors=1), Spent(crashes=1), Spent(interruptions=1)])
def test_what_has_run_before_stands_at_the_head(spent: Spent) -> None:
    assert lined_up(replace(queued(), spent=spent), 7, 9 * STRIDE).turn == 7
    assert lined_up(replace(queued(), spent=spent), None, None).turn == 0


def test_place_and_hint_are_those_of_a_job_that_waits() -> None:
    waiting = dispatched(lined_up(queued(), 7, None), NOW)
    assert (waiting.turn, waiting.dispatched_at) == (7, NOW)
    for job, _ in (claimed(waiting, "w1", NOW, LEASE), cancel_asked(waiting, NOW), expired(waiting, NOW)):
        assert (job.turn, job.dispatched_at) == (None, None)


def test_a_hint_changes_nothing_else() -> None:
    job = queued()
    assert dispatched(job, NOW) == replace(job, dispatched_at=NOW)


@given(st.lists(st.integers(1, 8), min_size=2, max_size=4), st.integers(1, 12))
def test_owners_that_wait_get_turns_by_their_weights(weights: list[int], rounds: int) -> None:
    line: list[tuple[int, str]] = []
    for owner, weight in enumerate(weights):
        last = None
        for _ in range(rounds * weight + 1):
            job = lined_up(queued(owner=str(owner), stride=840 * STRIDE // weight), 0, last)
            assert job.turn is not None
            last = job.turn
            line.append((last, job.owner))
    served = [owner for _, owner in sorted(line)][: rounds * sum(weights)]
    assert [served.count(str(owner)) for owner in range(len(weights))] == [rounds * weight for weight in weights]


# Expiry.


def test_a_job_that_nobody_could_start_fails_as_expired() -> None:
    change = expired(queued(), LATER)
    job = change[0]
    assert (job.state, job.finished_at, told(change)) == (JobState.FAILED, LATER, [(2, "failed")])
    assert job.failure is not None
    assert (job.failure.code, job.failure.retryable) == ("expired", False)
    assert change[1][0].data["code"] == "expired"


def test_an_expired_job_that_is_sent_again_does_not_expire_again() -> None:
    job, _ = expired(queued(expires_at=NOW), LATER)
    assert retried(job, LATER)[0].expires_at is None


# Followers.


@pytest.mark.parametrize(
    ("types", "wanted"), [((), ["queued", "log"]), (("log",), ["log"]), (("completed", "failed"), [])]
)
def test_a_follower_wants_its_types_or_all(types: tuple[str, ...], wanted: list[str]) -> None:
    assert [kind for kind in ("queued", "log") if Follower("hook", types).wants(kind)] == wanted


# Notes.


def test_notes_are_numbered_on_from_the_last_event() -> None:
    change = noted(running(), (Note("log", {"text": "a"}), Note("metrics", {"loss": 1.0})), LATER)
    assert told(change) == [(3, "log"), (4, "metrics")]
    assert change[0].last_seq == 4


def test_the_last_progress_is_kept_in_the_row() -> None:
    notes = (Note("progress", progress=Progress(1, 4)), Note("log"), Note("progress", progress=Progress(2, 4)))
    assert noted(running(), notes, LATER)[0].progress == Progress(2, 4)


def test_a_checkpoint_gives_the_crash_budget_back_and_no_other() -> None:
    job = replace(running(), spent=Spent(errors=1, crashes=2, interruptions=5))
    job, _ = noted(job, (Note("checkpoint", checkpoint=CHECKPOINT),), LATER)
    assert (job.checkpoint, job.spent) == (CHECKPOINT, Spent(errors=1, crashes=0, interruptions=5))


def test_no_notes_change_nothing() -> None:
    job = running()
    assert noted(job, (), LATER) == (job, ())


@pytest.mark.parametrize(
    ("done", "total", "percent"),
    [(1, 4, 25.0), (0, 3, 0.0), (9, 3, 100.0), (-1, 3, 0.0), (1, None, None), (1, 0, None)],
)
def test_a_share_is_told_in_percent_where_there_is_a_total(
    done: float, total: float | None, percent: float | None
) -> None:
    assert Progress(done, total).percent == percent


# Ends.


def test_a_completed_attempt_completes_the_job() -> None:
    outcome = Outcome(OutcomeKind.COMPLETED, result={"n": 7}, artifacts=(PICTURE,))
    job, events = settled(running(), outcome, LATER)
    assert (job.state, job.result, job.artifacts, job.finished_at) == (JobState.COMPLETED, {"n": 7}, (PICTURE,), LATER)
    assert (job.worker_id, job.lease_until) == (None, None)
    assert (job.attempts[-1].outcome, job.attempts[-1].ended_at) == (OutcomeKind.COMPLETED, LATER)
    assert [(event.type, event.data) for event in events] == [("completed", {"result": {"n": 7}})]


def test_completing_wins_over_a_cancel_that_came_too_late() -> None:
    job, _ = cancel_asked(running(), NOW)
    assert ended(job, OutcomeKind.COMPLETED)[0].state is JobState.COMPLETED


@pytest.mark.parametrize("kind", [kind for kind in OutcomeKind if kind is not OutcomeKind.COMPLETED])
def test_a_cancel_that_was_asked_for_wins_over_any_other_end(kind: OutcomeKind) -> None:
    job, _ = cancel_asked(running(), NOW)
    assert ended(job, kind)[0].state is JobState.CANCELED


def test_an_error_is_tried_again_after_a_delay() -> None:
    budget = Budget(errors=3, retry_base_seconds=10.0)
    change = ended(running(budget=budget), OutcomeKind.FAILED, Failure("ValueError", "no"), jitter=0.5)
    job = change[0]
    assert (job.state, job.spent.errors, job.run_at) == (JobState.QUEUED, 1, LATER + timedelta(seconds=5))
    assert job.failure == Failure("ValueError", "no")
    assert change[1][0].data["delay_seconds"] == 5.0


@pytest.mark.parametrize(("failures", "ceiling"), [(1, 2.0), (2, 4.0), (3, 8.0), (4, 10.0), (99, 10.0), (10**6, 10.0)])
def test_delays_double_up_to_the_cap(failures: int, ceiling: float) -> None:
    budget = Budget(retry_base_seconds=2.0, retry_cap_seconds=10.0)
    assert budget.retry_delay_seconds(failures, 1.0) == ceiling
    assert budget.retry_delay_seconds(failures, 0.0) == 0.0


def test_an_error_that_no_retry_mends_fails_the_job_at_once() -> None:
    job, events = ended(running(), OutcomeKind.FAILED, Failure("invalid_input", "no", retryable=False))
    assert (job.state, job.spent.errors) == (JobState.FAILED, 1)
    assert events[-1].data == {"code": "invalid_input", "message": "no", "attempt": 1}


@pytest.mark.parametrize("kind", [OutcomeKind.CRASHED, OutcomeKind.LOST])
def test_a_crash_goes_back_to_its_place_at_once_and_is_counted(kind: OutcomeKind) -> None:
    job, _ = ended(running(), kind)
    assert (job.state, job.run_at, job.spent) == (JobState.QUEUED, NOW, Spent(crashes=1))
    assert job.failure is not None
    assert job.failure.code == kind.value


@pytest.mark.parametrize("kind", [OutcomeKind.INTERRUPTED, OutcomeKind.DISPLACED])
def test_an_interruption_goes_back_to_its_place_and_costs_nothing(kind: OutcomeKind) -> None:
    job, events = ended(running(), kind)
    assert (job.state, job.run_at, job.spent) == (JobState.QUEUED, NOW, Spent(interruptions=1))
    assert events[-1].data == {"reason": kind.value}


@pytest.mark.parametrize(
    ("kind", "count", "budget"),
    [
        (OutcomeKind.FAILED, 2, Budget(errors=2)),
        (OutcomeKind.CRASHED, 3, Budget(crashes=3)),
        (OutcomeKind.FAILED, 1, Budget(errors=1)),
        (OutcomeKind.LOST, 1, Budget(crashes=0)),
    ],
)
def test_a_job_out_of_budget_fails_with_its_history(kind: OutcomeKind, count: int, budget: Budget) -> None:
    job = queued(budget=budget)
    for _ in range(count):
        assert job.state is JobState.QUEUED
        job, _ = claimed(job, "w1", NOW, LEASE)
        job, _ = ended(job, kind)
    assert (job.state, len(job.attempts)) == (JobState.FAILED, count)


def test_errors_and_crashes_have_budgets_of_their_own() -> None:
    job = queued(budget=Budget(errors=2, crashes=2))
    for kind in (OutcomeKind.FAILED, OutcomeKind.CRASHED):
        job, _ = claimed(job, "w1", NOW, LEASE)
        job, _ = ended(job, kind)
    assert (job.state, job.spent) == (JobState.QUEUED, Spent(errors=1, crashes=1))


# Cancel and retry.


def test_a_queued_job_is_canceled_at_once() -> None:
    change = cancel_asked(queued(), LATER)
    assert (change[0].state, change[0].finished_at) == (JobState.CANCELED, LATER)
    assert told(change) == [(2, "canceled")]


def test_a_running_job_is_asked_to_stop_and_asked_once() -> None:
    first = cancel_asked(running(), NOW)
    assert (first[0].state, first[0].cancel_requested_at, told(first)) == (JobState.RUNNING, NOW, [(3, "canceling")])
    assert cancel_asked(first[0], LATER) == (first[0], ())


@pytest.mark.parametrize("kind", [OutcomeKind.COMPLETED, OutcomeKind.CANCELED])
def test_an_ended_job_cannot_be_canceled(kind: OutcomeKind) -> None:
    job, _ = ended(running(), kind)
    with pytest.raises(Conflict, match=job.state.value):
        cancel_asked(job, LATER)


def test_a_retry_has_fresh_budgets_and_keeps_token_history_and_checkpoint() -> None:
    job, _ = noted(running(), (Note("checkpoint", checkpoint=CHECKPOINT),), NOW)
    job, _ = ended(job, OutcomeKind.FAILED, Failure("x", "no", retryable=False))
    again, events = retried(job, LATER)
    assert (again.state, again.spent, again.failure, again.finished_at) == (JobState.QUEUED, Spent(), None, None)
    assert (again.token, len(again.attempts), again.checkpoint, again.run_at) == (1, 1, CHECKPOINT, LATER)
    assert [event.type for event in events] == ["requeued"]


def test_a_canceled_job_that_is_sent_again_is_no_longer_asked_to_stop() -> None:
    job, _ = cancel_asked(queued(), NOW)
    assert retried(job, LATER)[0].cancel_requested_at is None


@pytest.mark.parametrize("job", [queued(), running(), ended(running(), OutcomeKind.COMPLETED)[0]])
def test_only_a_failed_or_canceled_job_can_be_sent_again(job: Job) -> None:
    with pytest.raises(Conflict):
        retried(job, LATER)


# Repeats.


def test_the_last_settlement_is_known_again() -> None:
    job, _ = ended(running(), OutcomeKind.COMPLETED)
    assert repeats_last_settlement(job, 1, OutcomeKind.COMPLETED)
    assert not repeats_last_settlement(job, 1, OutcomeKind.FAILED)
    assert not repeats_last_settlement(job, 2, OutcomeKind.COMPLETED)


def test_what_the_reaper_took_is_no_repeat_of_its_old_worker() -> None:
    job, _ = ended(running(), OutcomeKind.LOST)
    assert not repeats_last_settlement(job, 1, OutcomeKind.COMPLETED)


def test_a_job_never_claimed_repeats_nothing() -> None:
    assert not repeats_last_settlement(queued(), 0, OutcomeKind.COMPLETED)


def test_states_and_outcomes_carry_their_facts() -> None:
    assert {state for state in JobState if state.done} == {JobState.COMPLETED, JobState.FAILED, JobState.CANCELED}
    assert {kind for kind in OutcomeKind if kind.is_crash} == {OutcomeKind.CRASHED, OutcomeKind.LOST}
    assert {state.value for state in JobState if state.done} == TERMINAL_TYPES
    assert not NOTE_TYPES & TERMINAL_TYPES


# What holds after any transitions in any order.

failures = st.none() | st.builds(Failure, st.just("x"), st.text(max_size=5), st.booleans())
notes = st.lists(
    st.sampled_from(
        [
            Note("log", {"text": "x"}),
            Note("progress", progress=Progress(1, 2)),
            Note("checkpoint", checkpoint=CHECKPOINT),
        ]
    ),
    max_size=4,
).map(tuple)


class AnyJob(RuleBasedStateMachine):
    """A job that lives through anything its worker, its keepers and its owner may do."""

    job: Job

    @initialize(errors=st.integers(1, 3), crashes=st.integers(1, 3))
    def submit(self, errors: int, crashes: int) -> None:
        self.now = NOW
        self.log: list[JobEvent] = []
        self.budget = Budget(errors=errors, crashes=crashes)
        self.tokens = [0]
        self.take(submitted(JobRequest(task="m.t", input={}, budget=self.budget), self.now))

    def take(self, change: Change) -> None:
        self.now += timedelta(seconds=1)
        self.job = change[0]
        self.log += change[1]
        self.tokens.append(self.job.token)

    @rule()
    def ask_a_completed_job_anything(self) -> None:
        if self.job.state is JobState.COMPLETED:
            for ask in (cancel_asked, retried):
                with pytest.raises(Conflict):
                    ask(self.job, self.now)

    @precondition(lambda self: self.job.state is JobState.QUEUED)
    @rule()
    def line_up(self) -> None:
        self.take((dispatched(lined_up(self.job, None, None), self.now), ()))

    @precondition(lambda self: self.job.state is JobState.QUEUED)
    @rule()
    def expire(self) -> None:
        self.take(expired(self.job, self.now))

    @precondition(lambda self: self.job.state is JobState.QUEUED)
    @rule()
    def claim(self) -> None:
        self.take(claimed(self.job, "w1", self.now, LEASE))

    @precondition(lambda self: self.job.state is JobState.RUNNING)
    @rule(said=notes)
    def note(self, said: tuple[Note, ...]) -> None:
        self.take(noted(self.job, said, self.now))

    @precondition(lambda self: self.job.state is JobState.RUNNING)
    @rule()
    def renew(self) -> None:
        self.take((renewed(self.job, self.now, LEASE), ()))

    @precondition(lambda self: self.job.state is JobState.RUNNING)
    @rule(kind=st.sampled_from(OutcomeKind), failure=failures, jitter=st.floats(0, 1))
    def settle(self, kind: OutcomeKind, failure: Failure | None, jitter: float) -> None:
        token = self.job.token
        self.take(settled(self.job, Outcome(kind, failure=failure), self.now, jitter))
        assert repeats_last_settlement(self.job, token, kind)

    @precondition(lambda self: not self.job.done)
    @rule()
    def cancel(self) -> None:
        self.take(cancel_asked(self.job, self.now))

    @precondition(lambda self: self.job.state in (JobState.FAILED, JobState.CANCELED))
    @rule()
    def retry(self) -> None:
        self.take(retried(self.job, self.now))

    @invariant()
    def the_log_has_no_gap(self) -> None:
        assert [event.seq for event in self.log] == list(range(1, self.job.last_seq + 1))

    @invariant()
    def each_run_ends_with_one_terminal_event_and_nothing_after_it(self) -> None:
        last_was_terminal = False
        for event in self.log:
            assert not last_was_terminal or (event.type == "requeued" and event.data == {"reason": "asked"})
            last_was_terminal = event.type in TERMINAL_TYPES
        assert last_was_terminal == self.job.done
        assert not self.job.done or self.log[-1].type == self.job.state.value

    @invariant()
    def the_token_only_grows_once_per_claim(self) -> None:
        assert self.tokens == sorted(self.tokens)
        assert self.job.token == self.job.attempt == sum(event.type == "started" for event in self.log)

    @invariant()
    def a_lease_belongs_to_a_running_job_and_to_no_other(self) -> None:
        is_running = self.job.state is JobState.RUNNING
        assert is_running == (self.job.lease_until is not None) == (self.job.worker_id is not None)
        assert is_running == (bool(self.job.attempts) and self.job.attempts[-1].outcome is None)
        assert (self.job.finished_at is not None) == self.job.done

    @invariant()
    def a_job_that_goes_on_is_within_its_budgets(self) -> None:
        if not self.job.done:
            assert self.job.spent.errors < self.budget.errors
            assert self.job.spent.crashes < self.budget.crashes

    @invariant()
    def only_a_job_that_waits_has_a_place_and_a_hint(self) -> None:
        if self.job.state is not JobState.QUEUED:
            assert (self.job.turn, self.job.dispatched_at) == (None, None)

    @invariant()
    def a_queued_job_is_not_asked_to_stop(self) -> None:
        assert self.job.state is not JobState.QUEUED or self.job.cancel_requested_at is None


TestAnyJob = AnyJob.TestCase
TestAnyJob.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_delay_lies_between_nothing_and_the_cap(failed: int, jitter: float, base: float, cap: float) -> None:
    delay = Budget(retry_base_seconds=base, retry_cap_seconds=cap).retry_delay_seconds(failed, jitter)
    assert 0.0 <= delay <= cap
