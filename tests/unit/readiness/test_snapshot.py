"""The picture and its views: the documents' bodies, word for word."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import InvalidInput, NotFound
from glowplug.readiness.component_snapshot import ComponentSnapshot, ErrorClass, Failure, Timings
from glowplug.readiness.estimate import Estimate
from glowplug.readiness.progress import Progress
from glowplug.readiness.snapshot import Snapshot
from glowplug.readiness.state import Gates, State, Status

NOW = datetime(2024, 2, 20, 10, 31, tzinfo=UTC)
READY = ComponentSnapshot("tts", "TTS", Status.READY, model="xtts", device="cuda:0", attempt=1, percent=100)
LOADING = ComponentSnapshot(
    "tts",
    "TTS",
    Status.LOADING,
    model="xtts",
    device="cuda:0",
    attempt=1,
    percent=65.4,
    progress=Progress("read"),
    estimate=Estimate(30.0, 44.2, 60.0),
    loading_seconds=12.34,
)
PENDING = ComponentSnapshot("chat", "Chat")
FAILED = ComponentSnapshot(
    "tts", "TTS", Status.ERROR, attempt=1, percent=30, failure=Failure("Out of memory", ErrorClass.OUT_OF_MEMORY)
)
LOST = ComponentSnapshot(
    "chat",
    "Chat",
    Status.ERROR,
    gates=Gates.START,
    attempt=1,
    was_ready=True,
    failure=Failure("Ollama connection refused", ErrorClass.TRANSIENT, retryable=True),
)
ABSENT = ComponentSnapshot("stt", "STT", Status.UNAVAILABLE, required=False, reason="not_installed")


def picture(*components: ComponentSnapshot, **facts: Any) -> Snapshot:
    return Snapshot.of(components, taken_at=NOW, **facts)


def test_api_ready_while_loading() -> None:
    assert picture(LOADING, ABSENT).api_ready() == {
        "ready": False,
        "state": "LOADING_MODELS",
        "progress": 65,
        "services": {
            "tts": {
                "ready": False,
                "status": "loading",
                "required": True,
                "label": "TTS",
                "model": "xtts",
                "progress": 65,
                "estimated_seconds": 45,
                "estimated_seconds_p90": 60,
                "loading_seconds": 12.3,
                "stage": "read",
                "message": "Reading weights",
            },
            "stt": {
                "ready": False,
                "status": "unavailable",
                "required": False,
                "label": "STT",
                "reason": "not_installed",
            },
        },
        "startup_time_ms": None,
        "errors": [],
        "taken_at": "2024-02-20T10:31:00.000Z",
        "message": "AI models are still loading",
        "loading_seconds": 12.3,
        "estimated_seconds": 45,
        "estimated_seconds_p90": 60,
        "phase": "loading",
        "retry_after": 30,
    }


def test_api_ready_when_ready_has_all_that_the_document_has() -> None:
    tts = replace(READY, model=None, timings=Timings(None, None, 234.5))
    assert picture(tts, ABSENT, startup_time_ms=1825.7).api_ready() == {
        "ready": True,
        "state": "READY",
        "progress": 100,
        "services": {
            "tts": {
                "ready": True,
                "status": "ready",
                "required": True,
                "label": "TTS",
                "warmup_time_ms": 234.5,
                "progress": 100,
            },
            "stt": {
                "ready": False,
                "status": "unavailable",
                "required": False,
                "label": "STT",
                "reason": "not_installed",
            },
        },
        "startup_time_ms": 1825.7,
        "errors": [],
        "taken_at": "2024-02-20T10:31:00.000Z",
    }


def test_api_ready_on_error_lists_a_sentence_for_each() -> None:
    body = picture(FAILED, replace(LOST, was_ready=False), ABSENT).api_ready()
    assert (body["ready"], body["state"], body["startup_time_ms"]) == (False, "ERROR", None)
    assert body["errors"] == [
        "TTS initialization failed: Out of memory",
        "Chat service unavailable: Ollama connection refused",
    ]


def test_api_ready_without_any_component() -> None:
    body = picture().api_ready()
    assert (body["ready"], body["state"], body["progress"], body["services"]) == (False, "INITIALIZING", 0, {})


def test_admin_ready_when_ready_is_the_document_to_the_letter() -> None:
    assert picture(READY).admin_ready() == (
        200,
        {"status": "ready", "message": "All systems ready", "ready": True, "models_loaded": True},
    )


def test_admin_ready_while_loading_is_flat_and_too_early() -> None:
    assert picture(LOADING).admin_ready() == (
        425,
        {
            "status": "initializing",
            "message": "AI models are still loading",
            "ready": False,
            "progress": 65,
            "estimated_seconds": 45,
            "estimated_seconds_p90": 60,
            "phase": "loading",
            "retry_after": 30,
            "type": "initialization",
        },
    )


@pytest.mark.parametrize(
    ("component", "phase"),
    [(PENDING, "connecting"), (LOADING, "loading"), (replace(LOADING, status=Status.WARMING), "finalizing")],
)
def test_admin_ready_says_the_same_sentence_in_every_phase(component: ComponentSnapshot, phase: str) -> None:
    status, body = picture(component).admin_ready()
    assert (status, body["phase"], body["message"]) == (425, phase, "AI models are still loading")


def test_too_early_can_be_switched_to_unavailable() -> None:
    assert picture(LOADING).admin_ready(early_status=503)[0] == 503


def test_admin_ready_after_a_failure() -> None:
    status, body = picture(FAILED).admin_ready()
    assert status == 503
    assert (body["status"], body["type"], body["phase"], body["ready"]) == ("error", "error", "error", False)
    assert body["message"] == "TTS initialization failed: Out of memory"
    assert body["estimated_seconds"] is None


def test_draining_is_answered_as_such() -> None:
    drained = picture(READY, draining=True)
    status, body = drained.admin_ready()
    assert (status, body["status"], body["type"], body["ready"]) == (503, "draining", "draining", False)
    assert drained.ready_probe()[0] == 503
    assert drained.health()["status"] == "draining"


def test_the_probe_when_ready_is_the_document_to_the_letter() -> None:
    assert picture(READY).ready_probe() == (200, {"ready": True})


@pytest.mark.parametrize("components", [(), (LOADING,), (FAILED,)])
def test_the_probe_while_not_ready(components: tuple[ComponentSnapshot, ...]) -> None:
    status, body = picture(*components).ready_probe()
    assert status == 503
    assert (body["ready"], body["detail"]) == (False, "Service not ready")
    assert 1 <= body["retry_after"] <= 30


def test_health_while_loading() -> None:
    assert picture(LOADING, ABSENT).health() == {
        "tts_available": True,
        "stt_available": False,
        "status": "loading",
        "model_loaded": False,
        "ready_for_requests": False,
        "model_name": "xtts",
        "device": "cuda:0",
        "gpu_available": True,
        "loading_time": "12.3s",
        "ready": False,
        "ready_state": "LOADING_MODELS",
    }


def test_health_when_ready() -> None:
    body = picture(READY).health()
    assert (body["status"], body["model_loaded"], body["ready_for_requests"]) == ("healthy", True, True)
    assert "loading_time" not in body
    assert "error" not in body


def test_health_when_a_required_component_failed() -> None:
    body = picture(FAILED, ABSENT).health()
    assert body["status"] == "unhealthy"
    assert body["error"] == "TTS initialization failed: Out of memory"


@pytest.mark.parametrize(
    ("component", "status"),
    [(PENDING, "initializing"), (LOADING, "loading"), (replace(LOADING, status=Status.WARMING), "loading")],
)
def test_health_has_a_word_for_every_phase(component: ComponentSnapshot, status: str) -> None:
    assert picture(component).health()["status"] == status


def test_health_names_the_first_required_model() -> None:
    optional = replace(READY, name="stt", model="whisper", required=False)
    server = replace(READY, name="queue", model=None)
    body = picture(server, optional, READY, replace(READY, name="chat", model="llama3.2")).health()
    assert (body["model_name"], body["device"]) == ("xtts", "cuda:0")


def test_health_without_a_model_names_none() -> None:
    assert "model_name" not in picture(PENDING).health()


@pytest.mark.parametrize(
    ("device", "known"), [("cuda:0", True), ("neuron:0", True), ("mps", True), ("cpu", False), (None, False)]
)
def test_an_accelerator_is_known_by_the_devices_in_use(device: str | None, known: bool) -> None:
    assert picture(replace(READY, device=device)).health()["gpu_available"] is known


def test_an_accelerator_may_be_told() -> None:
    assert picture(replace(READY, device="cpu"), gpu_available=True).gpu_available


def test_no_component_can_hide_a_fact_of_the_process() -> None:
    body = picture(replace(READY, name="gpu", device="cpu")).health()
    assert body["gpu_available"] is False


def test_the_socket_message() -> None:
    body = picture(LOADING).ws_init()
    assert set(body) == {"phase", "progress", "estimated_seconds", "message", "services"}
    assert (body["phase"], body["progress"], body["estimated_seconds"]) == ("loading", 65, 45)
    assert picture(READY).ws_init()["message"] == "All systems ready"


def test_an_overrun_is_told_in_the_message() -> None:
    late = replace(LOADING, estimate=Estimate(1, 2, 3, "Longer than usual: 95 s, usually under 60 s"))
    assert picture(late).message == "Longer than usual: 95 s, usually under 60 s"
    assert picture(late).admin_ready()[1]["message"] == "AI models are still loading"


@pytest.mark.parametrize(
    ("seconds", "retry_after"), [(None, 2), (0.0, 1), (0.4, 1), (3.2, 4), (29.5, 30), (30.1, 30), (9000.0, 30)]
)
def test_retry_after_is_whole_seconds_from_one_to_thirty(seconds: float | None, retry_after: int) -> None:
    estimate = None if seconds is None else Estimate(0, seconds, seconds)
    assert picture(replace(LOADING, estimate=estimate)).retry_after == retry_after


def test_what_is_not_earned_is_null() -> None:
    body = picture(replace(LOADING, estimate=None)).admin_ready()[1]
    assert body["estimated_seconds"] is None
    assert "estimated_seconds_p90" not in body


def test_require_nothing_in_particular_asks_for_all_that_is_required() -> None:
    assert picture(READY, PENDING).require([])[0] == 425
    assert picture(READY, replace(PENDING, required=False)).require([])[0] == 200


def test_require_one_component_asks_for_it_alone() -> None:
    both = picture(READY, PENDING)
    assert both.require(["tts"])[0] == 200
    status, body = both.require(["chat"])
    assert (status, body["type"]) == (425, "initialization")


def test_require_asks_for_optional_components_too() -> None:
    assert picture(READY, ABSENT).require(["stt"])[0] == 503


def test_require_speaks_of_the_progress_of_what_is_required() -> None:
    body = picture(LOADING, PENDING).require(["tts"])[1]
    assert (body["progress"], body["estimated_seconds"]) == (65, 45)


def test_a_lost_server_leaves_the_whole_ready_but_not_itself() -> None:
    both = picture(READY, LOST)
    assert both.ready
    assert both.errors == ("Chat service unavailable: Ollama connection refused",)
    assert both.services()["chat"]["ready"] is False
    assert both.require(["tts"])[0] == 200
    status, body = both.require(["chat"])
    assert (status, body["message"]) == (503, "Chat service unavailable: Ollama connection refused")


def test_require_while_draining_is_refused() -> None:
    assert picture(READY, draining=True).require(["tts"])[0] == 503


def test_a_misspelt_requirement_is_told() -> None:
    with pytest.raises(NotFound, match="no component named 'ttss'; there are: chat, tts"):
        picture(READY, PENDING).require(["tts", "ttss"])


def test_progress_weighs_each_component_by_its_usual_time() -> None:
    long = replace(LOADING, name="long", weight_seconds=90.0, percent=50.0)
    short = replace(LOADING, name="short", weight_seconds=10.0, percent=100.0)
    assert picture(long, short).progress == 55


def test_optional_components_do_not_count_in_the_progress() -> None:
    assert picture(LOADING, replace(PENDING, required=False)).progress == 65


def test_progress_is_a_hundred_when_ready_and_only_then() -> None:
    assert picture(READY).progress == 100
    assert picture(replace(LOADING, percent=100.0)).progress == 99


def test_the_estimate_of_the_whole_is_that_of_the_slowest() -> None:
    other = replace(LOADING, name="other", estimate=Estimate(50.0, 70.0, 90.0))
    assert picture(LOADING, other).estimated_seconds == 70


def test_what_has_not_begun_comes_on_top() -> None:
    other = replace(PENDING, estimate=Estimate(5.0, 10.0, 20.0))
    assert picture(LOADING, other).estimated_seconds == 55


def test_one_unknown_component_leaves_the_whole_unknown() -> None:
    assert picture(LOADING, PENDING).estimated_seconds is None
    assert picture(LOADING, PENDING).retry_after == 2


@pytest.mark.parametrize("component", [READY, FAILED])
def test_there_is_nothing_to_estimate_once_settled(component: ComponentSnapshot) -> None:
    assert picture(replace(component, estimate=Estimate(1, 2, 3))).estimate is None


def test_a_component_is_found_by_its_name() -> None:
    assert picture(READY, PENDING).find("chat") == PENDING
    assert picture(READY).find("chat") is None


def test_a_picture_grows_older_without_news() -> None:
    older = picture(LOADING).aged(20.0)
    assert older.estimated_seconds == 25
    assert older.health()["loading_time"] == "32.3s"


def test_a_settled_picture_does_not_grow_older() -> None:
    for one in (picture(READY), picture(FAILED)):
        assert one.aged(100.0) is one


@pytest.mark.parametrize(
    "components", [(), (READY,), (LOADING, PENDING), (FAILED, LOST, ABSENT)], ids=["none", "ready", "loading", "error"]
)
def test_a_picture_survives_the_wire_with_all_its_views(components: tuple[ComponentSnapshot, ...]) -> None:
    before = picture(*components, version=17, startup_time_ms=12.5)
    after = Snapshot.from_dict(json.loads(json.dumps(before.to_dict())))
    assert after == before
    assert after.api_ready() == before.api_ready()
    assert after.admin_ready() == before.admin_ready()
    assert after.health() == before.health()


def test_fields_of_a_newer_version_are_ignored() -> None:
    data = picture(READY).to_dict()
    assert Snapshot.from_dict({**data, "mood": "fine"}) == picture(READY)


@pytest.mark.parametrize(
    "change",
    [
        {"taken_at": None},
        {"taken_at": "soon"},
        {"state": "HAPPY"},
        {"components": {}},
        {"components": ["tts"]},
        {"components": [{"name": "tts", "status": "zombie"}]},
        {"version": "x"},
        {"progress": float("inf")},
    ],
)
def test_a_malformed_picture_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Snapshot.from_dict({**picture(READY).to_dict(), **change})


@pytest.mark.parametrize("data", [None, [], "snapshot", 3])
def test_what_is_no_picture_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInput, match="must be an object"):
        Snapshot.from_dict(data)


components = st.lists(
    st.builds(
        ComponentSnapshot,
        name=st.sampled_from(["a", "b", "c"]),
        status=st.sampled_from(Status),
        required=st.booleans(),
        gates=st.sampled_from(Gates),
        attempt=st.integers(0, 2),
        was_ready=st.booleans(),
        percent=st.floats(0, 100),
        estimate=st.none() | st.just(Estimate(1, 2, 3)),
        failure=st.none() | st.just(Failure("no")),
    ),
    max_size=3,
    unique_by=lambda one: one.name,
)


@given(components, st.booleans())
def test_all_views_tell_the_same_truth(parts: list[ComponentSnapshot], draining: bool) -> None:
    one = picture(*parts, draining=draining)
    answers = {
        one.ready,
        one.state is State.READY,
        one.health()["ready"],
        one.health()["status"] == "healthy",
        one.ready_probe()[1]["ready"],
        one.ready_probe()[0] == 200,
        one.api_ready()["ready"],
        one.api_ready()["progress"] == 100,
        one.admin_ready()[1]["ready"],
        one.admin_ready()[0] == 200,
        one.ws_init()["phase"] == "ready",
        one.require([])[0] == 200,
    }
    assert len(answers) == 1


@given(components)
def test_every_view_is_plain_json(parts: list[ComponentSnapshot]) -> None:
    one = picture(*parts)
    for body in (one.health(), one.ready_probe(), one.api_ready(), one.admin_ready(), one.ws_init(), one.to_dict()):
        assert json.loads(json.dumps(body, allow_nan=False))


def test_api_ready_carries_the_addresses_of_the_other_routes() -> None:
    body = picture(LOADING).api_ready({"stream": "ready/stream"})
    assert body["links"] == {"stream": "ready/stream"}


def test_the_longest_load_that_is_waited_for_tells_how_long_it_has_been() -> None:
    longer = replace(LOADING, name="chat", loading_seconds=20.04)
    optional = replace(LOADING, name="stt", loading_seconds=90.0, required=False)
    assert picture(LOADING, longer, optional).loading_seconds == 20.0
    assert picture(READY).loading_seconds is None
