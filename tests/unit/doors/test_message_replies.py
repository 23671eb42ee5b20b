"""What goes out by message: for each event of a job, the body that the contract names."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.artifact import Artifact
from glowplug.doors.message_replies import TOLD_TYPES, Seen, needs_the_past, reply
from glowplug.doors.message_requests import Kind
from glowplug.job import (
    Failure,
    Job,
    JobEvent,
    JobRequest,
    Note,
    Outcome,
    OutcomeKind,
    cancel_asked,
    claimed,
    noted,
    settled,
    submitted,
)

NOW = datetime(2024, 1, 15, 10, 30, 45, 123456, UTC)
STAMP = "2024-01-15T10:30:45.123456"
LEASE = timedelta(seconds=60)
METRICS = {"train_loss": 0.0234, "mAP50": 0.789, "box_loss": 0.0123, "cls_loss": 0.0089, "dfl_loss": 0.0022}
BEST = Artifact("jobs/x/1/best.pt", 3, "00")


def a_job(kind: Kind, **given_input: Any) -> Job:
    """Return a running job that a message asked for."""
    request = JobRequest(
        task=f"detector.{kind}",
        input=given_input,
        owner="rabbitmq",
        metadata={"job_id": "abc12345", "kind": kind.value},
    )
    job, _ = submitted(request, NOW - timedelta(seconds=10))
    job, _ = claimed(job, "w1", NOW - timedelta(seconds=5), LEASE)
    return job


def told(kind: Kind, event: JobEvent, job: Job, seen: Seen | None = None) -> dict[str, Any]:
    made = reply(kind, job, event, seen or Seen())
    assert made is not None
    assert made.final == (event.type not in ("metrics", "progress"))
    body: dict[str, Any] = json.loads(json.dumps(dict(made.body), allow_nan=False))
    return body


def note(job: Job, type: str, **data: Any) -> JobEvent:  # noqa: A002
    return noted(job, (Note(type, data),), NOW)[1][0]


def end(job: Job, outcome: Outcome) -> tuple[Job, JobEvent]:
    job, events = settled(job, outcome, NOW)
    return job, events[-1]


def completed(kind: Kind, result: Any, seen: Seen | None = None, **given_input: Any) -> dict[str, Any]:
    artifacts = (BEST,) if kind is not Kind.INFER else ()
    outcome = Outcome(OutcomeKind.COMPLETED, result, artifacts=artifacts)
    job, event = end(a_job(kind, **given_input), outcome)
    return told(kind, event, job, seen)


def test_an_epoch_is_told_as_the_document_shows_it() -> None:
    job = a_job(Kind.TRAIN)
    event = note(job, "metrics", epoch=15, total_epochs=100, **METRICS)
    body = told(Kind.TRAIN, event, job)
    assert body == {
        "type": "epoch_update",
        "job_id": "abc12345",
        "status": "running",
        "current_epoch": 15,
        "total_epochs": 100,
        "progress": 15.0,
        "metrics": METRICS,
        "timestamp": STAMP,
    }
    assert list(body) == [
        "type", "job_id", "status", "current_epoch", "total_epochs", "progress", "metrics", "timestamp",
    ]  # fmt: skip


def test_a_metric_that_was_not_reported_is_null_and_further_ones_are_passed_on() -> None:
    job = a_job(Kind.TRAIN, hyperparams={"epochs": 4})
    body = told(Kind.TRAIN, note(job, "metrics", epoch=1.0, train_loss=0.5, lr=0.01), job)
    nothing = {"mAP50": None, "box_loss": None, "cls_loss": None, "dfl_loss": None}
    assert body["metrics"] == {"train_loss": 0.5, "lr": 0.01, **nothing}
    assert (body["current_epoch"], body["total_epochs"], body["progress"]) == (1, 4, 25.0)


def test_metrics_without_an_epoch_are_no_message() -> None:
    job = a_job(Kind.TRAIN)
    assert reply(Kind.TRAIN, job, note(job, "metrics", train_loss=0.5), Seen()) is None
    assert reply(Kind.CONVERT, job, note(job, "metrics", epoch=1), Seen()) is None


@pytest.mark.parametrize("kind", Kind)
def test_other_progress_is_a_progress_update(kind: Kind) -> None:
    job = a_job(kind)
    event = note(job, "progress", done=1, total=4, percent=25.0, note="reading", preview=None)
    assert told(kind, event, job) == {
        "type": "progress_update",
        "job_id": "abc12345",
        "status": "running",
        "progress": 25.0,
        "message": "reading",
        "timestamp": STAMP,
    }


def test_a_training_that_completed_says_where_the_model_is_and_what_it_came_to() -> None:
    seen = Seen(epoch=100, loss=0.0156, map50=0.892)
    assert completed(Kind.TRAIN, {"model_path": BEST.uri, "training_time": 3600.5}, seen) == {
        "type": "training_completed",
        "job_id": "abc12345",
        "status": "completed",
        "progress": 100.0,
        "model_path": "jobs/x/1/best.pt",
        "final_metrics": {"final_mAP50": 0.892, "final_loss": 0.0156, "training_epochs": 100},
        "training_time": 3600.5,
        "timestamp": STAMP,
    }


def test_what_the_task_says_of_its_metrics_goes_before_what_was_seen() -> None:
    said = {"model_path": "models/best.pt", "final_metrics": {"final_mAP50": 0.9}}
    body = completed(Kind.TRAIN, said, Seen(3, 0.5, 0.8), hyperparams={"epochs": 3})
    assert body["model_path"] == "models/best.pt"
    assert body["final_metrics"] == {"final_mAP50": 0.9, "final_loss": 0.5, "training_epochs": 3}


@pytest.mark.parametrize("result", [None, {}, [1], 7, {"model_path": 7}])
def test_a_result_without_a_path_is_told_with_the_first_file_that_was_saved(result: Any) -> None:
    body = completed(Kind.TRAIN, result, hyperparams={"epochs": 7})
    assert body["model_path"] == BEST.key
    assert body["training_time"] == 5.0
    assert body["final_metrics"] == {"final_mAP50": None, "final_loss": None, "training_epochs": 7}


def test_a_conversion_that_completed() -> None:
    assert completed(Kind.CONVERT, BEST.uri) == {
        "type": "conversion_completed",
        "job_id": "abc12345",
        "status": "completed",
        "progress": 100.0,
        "model_path": "jobs/x/1/best.pt",
        "conversion_time": 5.0,
        "timestamp": STAMP,
    }


def test_inference_names_the_images_as_they_were_asked_for() -> None:
    found = {"label": "square", "confidence": 0.9, "box": [0, 0, 8, 8]}
    results = [{"detections": [{**found, "cell": 1}], "output": "artifact:jobs/x/1/0.png"}, {"detections": []}]
    body = completed(Kind.INFER, {"results": results}, images=["artifact:inputs/f/a.png", "https://x/b.png"])
    assert body == {
        "type": "inference_completed",
        "job_id": "abc12345",
        "status": "completed",
        "progress": 100.0,
        "results": [
            {"image": "inputs/f/a.png", "detections": [found], "output": "jobs/x/1/0.png"},
            {"image": "https://x/b.png", "detections": [], "output": None},
        ],
        "inference_time": 5.0,
        "timestamp": STAMP,
    }


def test_a_task_may_name_its_images_itself_and_have_more_results_than_images() -> None:
    body = completed(Kind.INFER, [{"image": "b.png"}, {}, {}], images=["a.png", "c.png"])
    assert [one["image"] for one in body["results"]] == ["b.png", "c.png", None]


def test_a_training_that_failed_says_how_far_it_came() -> None:
    outcome = Outcome(OutcomeKind.FAILED, failure=Failure("MemoryError", "CUDA out of memory", retryable=False))
    job, event = end(a_job(Kind.TRAIN), outcome)
    assert told(Kind.TRAIN, event, job, Seen(23, 0.0234, 0.567)) == {
        "type": "training_failed",
        "job_id": "abc12345",
        "status": "failed",
        "current_epoch": 23,
        "error_message": "CUDA out of memory",
        "partial_metrics": {"last_loss": 0.0234, "last_mAP50": 0.567},
        "timestamp": STAMP,
    }


@pytest.mark.parametrize(("kind", "type_"), [(Kind.CONVERT, "conversion_failed"), (Kind.INFER, "inference_failed")])
def test_other_failures_have_an_error_message(kind: Kind, type_: str) -> None:
    outcome = Outcome(OutcomeKind.FAILED, failure=Failure("ValueError", "no such format", retryable=False))
    job, event = end(a_job(kind), outcome)
    body = told(kind, event, job)
    assert body == {
        "type": type_,
        "job_id": "abc12345",
        "status": "failed",
        "error_message": "no such format",
        "timestamp": STAMP,
    }


@pytest.mark.parametrize("kind", Kind)
def test_a_canceled_job_is_told_as_failed(kind: Kind) -> None:
    job, _ = cancel_asked(a_job(kind), NOW)
    job, event = end(job, Outcome(OutcomeKind.CANCELED))
    body = told(kind, event, job)
    assert (body["status"], body["error_message"]) == ("failed", "canceled")
    assert body["type"].endswith("_failed")


@pytest.mark.parametrize("type_", ["queued", "started", "requeued", "checkpoint", "log", "resumed", "canceling"])
def test_what_the_contract_has_no_message_for_is_not_told(type_: str) -> None:
    job = a_job(Kind.TRAIN)
    assert type_ not in TOLD_TYPES
    assert reply(Kind.TRAIN, job, JobEvent(job.id, 3, type_, NOW, {}), Seen()) is None


def test_the_last_of_each_number_is_kept_however_far_apart_they_are() -> None:
    job = a_job(Kind.TRAIN)
    log = [
        note(job, "metrics", epoch=1, train_loss=0.9, mAP50=0.1),
        note(job, "metrics", epoch=2, train_loss=0.5, mAP50=0.4),
        note(job, "progress", percent=50.0),
        note(job, "metrics", epoch=3, loss=0.3),
        note(job, "metrics", lr=0.1),
    ]
    assert Seen().preceded_by(log) == Seen(3, 0.3, 0.4)
    assert Seen().preceded_by(log[2:]) == Seen(3, 0.3, None)
    assert Seen(3, 0.3, None).preceded_by(log[:2]) == Seen(3, 0.3, 0.4)
    assert not Seen(3, 0.3, None).is_whole
    assert Seen(0, 0.0, 0.0).is_whole


def test_only_the_end_of_a_training_needs_the_past() -> None:
    job = a_job(Kind.TRAIN)
    ends = [JobEvent(job.id, 9, type_, NOW, {}) for type_ in ("completed", "failed", "canceled")]
    assert all(needs_the_past(Kind.TRAIN, event) for event in ends)
    assert not any(needs_the_past(Kind.INFER, event) for event in ends)
    assert not needs_the_past(Kind.TRAIN, note(job, "metrics", epoch=1))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
FOUND = st.lists(st.dictionaries(st.sampled_from(["image", "detections", "output"]), ANY_JSON), max_size=3)
NAMED = st.dictionaries(
    st.sampled_from(["model_path", "final_metrics", "results", "training_time", "inference_time"]), ANY_JSON | FOUND
)


@given(st.sampled_from(list(Kind)), ANY_JSON | NAMED, ANY_JSON)
def test_whatever_a_task_returns_there_is_a_message_of_the_right_type(kind: Kind, result: Any, images: Any) -> None:
    more = {"images": images} if isinstance(images, list) else {}
    job, event = end(a_job(kind, **more), Outcome(OutcomeKind.COMPLETED, result))
    made = reply(kind, job, event, Seen())
    assert made is not None
    assert made.final
    assert made.body["type"].endswith("_completed")


@given(st.sampled_from(list(Kind)), st.dictionaries(st.sampled_from(["epoch", "total_epochs", "x"]), st.floats()))
def test_whatever_numbers_a_task_reports_no_message_breaks(kind: Kind, values: dict[str, float]) -> None:
    job = a_job(kind)
    made = reply(kind, job, note(job, "metrics", **values), Seen())
    assert made is None or made.body["type"] == "epoch_update"


def test_the_caller_is_told_where_files_lie_that_were_laid_elsewhere() -> None:
    job = a_job(Kind.TRAIN)
    done, events = settled(job, Outcome(OutcomeKind.COMPLETED, result={"model_path": BEST.uri}, artifacts=(BEST,)), NOW)
    made = reply(Kind.TRAIN, done, events[-1], Seen(), {BEST.key: "models/cats.pt"})
    assert made is not None
    assert made.body["model_path"] == "models/cats.pt"
    found = {
        "results": [{"detections": [], "output": "artifact:jobs/x/1/1.png"}, {"output": "artifact:jobs/x/1/2.png"}]
    }
    done, events = settled(a_job(Kind.INFER, images=["a", "b"]), Outcome(OutcomeKind.COMPLETED, result=found), NOW)
    made = reply(Kind.INFER, done, events[-1], Seen(), {"jobs/x/1/1.png": "found/1.png"})
    assert made is not None
    assert [one["output"] for one in made.body["results"]] == ["found/1.png", "jobs/x/1/2.png"]
