"""The MQTT door where no broker is needed to see what it does."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from glowplug.clock import ManualClock
from glowplug.doors.job_events import encoded
from glowplug.doors.mqtt import LARGEST_BYTES, MqttDoor, MqttOptions, Topics
from glowplug.errors import SettingsError
from glowplug.job import EVENT_TYPES, NOTE_TYPES, Follower, JobEvent, JobRequest, submitted

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOPICS = Topics("glowplug")
REQUEST = JobRequest(task="echo.say", input={})
NOBODY = "mqtt://me:secret@127.0.0.1:1"


def event(kind: str, job_id: str = "019a", **data: object) -> JobEvent:
    return JobEvent(job_id, 4, kind, NOW, data)


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES))
def test_what_a_running_job_reports_is_its_progress_and_the_rest_its_state(kind: str) -> None:
    level = "progress" if kind in NOTE_TYPES else "state"
    assert TOPICS.job(event(kind)) == f"glowplug/jobs/019a/{level}"


@pytest.mark.parametrize("name", ["a/b", "a+b", "#", "$SYS", "ü", "a b", "\0"])
def test_no_id_is_a_wildcard_or_more_than_one_level(name: str) -> None:
    for topic in (TOPICS.worker(name), TOPICS.job(event("queued", name))):
        assert topic.count("/") == 3
        assert topic.isascii()
        assert not set(topic) & set("+#$ \0")


def test_what_says_where_it_is_stands_beside_the_jobs() -> None:
    assert (TOPICS.gateway, TOPICS.readiness) == ("glowplug/gateway/state", "glowplug/readiness")
    assert Topics("plant/7").worker("gpu-1") == "plant/7/workers/gpu-1/state"


@pytest.mark.parametrize("prefix", ["", "a//b", "/a", "a/", "a/+", "#", "$SYS/x", "a\nb", "x" * 300])
def test_a_prefix_that_no_topic_can_begin_with_is_refused(prefix: str) -> None:
    with pytest.raises(SettingsError, match=r"mqtt\.prefix"):
        MqttOptions.from_url(NOBODY, prefix=prefix).check()


def test_every_job_is_followed_with_all_its_events() -> None:
    door = MqttDoor(MqttOptions.from_url(NOBODY), clock=ManualClock())
    assert door.follower(REQUEST) == Follower("mqtt")
    assert "secret" not in repr(MqttOptions.from_url(NOBODY))


async def test_a_broker_that_is_away_takes_nothing_and_the_reason_names_the_fix() -> None:
    door = MqttDoor(MqttOptions.from_url(NOBODY), clock=ManualClock())
    job, events = submitted(REQUEST, NOW)
    async with door:
        told = await door.tell(job, events)
    assert told.seq == 0
    assert "start it, or check host and port" in told.error
    assert not told.gone


def test_an_event_too_large_for_a_message_names_what_it_leaves_out() -> None:
    job, _ = submitted(REQUEST, NOW)
    large = event("completed", job.id, result="x" * LARGEST_BYTES)
    said = json.loads(encoded(job, large, "/here", LARGEST_BYTES))
    assert said["id"] == f"{job.id}:4"
    assert said["data"] == {"job_id": job.id, "task": "echo.say", "owner": "local", "seq": 4, "left_out": ["result"]}
    assert json.loads(encoded(job, large, "/here", 2 * LARGEST_BYTES))["data"]["result"] == large.data["result"]


def test_text_that_utf8_cannot_hold_is_told_all_the_same() -> None:
    job, _ = submitted(REQUEST, NOW)
    body = encoded(job, event("log", job.id, text="broken \udcff name"), "/here", LARGEST_BYTES)
    assert json.loads(body)["data"]["text"] == "broken ? name"
