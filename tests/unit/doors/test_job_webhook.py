"""The webhooks of jobs against real receivers: what they get, what their answers mean, and who may be one."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.doors.receiver import receiver
from tests.unit.doors.test_outbound import Names

from glowplug.artifact import Artifact
from glowplug.clock import ManualClock, SystemClock
from glowplug.doors.job_webhook import DEFAULT_TYPES, JobWebhookOptions, JobWebhooks, webhook_event
from glowplug.doors.signatures import new_secret
from glowplug.errors import InvalidInput, SettingsError
from glowplug.job import EVENT_TYPES, Job, JobEvent, JobRequest, JobState

SECRET = new_secret()
MOMENT = datetime(2026, 1, 1, 12, tzinfo=UTC)
BOUND = 20


def job(url: str = "https://example.com/hook", **more: Any) -> Job:
    """Return a job with a webhook."""
    fields: dict[str, Any] = {
        "id": "0123456789abcdef01234567",
        "task": "echo.say",
        "input": {"text": "a secret"},
        "owner": "ada",
        "state": JobState.COMPLETED,
        "created_at": MOMENT,
        "run_at": MOMENT,
        "metadata": {"order": 7},
        "webhook": url,
    }
    return Job(**(fields | more))


def event(seq: int, kind: str = "metrics", **data: Any) -> JobEvent:
    return JobEvent("0123456789abcdef01234567", seq, kind, MOMENT, data)


def request(url: str | None = "https://example.com/hook", *events: str) -> JobRequest:
    return JobRequest(task="echo.say", input={}, webhook=url, webhook_events=events)


def door(**more: Any) -> JobWebhooks:
    names = more.pop("names", None)
    clock = more.pop("clock", None) or SystemClock()
    return JobWebhooks(JobWebhookOptions(**({"allow_private": True} | more)), clock=clock, resolver=names)


class TestWhoFollows:
    """Which jobs have a webhook, and what it is told."""

    def test_a_job_without_one_is_not_followed(self) -> None:
        assert door().follower(request(None)) is None

    def test_by_default_it_is_told_the_start_and_the_end(self) -> None:
        follower = door().follower(request())
        assert follower is not None
        assert (follower.door, follower.types) == ("webhook", DEFAULT_TYPES)
        assert {"completed", "failed", "canceled"} <= set(DEFAULT_TYPES)

    def test_a_caller_says_what_it_is_told(self) -> None:
        follower = door().follower(request("https://example.com/", "progress", "completed"))
        assert follower is not None
        assert follower.types == ("progress", "completed")

    def test_a_star_is_for_everything(self) -> None:
        follower = door().follower(request("https://example.com/", "*"))
        assert follower is not None
        assert all(follower.wants(kind) for kind in EVENT_TYPES)

    def test_an_event_that_is_none_is_refused_with_those_there_are(self) -> None:
        with pytest.raises(InvalidInput, match=r"no event .finished.; there are .*completed"):
            door().follower(request("https://example.com/", "finished"))

    def test_events_without_an_address_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match="needs a webhook"):
            door().follower(request(None, "completed"))

    def test_a_private_address_is_refused_at_once_unless_it_is_allowed(self) -> None:
        asked = request("http://169.254.169.254/latest/")
        with pytest.raises(InvalidInput, match="GLOWPLUG_WEBHOOKS_ALLOW_PRIVATE"):
            door(allow_private=False).follower(asked)
        assert door().follower(asked) is not None

    def test_an_endless_address_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="at most 2000 characters"):
            door().follower(request("https://example.com/" + "x" * 2000))

    def test_a_receiver_is_a_host_and_a_port(self) -> None:
        assert door().target(job("https://me:pass@Example.com:8443/a?b")) == "example.com:8443"


class TestTheBody:
    """What a receiver reads."""

    def test_an_event_says_what_it_is_of_and_how_the_job_stood_then(self) -> None:
        body = webhook_event(job(), event(2, "started", attempt=1, worker="w1"), str)
        assert body == {
            "type": "job.started",
            "timestamp": "2026-01-01T12:00:00Z",
            "data": {
                "job_id": "0123456789abcdef01234567",
                "seq": 2,
                "task": "echo.say",
                "state": "running",
                "done": False,
                "owner": "ada",
                "batch_id": None,
                "metadata": {"order": 7},
                "event": {"attempt": 1, "worker": "w1"},
            },
        }

    def test_the_end_has_the_result_and_the_artifacts_as_references_with_their_addresses(self) -> None:
        artifact = Artifact("jobs/j/1/a b.png", 5, "ab" * 32, "image/png")
        ended = job(artifacts=(artifact,))
        body = webhook_event(ended, event(3, "completed", result={"n": 1}), lambda key: f"https://g/v1/artifacts/{key}")
        data = body["data"]
        assert (data["state"], data["done"], data["result"], data["error"]) == ("completed", True, {"n": 1}, None)
        assert data["artifacts"] == [
            {
                "uri": "artifact:jobs/j/1/a b.png",
                "name": "a b.png",
                "size_bytes": 5,
                "sha256": "ab" * 32,
                "media_type": "image/png",
                "url": "https://g/v1/artifacts/jobs/j/1/a b.png",
            }
        ]

    def test_a_failure_has_its_code_and_words(self) -> None:
        data = webhook_event(job(), event(3, "failed", code="ValueError", message="no", attempt=1), str)["data"]
        assert (data["state"], data["error"]) == ("failed", {"code": "ValueError", "message": "no"})
        assert (data["result"], data["artifacts"]) == (None, [])

    @pytest.mark.parametrize(
        ("kind", "state"), [("queued", "queued"), ("requeued", "queued"), ("progress", "running"), ("canceled",) * 2]
    )
    def test_the_state_is_that_of_the_event_not_of_today(self, kind: str, state: str) -> None:
        assert webhook_event(job(state=JobState.FAILED), event(3, kind), str)["data"]["state"] == state

    def test_the_input_is_not_repeated_to_others(self) -> None:
        assert "a secret" not in json.dumps(webhook_event(job(), event(3, "completed", result=None), str))


class TestDelivery:
    """A tell and what the answers make of it."""

    async def test_events_arrive_in_order_signed_and_with_ids_that_stay(self) -> None:
        async with asyncio.timeout(BOUND), receiver() as it, door(secret=SECRET) as webhooks:
            events = [event(seq) for seq in (2, 3, 4)]
            for _ in range(2):
                told = await webhooks.tell(job(it.url + "/hook?x=1"), events)
                assert (told.seq, told.error, told.status) == (4, "", 204)
            bodies = it.verified(SECRET)
            assert [body["data"]["seq"] for body in bodies] == [2, 3, 4, 2, 3, 4]
            ids = [headers["webhook-id"] for headers, _ in it.asked]
            assert ids == [f"{job().id}:{seq}" for seq in (2, 3, 4, 2, 3, 4)]
            assert bodies[:3] == bodies[3:]

    async def test_without_a_secret_nothing_is_signed(self) -> None:
        async with asyncio.timeout(BOUND), receiver() as it, door() as webhooks:
            await webhooks.tell(job(it.url), [event(1)])
            assert "webhook-signature" not in it.asked[0][0]

    async def test_it_stops_at_the_first_that_is_not_taken(self) -> None:
        async with asyncio.timeout(BOUND), receiver() as it, door() as webhooks:
            it.answers = [(200, {}), (500, {}), (200, {})]
            told = await webhooks.tell(job(it.url), [event(2), event(3), event(4)])
            assert (told.seq, told.error, told.status, told.gone) == (2, "answered 500", 500, False)
            assert len(it.asked) == 2

    async def test_410_is_for_good(self) -> None:
        async with asyncio.timeout(BOUND), receiver() as it, door() as webhooks:
            it.answers = [(410, {})]
            told = await webhooks.tell(job(it.url), [event(2)])
            assert (told.gone, told.status) == (True, 410)

    @pytest.mark.parametrize("status", [429, 503])
    async def test_retry_after_is_heard(self, status: int) -> None:
        async with asyncio.timeout(BOUND), receiver() as it, door() as webhooks:
            it.answers = [(status, {"Retry-After": "77"})]
            told = await webhooks.tell(job(it.url), [event(2)])
            assert (told.retry_after_seconds, told.gone) == (77, False)

    async def test_a_redirect_into_the_metadata_service_is_a_failure_and_not_a_way(self) -> None:
        async with asyncio.timeout(BOUND), receiver() as it, door() as webhooks:
            it.answers = [(302, {"Location": "http://169.254.169.254/latest/meta-data/"})]
            told = await webhooks.tell(job(it.url), [event(2)])
            assert (told.status, told.gone) == (302, False)
            assert "redirects are not followed" in told.error

    async def test_a_name_that_leads_inside_is_given_up_with_the_reason(self) -> None:
        async with asyncio.timeout(BOUND), door(allow_private=False, names=Names(["10.0.0.7"])) as webhooks:
            told = await webhooks.tell(job("http://hook.example/"), [event(2)])
            assert (told.gone, told.seq) == (True, 0)
            assert "hook.example is inside a private network" in told.error

    async def test_an_address_that_was_allowed_once_is_looked_at_again(self) -> None:
        async with asyncio.timeout(BOUND), receiver() as it, door(allow_private=False) as webhooks:
            assert (await webhooks.tell(job(it.url), [event(2)])).gone
            assert it.asked == []

    async def test_a_long_log_is_told_in_turns(self) -> None:
        async with asyncio.timeout(BOUND), receiver() as it, door(events_at_once=3) as webhooks:
            told = await webhooks.tell(job(it.url), [event(seq) for seq in range(1, 10)])
            assert (told.seq, told.error) == (3, "")

    async def test_a_slow_receiver_has_its_turn_and_no_more(self) -> None:
        clock = ManualClock()
        async with asyncio.timeout(BOUND), receiver() as it, door(clock=clock, budget_seconds=0.0) as webhooks:
            told = await webhooks.tell(job(it.url), [event(seq) for seq in range(1, 10)])
            assert (told.seq, told.error) == (1, "")

    async def test_a_text_that_utf_8_cannot_hold_is_sent_all_the_same(self) -> None:
        async with asyncio.timeout(BOUND), receiver() as it, door() as webhooks:
            await webhooks.tell(job(it.url), [event(3, "failed", code="OSError", message="no caf\udce9")])
            assert json.loads(it.asked[0][1])["data"]["error"]["message"] == "no caf?"

    async def test_it_lives_twice(self) -> None:
        webhooks = door()
        async with asyncio.timeout(BOUND), receiver() as it:
            for _ in range(2):
                async with webhooks:
                    assert (await webhooks.tell(job(it.url), [event(1)])).seq == 1


def test_a_secret_that_is_none_is_refused_before_anything_runs() -> None:
    with pytest.raises(SettingsError, match="whsec_"):
        door(secret="whsec_short")


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(JobWebhookOptions(secret=SECRET))
    assert replace(JobWebhookOptions(), secret=SECRET).secret == SECRET
