"""Views and pictures: nouns in, the documented shapes out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some
from tests.unit.gateway.house import ECHO, MOMENT, SAY, picture

from glowplug.artifact import Artifact
from glowplug.gateway import pictures
from glowplug.gateway.schemas import Links, artifact_view, event_view, job_view, model_view, task_view
from glowplug.job import (
    Checkpoint,
    Failure,
    Job,
    JobEvent,
    JobRequest,
    Note,
    Outcome,
    OutcomeKind,
    Progress,
    claimed,
    noted,
    settled,
    submitted,
)
from glowplug.readiness import ComponentSnapshot, Estimate, Snapshot, State, Status
from glowplug.readiness.component_snapshot import Timings
from glowplug.store import WorkerRecord

LINKS = Links("")
LEASE = timedelta(seconds=60)


def running(**more: object) -> Job:
    job, _ = submitted(JobRequest(task="echo.say", input={"text": "x"}), MOMENT)
    return replace(claimed(job, "w1", MOMENT + timedelta(seconds=1), LEASE)[0], **more)  # type: ignore[arg-type]


class TestJobs:
    def test_a_running_job_has_one_open_attempt(self) -> None:
        view = job_view(running(), LINKS)
        assert (view.state, view.done, view.run_seconds) == ("running", False, None)
        attempt = view.attempts[0]
        assert (attempt.worker, attempt.ended_at, attempt.seconds, attempt.outcome) == ("w1", None, None, None)

    def test_a_failed_one_says_why_at_the_job_and_at_the_attempt(self) -> None:
        failure = Failure("ValueError", "no", retryable=False, details={"line": 3})
        job, _ = settled(running(), Outcome(OutcomeKind.FAILED, failure=failure), MOMENT + timedelta(seconds=3))
        view = job_view(job, LINKS)
        assert view.error == view.attempts[0].error
        assert view.error is not None
        assert (view.error.code, view.error.retryable, view.error.details) == ("ValueError", False, {"line": 3})
        assert view.run_seconds == 2.0

    def test_progress_of_unknown_length_has_no_percent(self) -> None:
        job, _ = noted(running(), (Note("progress", progress=Progress(3)),), MOMENT)
        view = job_view(job, LINKS)
        assert view.progress is not None
        assert (view.progress.total, view.progress.percent) == (None, None)

    def test_what_is_not_for_callers_is_not_in_it(self) -> None:
        point = Checkpoint(1, Artifact("jobs/x/1/c", 1, "0"))
        text = msgspec.json.encode(job_view(running(checkpoint=point, key="secret-key", request_hash="h"), LINKS))
        for word in (b"secret-key", b"token", b"lease", b"request_hash"):
            assert word not in text

    def test_a_clock_that_was_set_back_makes_no_negative_run(self) -> None:
        job, _ = settled(running(), Outcome(OutcomeKind.COMPLETED), MOMENT - timedelta(hours=1))
        assert job_view(job, LINKS).run_seconds == 0.0

    def test_times_are_written_in_utc(self) -> None:
        assert b'"created_at":"2026-01-01T00:00:00Z"' in msgspec.json.encode(job_view(running(), LINKS))


class TestOthers:
    def test_an_event_has_its_four_fields(self) -> None:
        event = JobEvent("j", 3, "log", MOMENT, {"text": "hi"})
        assert msgspec.to_builtins(event_view(event)) == {
            "seq": 3,
            "type": "log",
            "at": "2026-01-01T00:00:00Z",
            "data": {"text": "hi"},
        }

    def test_an_artifacts_link_is_quoted(self) -> None:
        view = artifact_view(Artifact("inputs/1/my cat+1.png", 1, "0"), Links("https://x/"))
        assert view.url == "https://x/v1/artifacts/inputs/1/my%20cat%2B1.png"

    def test_a_task_names_its_model(self) -> None:
        assert task_view(SAY, ECHO).model == "echo"

    def test_a_model_that_nobody_has_is_offline(self) -> None:
        view = model_view("echo", ECHO, None, [])
        assert (view.state, view.ready, view.progress, view.version) == ("offline", False, 0.0, "1")

    def test_a_loading_model_tells_how_far_it_is(self) -> None:
        component = ComponentSnapshot(
            "echo", model="echo", status=Status.LOADING, percent=40.0, estimate=Estimate(1.0, 7.2, 20.0)
        )
        view = model_view("echo", None, component, ["w1"])
        assert (view.progress, view.estimated_seconds, view.version) == (40.0, 8, None)


class TestPictures:
    def test_a_draining_worker_has_nothing_ready(self) -> None:
        assert pictures.ready_models(Snapshot.from_dict(picture(draining=True))) == frozenset()

    def test_only_what_serves_is_ready(self) -> None:
        seen = Snapshot.from_dict(picture(a=Status.READY, b=Status.WARMING, c=Status.ERROR))
        assert pictures.ready_models(seen) == {"a"}
        assert pictures.failed_models(seen) == {"c"}

    def test_a_pending_model_sleeps_only_if_nobody_has_begun_it(self) -> None:
        never = ComponentSnapshot("a", model="a", status=Status.PENDING, attempt=0)
        postponed = ComponentSnapshot("b", model="b", status=Status.PENDING, attempt=2)
        asleep = ComponentSnapshot("c", model="c", status=Status.SLEEPING, attempt=1)
        seen = Snapshot.of((never, postponed, asleep), taken_at=MOMENT)
        assert pictures.sleeping_models(seen) == {"a", "c"}

    @pytest.mark.parametrize(
        ("state", "word"),
        [
            (State.INITIALIZING, "loading"),
            (State.LOADING_MODELS, "loading"),
            (State.WARMING_UP, "loading"),
            (State.READY, "ready"),
            (State.ERROR, "error"),
            (State.DRAINING, "draining"),
        ],
    )
    def test_every_state_has_a_word_of_the_registry(self, state: State, word: str) -> None:
        assert pictures.worker_status(Snapshot(version=1, taken_at=MOMENT, state=state)) == word

    def test_the_slowest_model_is_the_load_time(self) -> None:
        parts = [ComponentSnapshot(name, timings=Timings(load_time_ms=ms)) for name, ms in (("a", 1500.0), ("b", None))]
        assert pictures.load_seconds(Snapshot.of(parts, taken_at=MOMENT)) == 1.5
        assert pictures.load_seconds(Snapshot.of((), taken_at=MOMENT)) is None

    def test_a_worker_is_named_after_its_first_required_model(self) -> None:
        parts = [ComponentSnapshot("stt", required=False), ComponentSnapshot("tts"), ComponentSnapshot("chat")]
        assert pictures.leading_model(Snapshot.of(parts, taken_at=MOMENT)) == "tts"
        assert pictures.leading_model(Snapshot.of((), taken_at=MOMENT)) is None

    def test_a_service_that_names_no_model_has_none(self) -> None:
        record = WorkerRecord(instance_id="s", status="ready", last_seen=MOMENT)
        assert pictures.noticed(record, MOMENT).components == ()

    def test_a_service_that_failed_shows_its_error(self) -> None:
        record = WorkerRecord(instance_id="s", status="error", last_seen=MOMENT, model_name="m", error="no GPU")
        seen = pictures.noticed(record, MOMENT)
        assert (seen.state, seen.errors) == (State.ERROR, ("m initialization failed: no GPU",))


@given(
    some.text(alphabet="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._ +@=-", min_size=1, max_size=40)
)
def test_whatever_a_key_holds_its_link_stays_one_path(name: str) -> None:
    url = LINKS.artifact(f"inputs/1/{name}")
    assert url.startswith("/v1/artifacts/inputs/1/")
    assert not set(url) & set(' ?#"<>')
