"""A webhook against a real receiver, in all the ways in which a receiver can be away."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.doors.receiver import receiver

from glowplug.clock import ManualClock
from glowplug.doors.signatures import new_secret
from glowplug.doors.webhook import Webhook, WebhookPolicy, shown
from glowplug.errors import SettingsError
from glowplug.events import set_sink

SECRET = new_secret()
QUICK = WebhookPolicy(base_seconds=0.001, cap_seconds=0.01, random=lambda: 1.0)
BOUND = 20

Told = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def told() -> Iterator[Told]:
    heard: Told = []
    former = set_sink(lambda spec, fields: heard.append((spec.name, fields)))
    yield heard
    set_sink(former)


def named(told: Told, name: str) -> list[dict[str, Any]]:
    return [fields for event, fields in told if event == name]


def event(number: int = 1) -> dict[str, Any]:
    return {"type": "readiness.changed", "timestamp": "2026-01-01T00:00:00Z", "data": {"number": number, "word": "für"}}


def numbers(bodies: list[Any]) -> list[int]:
    return [body["data"]["number"] for body in bodies]


async def test_what_utf_8_cannot_hold_is_sent_as_a_question_mark() -> None:
    async with asyncio.timeout(BOUND), receiver() as it, Webhook(it.url) as webhook:
        webhook.send({"type": "readiness.changed", "error": "no file named caf\udce9"})
        await webhook.delivered()
        assert json.loads(it.asked[0][1])["error"] == "no file named caf?"


async def test_an_event_arrives_signed_as_json(told: Told) -> None:
    async with asyncio.timeout(BOUND), receiver() as it, Webhook(it.url + "/hook?x=1", SECRET) as webhook:
        webhook.send(event())
        await webhook.delivered()
        ((headers, body),) = it.asked
        assert it.verified(SECRET) == [event()]
        assert headers["Content-Type"] == "application/json"
        assert json.loads(body) == event()
    assert named(told, "webhook.delivered") == [{"target": it.url, "type": "readiness.changed"}]


async def test_without_a_secret_it_arrives_unsigned() -> None:
    async with asyncio.timeout(BOUND), receiver() as it, Webhook(it.url) as webhook:
        webhook.send(event())
        await webhook.delivered()
        assert "webhook-signature" not in it.asked[0][0]
        assert "webhook-id" in it.asked[0][0]


async def test_events_arrive_in_order_even_if_the_first_has_to_be_repeated() -> None:
    async with asyncio.timeout(BOUND), receiver() as it, Webhook(it.url, SECRET, policy=QUICK) as webhook:
        it.answers = [(500, {}), (503, {}), (200, {})]
        for number in range(3):
            webhook.send(event(number))
        await webhook.delivered()
        assert numbers(it.verified(SECRET)) == [0, 0, 0, 1, 2]
        ids = [headers["webhook-id"] for headers, _ in it.asked]
        assert ids[0] == ids[1] == ids[2]
        assert len(set(ids)) == 3


async def test_a_row_of_failures_is_told_once_and_so_is_its_end(told: Told) -> None:
    async with asyncio.timeout(BOUND), receiver() as it, Webhook(it.url, SECRET, policy=QUICK) as webhook:
        it.answers = [(500, {}), (500, {}), (200, {})]
        webhook.send(event())
        await webhook.delivered()
        it.answers = [(500, {}), (200, {})]
        webhook.send(event())
        await webhook.delivered()
    assert [one["error"] for one in named(told, "webhook.failed")] == [f"{it.url} answered 500"] * 2
    assert len(named(told, "webhook.restored")) == 2
    assert named(told, "webhook.dropped") == []


async def test_gone_is_the_end_of_it(told: Told) -> None:
    async with asyncio.timeout(BOUND), receiver() as it, Webhook(it.url, SECRET, policy=QUICK) as webhook:
        it.answers = [(410, {})]
        webhook.send(event(1))
        webhook.send(event(2))
        await webhook.delivered()
        webhook.send(event(3))
        await webhook.delivered()
        assert len(it.asked) == 1
    assert len(named(told, "webhook.disabled")) == 1
    assert [one["reason"] for one in named(told, "webhook.dropped")] == ["disabled"] * 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_no_success_and_is_not_followed(told: Told, status: int) -> None:
    async with asyncio.timeout(BOUND), receiver() as it, receiver() as elsewhere:
        async with Webhook(it.url, SECRET, policy=QUICK) as webhook:
            it.answers = [(status, {"Location": elsewhere.url}), (200, {})]
            webhook.send(event())
            await webhook.delivered()
        assert (len(it.asked), elsewhere.asked) == (2, [])
    assert named(told, "webhook.failed")[0]["error"].endswith(f"answered {status}")


async def test_a_receiver_that_says_nothing_is_asked_again(told: Told) -> None:
    policy = replace(QUICK, timeout_seconds=0.05)
    async with asyncio.timeout(BOUND), receiver() as it, Webhook(it.url, SECRET, policy=policy) as webhook:
        it.hangs = True
        webhook.send(event())
        await it.times(2)
        it.hangs = False
        it.release.set()
        await webhook.delivered()
    assert "did not answer" in named(told, "webhook.failed")[0]["error"]


async def test_a_receiver_that_was_away_for_a_while_gets_everything_in_order(told: Told) -> None:
    async with asyncio.timeout(BOUND):
        async with receiver() as it:
            port = it.port
        failed = asyncio.Event()
        former = set_sink(lambda spec, _: failed.set() if spec.name == "webhook.failed" else None)
        async with Webhook(it.url, SECRET, policy=QUICK) as webhook:
            for number in range(5):
                webhook.send(event(number))
            await failed.wait()
            set_sink(former)
            async with receiver(port) as back:
                await webhook.delivered()
                assert numbers(back.verified(SECRET)) == [0, 1, 2, 3, 4]


async def test_too_many_that_wait_make_the_oldest_give_way(told: Told) -> None:
    async with asyncio.timeout(BOUND), receiver() as it:
        webhook = Webhook(it.url, SECRET, policy=replace(QUICK, max_queued=3))
        for number in range(10):
            webhook.send(event(number))
        async with webhook:
            await webhook.delivered()
        assert numbers(it.verified(SECRET)) == [7, 8, 9]
    assert [one["reason"] for one in named(told, "webhook.dropped")] == ["queue_full"] * 7


async def paused(webhook: Webhook) -> None:
    while webhook._pause is None:
        await asyncio.sleep(0)


async def test_an_event_that_nobody_takes_is_given_up_after_a_time(told: Told) -> None:
    clock, policy = ManualClock(), WebhookPolicy(base_seconds=60, patience_seconds=100, random=lambda: 1)
    async with asyncio.timeout(BOUND), receiver() as it, Webhook(it.url, policy=policy, clock=clock) as webhook:
        it.answers = [(500, {})]
        webhook.send(event())
        for seconds in (60, 120):
            await paused(webhook)
            await clock.advance(seconds)
        await webhook.delivered()
        assert len(it.asked) == 2
    assert [one["reason"] for one in named(told, "webhook.dropped")] == ["too_old"]


async def test_a_receiver_may_ask_for_a_longer_pause_up_to_the_cap() -> None:
    clock, policy = ManualClock(), WebhookPolicy(base_seconds=1, cap_seconds=30, random=lambda: 0)
    async with asyncio.timeout(BOUND), receiver() as it, Webhook(it.url, policy=policy, clock=clock) as webhook:
        it.answers = [(429, {"Retry-After": "20"}), (429, {"Retry-After": "9999"}), (200, {})]
        webhook.send(event())
        for asked, seconds in ((1, 20.0), (2, 30.0)):
            await paused(webhook)
            await clock.advance(seconds - 1.0)
            assert webhook._pause is not None
            assert len(it.asked) == asked
            await clock.advance(1.0)
        await webhook.delivered()
        assert len(it.asked) == 3


async def test_each_attempt_carries_its_own_time() -> None:
    clock, policy = ManualClock(), WebhookPolicy(base_seconds=40, random=lambda: 1)
    async with asyncio.timeout(BOUND), receiver() as it, Webhook(it.url, SECRET, policy=policy, clock=clock) as webhook:
        it.answers = [(500, {}), (200, {})]
        webhook.send(event())
        await paused(webhook)
        await clock.advance(40)
        await webhook.delivered()
        first, second = (int(headers["webhook-timestamp"]) for headers, _ in it.asked)
        assert second - first == 40


@pytest.mark.parametrize("failures", [1, 2, 5, 10, 1000])
def test_pauses_grow_to_the_cap_with_at_least_half_of_each(failures: int) -> None:
    least = WebhookPolicy(random=lambda: 0.0).pause_seconds(failures)
    most = WebhookPolicy(random=lambda: 1.0).pause_seconds(failures)
    assert least * 2 == most == min(300.0, 2.0 ** (failures - 1))


async def test_what_happens_at_the_end_is_still_delivered() -> None:
    async with asyncio.timeout(BOUND), receiver() as it:
        async with Webhook(it.url, SECRET) as webhook:
            webhook.send(event(1))
            webhook.send(event(2))
        assert numbers(it.verified(SECRET)) == [1, 2]


async def test_an_end_during_a_pause_cuts_it_short_and_tries_once_more(told: Told) -> None:
    async with asyncio.timeout(BOUND), receiver() as it:
        async with Webhook(it.url, SECRET, policy=WebhookPolicy(base_seconds=3600)) as webhook:
            it.answers = [(500, {}), (200, {})]
            webhook.send(event())
            await paused(webhook)
        assert numbers(it.verified(SECRET)) == [1, 1]
    assert named(told, "webhook.dropped") == []


async def test_an_end_does_not_wait_for_a_receiver_that_is_away(told: Told) -> None:
    async with asyncio.timeout(BOUND), receiver() as it:
        it.answers = [(500, {})]
        async with Webhook(it.url, SECRET, policy=WebhookPolicy(base_seconds=3600)) as webhook:
            webhook.send(event(1))
            webhook.send(event(2))
            await paused(webhook)
        assert len(it.asked) == 2
    assert [one["reason"] for one in named(told, "webhook.dropped")] == ["shutdown"] * 2


async def test_an_end_does_not_wait_long_for_a_receiver_that_says_nothing(told: Told) -> None:
    async with asyncio.timeout(BOUND), receiver() as it:
        it.hangs = True
        async with Webhook(it.url, SECRET, policy=replace(QUICK, leave_seconds=0.05)) as webhook:
            webhook.send(event())
            await it.times(1)
    assert [one["reason"] for one in named(told, "webhook.dropped")] == ["shutdown"]


def test_it_may_be_started_again_in_another_loop() -> None:
    async def life(webhook: Webhook | None) -> Webhook:
        async with asyncio.timeout(BOUND), receiver() as it:
            webhook = webhook or Webhook(it.url, SECRET)
            webhook._url = it.url
            async with webhook:
                await asyncio.sleep(0)
                webhook.send(event())
                await webhook.delivered()
            assert len(it.asked) == 1
        return webhook

    asyncio.run(life(asyncio.run(life(None))))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://me:pw@hooks.example.com/services/T0/B0/XXXX?token=abc", "https://hooks.example.com"),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
    ],
)
def test_only_the_host_of_its_address_is_shown(url: str, target: str) -> None:
    assert shown(url) == Webhook(url).target == target
    assert repr(Webhook(url, SECRET)) == f"Webhook({target!r})"


@pytest.mark.parametrize(
    "url", ["", "hooks.example.com/x", "ftp://h/x", "file:///etc/passwd", "http://", "http://h:x/"]
)
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(SettingsError, match="webhook's URL"):
        Webhook(url)


async def test_neither_secret_nor_address_are_told(told: Told) -> None:
    async with asyncio.timeout(BOUND), receiver() as it:
        port = it.port
    async with asyncio.timeout(BOUND):
        url = f"http://me:hunter2@127.0.0.1:{port}/path-secret?token=abc"
        async with Webhook(url, SECRET, policy=QUICK) as webhook:
            webhook.send(event())
            await paused(webhook)
    assert [name for name, _ in told] == ["webhook.failed", "webhook.dropped"]
    for secret in ("hunter2", "path-secret", "abc", SECRET):
        assert secret not in str(told)


async def test_the_credentials_of_an_address_are_shown_to_the_receiver() -> None:
    async with asyncio.timeout(BOUND), receiver() as it:
        async with Webhook(it.url.replace("://", "://me:pw@"), SECRET) as webhook:
            webhook.send(event())
            await webhook.delivered()
        assert it.asked[0][0]["Authorization"] == "Basic bWU6cHc="


def test_the_http_library_is_not_imported_before_it_is_started() -> None:
    program = "import sys, glowplug.doors.webhook as w; w.Webhook('http://h'); print('aiohttp' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "False"


async def test_a_wall_clock_that_jumps_gives_nothing_up_and_is_in_the_next_attempt(told: Told) -> None:
    clock, policy = ManualClock(), WebhookPolicy(base_seconds=10, random=lambda: 1)
    async with asyncio.timeout(BOUND), receiver() as it, Webhook(it.url, policy=policy, clock=clock) as webhook:
        it.answers = [(500, {}), (500, {}), (200, {})]
        webhook.send(event())
        for year in (2030, 2020):
            await paused(webhook)
            clock.jump(datetime(year, 1, 1, tzinfo=UTC))
            await clock.advance(20)
        await webhook.delivered()
        years = [datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC).year for headers, _ in it.asked]
    assert years == [2026, 2030, 2020]
    assert named(told, "webhook.dropped") == []


async def test_a_burst_during_a_slow_answer_keeps_the_newest_and_the_one_under_way() -> None:
    async with asyncio.timeout(BOUND), receiver() as it, Webhook(it.url, SECRET) as webhook:
        it.hangs = True
        webhook.send(event(0))
        await it.times(1)
        for number in range(1, 1000):
            webhook.send(event(number))
        it.hangs = False
        it.release.set()
        await webhook.delivered()
        assert numbers(it.verified(SECRET)) == [0, *range(900, 1000)]
