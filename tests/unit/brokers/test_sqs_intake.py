"""One model's intake, with queues that a test fills by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from glowplug.broker import Hint
from glowplug.brokers.messages import body_of
from glowplug.brokers.sqs_intake import HOLD_SECONDS, PAUSE_CAP_SECONDS, Intake, Lookout, Shared, pause_seconds
from glowplug.brokers.sqs_queues import Message, Receipt, SqsQueues
from glowplug.clock import ManualClock
from glowplug.errors import GlowplugError, Unreachable
from glowplug.events import set_sink


class Queues:
    """Answers polls with what a test puts in; keeps what was asked, shown, deleted and buried."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[list[Message] | GlowplugError] = asyncio.Queue()
        self.asked: list[int] = []
        self.shown: list[str] = []
        self.deleted: list[str] = []
        self.buried: list[str] = []
        self.burying: GlowplugError | None = None

    async def receive(self, model: str, count: int, *, wait_seconds: int, visibility_seconds: int) -> list[Message]:
        assert (model, wait_seconds, visibility_seconds) == ("m", 20, 60)
        self.asked.append(count)
        answer = await self.answers.get()
        if isinstance(answer, GlowplugError):
            raise answer
        return answer

    async def show(self, receipts: Sequence[Receipt]) -> None:
        self.shown += [receipt.handle for receipt in receipts]

    async def delete(self, receipts: Sequence[Receipt]) -> None:
        self.deleted += [receipt.handle for receipt in receipts]

    async def bury(self, model: str, body: str, reason: str) -> None:
        if self.burying is not None:
            raise self.burying
        self.buried.append(f"{model}: {body}: {reason}")


def messages(*handles: str) -> list[Message]:
    return [Message(Receipt("m", handle), body_of(Hint(handle, "m.a"))) for handle in handles]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def queues() -> Queues:
    return Queues()


@pytest.fixture
def rung() -> list[str]:
    return []


@pytest.fixture
async def intake(clock: ManualClock, queues: Queues, rung: list[str]) -> AsyncIterator[Intake]:
    async def ring(hints: Sequence[Hint]) -> None:
        rung.extend(hint.job_id for hint in hints)

    turns = asyncio.Semaphore(1)
    shared = Shared(cast("SqsQueues", queues), clock, Lookout("SQS", clock), turns, ring, 20)
    intake = Intake("m", shared)
    running = asyncio.create_task(intake.run())
    yield intake
    intake.close()
    queues.answers.put_nowait([])
    async with asyncio.timeout(10):
        await running


@pytest.fixture
def told() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    heard: list[tuple[str, dict[str, Any]]] = []
    previous = set_sink(lambda spec, fields: heard.append((spec.name, fields)))
    yield heard
    set_sink(previous)


async def turns_of_the_loop() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_no_poll_is_made_before_there_is_room(intake: Intake, queues: Queues) -> None:
    await turns_of_the_loop()
    assert queues.asked == []
    intake.want(3)
    await turns_of_the_loop()
    assert queues.asked == [3]


async def test_a_poll_asks_for_the_room_that_is_left_and_for_ten_at_most(intake: Intake, queues: Queues) -> None:
    intake.want(12)
    await turns_of_the_loop()
    queues.answers.put_nowait(messages(*"abcde"))
    await turns_of_the_loop()
    assert queues.asked == [10, 7]


async def test_what_was_taken_takes_room_until_it_is_settled(intake: Intake, queues: Queues, rung: list[str]) -> None:
    intake.want(1)
    queues.answers.put_nowait(messages("a"))
    await turns_of_the_loop()
    (arrival,) = intake.take(5)
    await turns_of_the_loop()
    assert (queues.asked, rung) == ([1], ["a"])
    intake.settled([arrival.tag])
    await turns_of_the_loop()
    assert queues.asked == [1, 1]


async def test_what_came_when_the_room_was_gone_is_shown_again(intake: Intake, queues: Queues) -> None:
    intake.want(3)
    await turns_of_the_loop()
    assert intake.want(1) == []
    queues.answers.put_nowait(messages("a", "b", "c"))
    await turns_of_the_loop()
    assert queues.shown == ["c", "b"]
    assert [arrival.hint.job_id for arrival in intake.take(3)] == ["a"]


async def test_less_room_gives_back_the_newest(intake: Intake, queues: Queues) -> None:
    intake.want(3)
    queues.answers.put_nowait(messages("a", "b", "c"))
    await turns_of_the_loop()
    assert [receipt.handle for receipt in intake.want(1)] == ["c", "b"]
    assert [receipt.handle for receipt in intake.empty()] == ["a"]


async def test_what_is_shown_to_others_again_is_forgotten_and_makes_room(
    intake: Intake, queues: Queues, clock: ManualClock
) -> None:
    intake.want(2)
    queues.answers.put_nowait(messages("a", "b"))
    await turns_of_the_loop()
    assert len(intake.take(1)) == 1
    await clock.advance(HOLD_SECONDS - 1)
    assert queues.asked == [2]
    await clock.advance(1)
    assert intake.take(1) == []
    assert queues.asked == [2, 2]


async def test_what_cannot_be_read_is_buried_after_the_rest_was_handed_over(
    intake: Intake, queues: Queues, rung: list[str], told: list[tuple[str, dict[str, Any]]]
) -> None:
    intake.want(3)
    bad = [replace(message, body="no") for message in messages("x")]
    queues.answers.put_nowait([*bad, *messages("a")])
    await turns_of_the_loop()
    assert rung == ["a"]
    assert queues.deleted == ["x"]
    assert [said.partition(": not JSON")[0] for said in queues.buried] == ["m: no"]
    assert [name for name, _ in told] == ["broker.refused"]


async def test_what_cannot_be_buried_is_not_deleted_either(intake: Intake, queues: Queues, clock: ManualClock) -> None:
    queues.burying = Unreachable("away")
    intake.want(1)
    queues.answers.put_nowait([replace(message, body="no") for message in messages("x")])
    await turns_of_the_loop()
    assert queues.deleted == []
    await clock.advance(PAUSE_CAP_SECONDS)
    assert queues.asked == [1, 1]


async def test_a_service_that_is_away_is_asked_again_later_and_told_of_once(
    intake: Intake, queues: Queues, clock: ManualClock, told: list[tuple[str, dict[str, Any]]]
) -> None:
    intake.want(1)
    for _ in range(3):
        queues.answers.put_nowait(Unreachable("nobody there"))
    queues.answers.put_nowait(messages("a"))
    for _ in range(4):
        await clock.advance(PAUSE_CAP_SECONDS)
    assert [name for name, _ in told] == ["broker.lost", "broker.restored"]
    assert told[0][1] == {"broker": "SQS", "error": "nobody there"}
    assert [arrival.hint.job_id for arrival in intake.take(1)] == ["a"]


async def test_more_room_does_not_shorten_a_pause(intake: Intake, queues: Queues) -> None:
    intake.want(1)
    queues.answers.put_nowait(Unreachable("nobody there"))
    await turns_of_the_loop()
    for count in range(2, 9):
        intake.want(count)
        await turns_of_the_loop()
    assert queues.asked == [1]


def test_pauses_grow_to_a_cap_and_are_spread() -> None:
    assert [pause_seconds(failures, 1.0) for failures in (1, 2, 3, 5, 6, 1000)] == [0.5, 1.0, 2.0, 8.0, 10.0, 10.0]
    assert pause_seconds(3, 0.25) == 0.5
