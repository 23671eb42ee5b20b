"""What the gateway answers, as values."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from glowplug.client.views import ArtifactView, EventView, JobView, ModelView, ReadyView, Result
from glowplug.errors import LoadFailed

JOB = {"id": "j1", "task": "a.b", "state": "queued", "done": False, "created_at": "2026-01-01T00:00:00Z"}


def ready(**services: dict[str, Any]) -> ReadyView:
    return ReadyView(ready=False, state="LOADING_MODELS", services=services)


def test_a_job_needs_only_what_every_gateway_says() -> None:
    job = msgspec.convert(JOB, JobView)
    assert (job.id, job.attempts, job.artifacts, job.result) == ("j1", (), (), None)
    assert job.created_at.tzinfo is not None


def test_a_job_as_the_gateway_tells_it_is_read_whole() -> None:
    said = {
        **JOB,
        "state": "running",
        "progress": {"done": 3, "total": 4, "percent": 75.0, "note": "step 3", "preview": None},
        "attempts": [{"number": 1, "worker": "w1", "outcome": None}],
        "artifacts": [{"uri": "artifact:jobs/j1/1/a.png", "name": "a.png", "key": "x", "url": "/v1/artifacts/x"}],
        "error": {"code": "ValueError", "message": "no", "retryable": True, "details": {}},
        "urls": {"get": "/v1/jobs/j1"},
        "something_new": True,
    }
    job = msgspec.convert(said, JobView)
    assert job.progress is not None
    assert job.progress.percent == 75
    assert job.artifacts[0].url == "/v1/artifacts/x"
    assert job.error == said["error"]


@pytest.mark.parametrize(("state", "good"), [("completed", True), ("failed", False), ("canceled", False)])
def test_only_a_completed_job_has_succeeded(state: str, good: bool) -> None:
    assert msgspec.convert({**JOB, "state": state, "done": True}, JobView).succeeded is good


def test_a_whole_that_is_ready_serves() -> None:
    view = ReadyView(ready=True, state="READY", services={"tts": {"ready": True, "status": "ready"}})
    assert view.serves(None)
    assert view.serves("tts")
    assert not view.serves("nobody")


@pytest.mark.parametrize("status", ["pending", "fetching", "loading", "warming", "sleeping", "draining"])
def test_what_may_still_become_ready_is_waited_for(status: str) -> None:
    view = ready(tts={"ready": False, "status": status})
    assert not view.serves("tts")
    assert not view.serves(None)


@pytest.mark.parametrize("status", ["error", "unavailable"])
def test_what_cannot_become_ready_is_an_error_with_its_reason(status: str) -> None:
    with pytest.raises(LoadFailed, match="tts: no weights"):
        ready(tts={"ready": False, "status": status, "error": "no weights"}).serves("tts")
    with pytest.raises(LoadFailed, match="tts: not_installed"):
        ready(tts={"ready": False, "status": status, "reason": "not_installed"}).serves("tts")
    with pytest.raises(LoadFailed, match="its load failed"):
        ready(tts={"ready": False, "status": status}).serves("tts")


def test_one_model_s_failure_is_no_other_s() -> None:
    view = ready(tts={"ready": False, "status": "error"}, stt={"ready": True, "status": "ready"})
    assert view.serves("stt")
    assert not view.serves(None)


@pytest.mark.parametrize(
    ("errors", "message", "said"),
    [(("tts failed: no", "stt failed: no"), "", "tts failed: no; stt"), ((), "oh", "oh"), ((), "", "see the log")],
)
def test_a_whole_that_failed_says_why(errors: tuple[str, ...], message: str, said: str) -> None:
    with pytest.raises(LoadFailed, match=said):
        ReadyView(ready=False, state="ERROR", errors=errors, message=message).serves(None)


@pytest.mark.parametrize(("state", "failed"), [("error", True), ("unavailable", True), ("loading", False), ("", False)])
def test_a_model_knows_whether_it_failed(state: str, failed: bool) -> None:
    assert ModelView("tts", state=state).failed is failed


def test_views_cannot_be_changed() -> None:
    for view in (Result(1), ArtifactView("artifact:x"), ModelView("tts")):
        with pytest.raises(AttributeError):
            view.name = "other"  # type: ignore[misc, union-attr]


def test_an_event_is_read_with_its_time() -> None:
    said = {"seq": 3, "type": "progress", "at": "2026-01-01T00:00:00.5Z", "data": {"done": 1}}
    event = msgspec.convert(said, EventView)
    assert event.at.microsecond == 500_000
    assert event.data == {"done": 1}
