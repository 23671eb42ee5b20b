"""The AsyncAPI document says what the code does, and hangs together."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.servers.message_check import DOCUMENT, check, document

from glowplug.door import cloud_event
from glowplug.doors.job_webhook import webhook_event
from glowplug.doors.message_replies import Seen, reply
from glowplug.doors.message_requests import Kind
from glowplug.job import EVENT_TYPES, JobEvent, JobRequest, submitted

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAILURE = {"code": "ValueError", "message": "no", "attempt": 1}
PROGRESS = {"done": 1, "total": None, "percent": None, "note": "", "preview": None}
SAID: dict[str, dict[str, Any]] = {
    "queued": {"task": "detector.train"},
    "started": {"attempt": 1, "worker": "w1"},
    "requeued": {"reason": "asked"},
    "failed": FAILURE,
    "completed": {"result": {"model_path": "artifact://m/best.pt"}},
    "progress": PROGRESS,
    "metrics": {"epoch": 1, "train_loss": 0.5},
    "checkpoint": {"step": 3, "size_bytes": 10},
    "resumed": {"step": 3},
    "log": {"text": "hello"},
}


def job(kind: Kind = Kind.TRAIN) -> Any:
    asked = JobRequest(task="detector.train", input={}, owner="rabbitmq", metadata={"job_id": "abc", "kind": kind})
    return submitted(asked, NOW)[0]


def event(kind: str) -> JobEvent:
    return JobEvent("019a", 2, kind, NOW, SAID.get(kind, {}))


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolved(reference: str) -> Any:
    found: Any = document()
    for part in reference.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


def test_the_document_is_what_the_code_says() -> None:
    command = [sys.executable, "scripts/asyncapi"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
    assert DOCUMENT.read_text(encoding="utf-8") == printed, "scripts/asyncapi > docs/asyncapi.yaml"


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    assert document()["asyncapi"] == "3.0.0"
    found = list(references(document()))
    assert len(found) > 100
    for one in found:
        assert resolved(one), one
    for schema in document()["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_channel_has_an_operation_and_every_message_a_payload() -> None:
    channels = document()["channels"]
    used = {one["channel"]["$ref"].removeprefix("#/channels/"): one for one in document()["operations"].values()}
    assert set(used) == set(channels)
    for name, operation in used.items():
        assert operation["action"] in ("send", "receive")
        assert [one["$ref"] for one in operation["messages"]]
        assert all(one["$ref"].startswith(f"#/channels/{name}/messages/") for one in operation["messages"])
    sent = {one["$ref"] for channel in channels.values() for one in channel["messages"].values()}
    assert sent == {f"#/components/messages/{name}" for name in document()["components"]["messages"]}
    assert all(message["payload"] for message in document()["components"]["messages"].values())


def test_parameters_of_an_address_are_explained() -> None:
    for channel in document()["channels"].values():
        words = (channel["address"] or "").split("{")[1:]
        assert {word.partition("}")[0] for word in words} == set(channel.get("parameters", {}))


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES))
def test_an_event_and_its_webhook_are_as_the_document_says(kind: str) -> None:
    check(f"job_{kind}", cloud_event(job(), event(kind), "/glowplug"))
    name = "webhook_ended" if kind in ("completed", "failed", "canceled") else "webhook_goes_on"
    check(name, webhook_event(job(), event(kind), lambda key: key))


def test_no_metric_of_a_tasks_own_can_pass_for_what_the_event_is_about() -> None:
    said = {"seq": 99.0, "owner": 1.0, "job_id": 2.0, "loss": 0.5}
    body = cloud_event(job(), JobEvent("019a", 2, "metrics", NOW, said), "/glowplug")
    check("job_metrics", body)
    assert (body["data"]["seq"], body["data"]["owner"], body["data"]["loss"]) == (2, "rabbitmq", 0.5)


@pytest.mark.parametrize("wrong", [{"type": "glowplug.job.started"}, {"time": "yesterday"}, {"data": {}}, {"id": None}])
def test_what_is_no_such_event_is_not(wrong: dict[str, Any]) -> None:
    body = cloud_event(job(), event("queued"), "/glowplug")
    check("job_queued", body)
    with pytest.raises(jsonschema.ValidationError):
        check("job_queued", body | wrong)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("told", ["metrics", "progress", "completed", "failed", "canceled"])
@pytest.mark.parametrize("seen", [Seen(), Seen(3, 0.5, 0.75)], ids=["nothing", "all"])
def test_replies_by_message_are_as_the_document_says(kind: Kind, told: str, seen: Seen) -> None:
    made = reply(kind, job(kind), event(told), seen)
    if made is not None:
        check(made.body["type"], dict(made.body))
    else:
        assert (told, kind is Kind.TRAIN) == ("metrics", False)


def test_requests_are_the_ones_that_are_taken() -> None:
    output = {"prefix": "models", "model_name": "m.onnx"}
    check("convert_request", {"job_id": "a", "model_path": "m.pt", "output": output})
    with pytest.raises(jsonschema.ValidationError):
        check("convert_request", {"job_id": "a", "output": output})
    with pytest.raises(jsonschema.ValidationError):
        check("infer_request", {"job_id": "a", "model_path": "m", "images": [], "output": {"prefix": "x"}})
