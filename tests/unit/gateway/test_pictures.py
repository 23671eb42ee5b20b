"""What the gateway reads from a worker's picture."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from glowplug.gateway.pictures import (
    failed_models,
    leading_model,
    load_seconds,
    noticed,
    ready_models,
    sleeping_models,
    worker_status,
)
from glowplug.readiness import ComponentSnapshot, ErrorClass, Failure, Snapshot, Status
from glowplug.readiness.component_snapshot import Timings
from glowplug.store import WorkerRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
READY = ComponentSnapshot("tts", status=Status.READY, attempt=1, timings=Timings(load_time_ms=1500))
LOADING = ComponentSnapshot("chat", status=Status.LOADING, attempt=1)
FAILED = ComponentSnapshot(
    "stt", status=Status.ERROR, attempt=1, failure=Failure("no memory", ErrorClass.OUT_OF_MEMORY)
)
ASLEEP = ComponentSnapshot("draw", status=Status.SLEEPING, attempt=2)
NEVER = ComponentSnapshot("paint")


def picture(*components: ComponentSnapshot) -> Snapshot:
    return Snapshot.of(components, taken_at=NOW)


@pytest.mark.parametrize(
    ("components", "word"),
    [
        ((READY,), "ready"),
        ((READY, LOADING), "loading"),
        ((READY, FAILED), "error"),
        ((READY, replace(FAILED, required=False)), "ready"),
        ((), "loading"),
    ],
)
def test_a_worker_is_what_its_models_are_together(components: tuple[ComponentSnapshot, ...], word: str) -> None:
    assert worker_status(picture(*components)) == word


def test_a_ready_model_may_be_sent_work_although_others_of_its_worker_are_not() -> None:
    seen = picture(READY, LOADING, FAILED, ASLEEP)
    assert ready_models(seen) == {"tts"}
    assert failed_models(seen) == {"stt"}


def test_models_that_sleep_or_were_never_begun_wait_for_an_order() -> None:
    assert sleeping_models(picture(READY, LOADING, FAILED, ASLEEP, NEVER)) == {"draw", "paint"}


def test_a_pending_second_attempt_is_no_sleep() -> None:
    assert sleeping_models(picture(replace(NEVER, attempt=1))) == frozenset()


def test_the_slowest_load_is_the_workers() -> None:
    slower = replace(READY, name="chat", timings=Timings(load_time_ms=2500.4))
    assert load_seconds(picture(READY, slower, LOADING)) == 2.5
    assert load_seconds(picture(LOADING)) is None


def test_a_worker_is_named_after_its_first_required_model() -> None:
    assert leading_model(picture(replace(LOADING, required=False), READY)) == "tts"
    assert leading_model(picture(replace(LOADING, required=False))) == "chat"
    assert leading_model(picture()) is None


@pytest.mark.parametrize(
    ("word", "status"),
    [("ready", Status.READY), ("error", Status.ERROR), ("loading", Status.LOADING), ("unheard of", Status.LOADING)],
)
def test_a_service_without_a_link_is_drawn_from_its_notices(word: str, status: Status) -> None:
    record = WorkerRecord(instance_id="w", status=word, last_seen=NOW, model_name="tts", load_time_seconds=2.5)
    (component,) = noticed(record, NOW).components
    assert (component.name, component.status, component.timings.load_time_ms) == ("tts", status, 2500)


def test_its_error_is_the_reason() -> None:
    record = WorkerRecord(instance_id="w", status="error", last_seen=NOW, model_name="tts", error="no memory")
    (component,) = noticed(record, NOW).components
    assert component.failure == Failure("no memory", ErrorClass.PERMANENT)


def test_one_that_names_no_model_has_none() -> None:
    assert noticed(WorkerRecord(instance_id="w", status="ready", last_seen=NOW), NOW).components == ()
