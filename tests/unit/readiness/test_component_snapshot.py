"""One component at one moment, as documents and wires see it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import InvalidInput
from glowplug.readiness.component_snapshot import ComponentSnapshot, ErrorClass, Failure, Timings
from glowplug.readiness.estimate import Estimate
from glowplug.readiness.progress import Progress
from glowplug.readiness.state import Gates, Status
from glowplug.readiness.wire import Reader

LOADED_AT = datetime(2024, 2, 20, 10, 30, 45, tzinfo=UTC)
LOADING = ComponentSnapshot(
    "tts",
    label="TTS",
    status=Status.LOADING,
    model="xtts",
    attempt=1,
    percent=45.6,
    progress=Progress("read", 4.1e9, 9.8e9, "bytes"),
    estimate=Estimate(8.0, 10.2, 15.0),
    loading_seconds=12.5,
)


def read(data: Any) -> ComponentSnapshot:
    return ComponentSnapshot.read(Reader(data, "component"))


def test_an_entry_of_what_waits_says_no_more_than_that() -> None:
    assert ComponentSnapshot("chat").service() == {"ready": False, "status": "pending", "required": True}


def test_an_entry_of_what_loads_says_how_far_and_how_long() -> None:
    assert LOADING.service() == {
        "ready": False,
        "status": "loading",
        "required": True,
        "label": "TTS",
        "model": "xtts",
        "progress": 45,
        "estimated_seconds": 11,
        "estimated_seconds_p90": 15,
        "loading_seconds": 12.5,
        "stage": "read",
        "message": "Reading weights, 4.1 of 9.8 GB",
        "done": 4.1e9,
        "total": 9.8e9,
        "unit": "bytes",
    }


def test_an_entry_of_what_is_ready_says_what_it_took() -> None:
    ready = ComponentSnapshot(
        "chat",
        status=Status.READY,
        model="llama3.2",
        attempt=1,
        percent=100,
        timings=Timings(LOADED_AT, 812.5, 1523.2),
    )
    assert ready.service() == {
        "ready": True,
        "status": "ready",
        "required": True,
        "model": "llama3.2",
        "loaded_at": "2024-02-20T10:30:45.000Z",
        "load_time_ms": 812.5,
        "warmup_time_ms": 1523.2,
        "progress": 100,
    }


def test_an_entry_of_what_is_not_installed_gives_the_reason() -> None:
    absent = ComponentSnapshot("stt", status=Status.UNAVAILABLE, reason="not_installed")
    assert absent.service() == {
        "ready": False,
        "status": "unavailable",
        "required": True,
        "reason": "not_installed",
    }


def test_an_entry_of_what_failed_gives_the_error_for_people_and_machines() -> None:
    failed = replace(
        ComponentSnapshot("tts", status=Status.ERROR, attempt=2, percent=30.0),
        failure=Failure("Out of memory", ErrorClass.OUT_OF_MEMORY),
    )
    assert failed.service() == {
        "ready": False,
        "status": "error",
        "required": True,
        "progress": 30,
        "error": "Out of memory",
        "error_class": "out_of_memory",
        "retryable": False,
        "attempt": 2,
    }


def test_a_failed_model_reads_as_in_the_documents() -> None:
    failed = ComponentSnapshot("tts", "TTS", Status.ERROR, failure=Failure("Out of memory"))
    assert failed.error_sentence == "TTS initialization failed: Out of memory"


def test_a_lost_server_reads_as_in_the_documents() -> None:
    lost = ComponentSnapshot(
        "chat", "Chat", Status.ERROR, gates=Gates.START, failure=Failure("Ollama connection refused")
    )
    assert lost.error_sentence == "Chat service unavailable: Ollama connection refused"


def test_something_optional_that_is_not_installed_is_no_error() -> None:
    absent = ComponentSnapshot("stt", "STT", Status.UNAVAILABLE, reason="not_installed")
    assert replace(absent, required=False).error_sentence is None
    assert absent.error_sentence == "STT initialization failed: not_installed"


def test_a_failure_that_will_be_tried_again_is_no_error_yet() -> None:
    waiting = ComponentSnapshot("tts", status=Status.PENDING, failure=Failure("crashed"))
    assert waiting.error_sentence is None
    assert waiting.service()["error"] == "crashed"


def test_what_loads_grows_older_without_news() -> None:
    older = LOADING.aged(4.0)
    assert older.estimate == Estimate(4.0, 6.199999999999999, 11.0)
    assert older.loading_seconds == 16.5
    assert older.percent == LOADING.percent


def test_what_does_not_load_does_not_grow_older() -> None:
    for status in (Status.READY, Status.PENDING, Status.ERROR):
        still = ComponentSnapshot("tts", status=status, estimate=Estimate(1, 2, 3))
        assert still.aged(10.0) == still


texts = st.text(min_size=1, max_size=20)
seconds = st.none() | st.floats(0, 1e6).map(lambda value: round(value, 3))
snapshots = st.builds(
    ComponentSnapshot,
    name=texts,
    label=st.text(max_size=5),
    status=st.sampled_from(Status),
    required=st.booleans(),
    gates=st.sampled_from(Gates),
    model=st.none() | texts,
    device=st.none() | texts,
    attempt=st.integers(0, 9),
    was_ready=st.booleans(),
    percent=st.floats(0, 100).map(lambda value: round(value, 2)),
    weight_seconds=st.floats(0, 1e5).map(lambda value: round(value, 3)),
    progress=st.none() | st.builds(Progress, texts, st.floats(0, 1e12), st.none() | st.floats(0, 1e12), texts, texts),
    estimate=st.none() | st.builds(Estimate, *[st.integers(0, 10_000).map(float)] * 3, st.text(max_size=9)),
    loading_seconds=seconds,
    timings=st.builds(Timings, st.none() | st.just(LOADED_AT), seconds, seconds),
    reason=st.none() | texts,
    failure=st.none() | st.builds(Failure, texts, st.sampled_from(ErrorClass), st.booleans()),
)


@given(snapshots)
def test_every_component_survives_the_wire(snapshot: ComponentSnapshot) -> None:
    assert read(json.loads(json.dumps(snapshot.to_dict()))) == snapshot


def test_fields_of_a_newer_version_are_ignored() -> None:
    assert read({**LOADING.to_dict(), "mood": "fine"}) == LOADING


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 3),
        ("status", "zombie"),
        ("gates", "never"),
        ("percent", "half"),
        ("percent", float("nan")),
        ("progress", "far"),
        ("estimate", [1, 2, 3]),
        ("required", "yes"),
        ("loaded_at", "yesterday"),
    ],
)
def test_a_malformed_component_is_refused_by_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=field):
        read({**LOADING.to_dict(), field: value})


def test_numbers_out_of_range_are_put_back_into_it() -> None:
    wild = read({**LOADING.to_dict(), "percent": 900, "weight_seconds": -4})
    assert (wild.percent, wild.weight_seconds) == (100.0, 0.0)
