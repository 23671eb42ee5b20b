"""Places are given in order, never twice, and none is lost."""

from __future__ import annotations

import asyncio

import pytest

from glowplug.errors import NotReady
from glowplug.job import OutcomeKind
from glowplug.process.call import Call, CallEnd
from glowplug.process.entrance import Entrance
from glowplug.process.slots import Slots


def opened(size: int) -> Slots:
    slots = Slots()
    slots.open(size)
    return slots


def call(name: str) -> Call:
    return Call(id=name, task="m.t", input_json=b"{}")


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_places_are_taken_and_given_back() -> None:
    slots = opened(2)
    assert (slots.enter(), slots.enter()) == (None, None)
    assert slots.free == 0
    slots.leave()
    assert slots.free == 1


async def test_who_waits_first_goes_first() -> None:
    slots = opened(1)
    slots.enter()
    first, second = slots.enter(), slots.enter()
    assert first is not None
    assert second is not None
    slots.leave()
    assert (first.done(), second.done()) == (True, False)
    slots.leave()
    assert second.done()


async def test_nobody_passes_those_who_wait() -> None:
    slots = Slots()
    waiting = slots.enter()
    slots.open(2)
    assert waiting is not None
    assert waiting.done()
    assert slots.free == 1


async def test_closing_turns_all_away() -> None:
    slots = opened(1)
    slots.enter()
    waiting = slots.enter()
    slots.close(NotReady("it died"))
    assert waiting is not None
    assert isinstance(waiting.exception(), NotReady)
    slots.open(1)
    assert slots.free == 1


async def test_giving_up_hands_the_place_on() -> None:
    slots = opened(1)
    slots.enter()
    first, second = slots.enter(), slots.enter()
    assert first is not None
    assert second is not None
    slots.leave()
    slots.give_up(first)
    assert second.done()


async def test_giving_up_while_waiting_leaves_no_trace() -> None:
    slots = opened(1)
    slots.enter()
    waiting = slots.enter()
    assert waiting is not None
    slots.give_up(waiting)
    slots.leave()
    assert slots.free == 1


async def test_a_trial_offers_one_place_until_enough_has_gone_well() -> None:
    slots = opened(4)
    slots.try_out(2)
    assert (slots.size, slots.is_trying_out) == (1, True)
    slots.enter()
    waiting = slots.enter()
    slots.leave()
    assert waiting is not None
    assert waiting.done()
    assert slots.size == 1
    slots.leave()
    assert (slots.size, slots.free) == (4, 4)


async def test_a_place_given_back_without_an_end_is_no_proof() -> None:
    slots = opened(4)
    slots.try_out(1)
    slots.enter()
    slots.leave(ended_well=0)
    assert slots.is_trying_out


async def test_the_end_of_a_trial_lets_all_in_that_wait() -> None:
    slots = opened(3)
    slots.try_out(1)
    slots.enter()
    waiting = [slots.enter() for _ in range(3)]
    slots.leave()
    assert [one.done() for one in waiting if one is not None] == [True, True, True]


async def test_a_call_passes_through_an_open_entrance() -> None:
    assert await Entrance(opened(1)).pass_through([call("1")]) == {}


async def test_a_waiting_call_is_stopped_at_the_entrance_and_takes_no_place() -> None:
    slots = opened(1)
    entrance = Entrance(slots)
    await entrance.pass_through([call("1")])
    waiting = asyncio.create_task(entrance.pass_through([call("2")]))
    await settle()
    entrance.stop("2", OutcomeKind.INTERRUPTED)
    assert await waiting == {"2": CallEnd(OutcomeKind.INTERRUPTED)}
    slots.leave()
    assert slots.free == 1


async def test_a_party_goes_in_without_those_that_were_stopped() -> None:
    slots = opened(1)
    entrance = Entrance(slots)
    await entrance.pass_through([call("1")])
    waiting = asyncio.create_task(entrance.pass_through([call("2"), call("3")]))
    await settle()
    entrance.stop("3", OutcomeKind.CANCELED)
    slots.leave()
    assert await waiting == {"3": CallEnd(OutcomeKind.CANCELED)}
    assert slots.free == 0


async def test_a_party_that_is_stopped_as_a_whole_takes_no_place() -> None:
    slots = opened(1)
    entrance = Entrance(slots)
    await entrance.pass_through([call("1")])
    waiting = asyncio.create_task(entrance.pass_through([call("2"), call("3")]))
    await settle()
    entrance.stop("2", OutcomeKind.CANCELED)
    entrance.stop("3", OutcomeKind.CANCELED)
    assert set(await waiting) == {"2", "3"}
    slots.leave()
    assert slots.free == 1


async def test_a_caller_that_leaves_the_entrance_takes_no_place() -> None:
    slots = opened(1)
    entrance = Entrance(slots)
    await entrance.pass_through([call("1")])
    waiting = asyncio.create_task(entrance.pass_through([call("2")]))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    slots.leave()
    assert slots.free == 1


async def test_a_caller_that_leaves_just_as_its_place_comes_gives_it_back() -> None:
    slots = opened(1)
    entrance = Entrance(slots)
    await entrance.pass_through([call("1")])
    waiting = asyncio.create_task(entrance.pass_through([call("2")]))
    await settle()
    slots.leave()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert slots.free == 1


async def test_a_party_that_is_stopped_just_as_its_place_comes_gives_it_back() -> None:
    slots = opened(1)
    entrance = Entrance(slots)
    await entrance.pass_through([call("1")])
    waiting = asyncio.create_task(entrance.pass_through([call("2"), call("3")]))
    behind = asyncio.create_task(entrance.pass_through([call("4")]))
    await settle()
    slots.leave()
    entrance.stop("2", OutcomeKind.CANCELED)
    entrance.stop("3", OutcomeKind.CANCELED)
    assert set(await waiting) == {"2", "3"}
    async with asyncio.timeout(5):
        assert await behind == {}
    slots.leave()
    assert slots.free == 1


async def test_those_who_wait_when_it_closes_are_told_to_come_back() -> None:
    slots = opened(1)
    entrance = Entrance(slots)
    await entrance.pass_through([call("1")])
    waiting = asyncio.create_task(entrance.pass_through([call("2"), call("3")]))
    await settle()
    slots.close(NotReady("it died"))
    ends = await waiting
    assert [(end.kind, type(end.error)) for end in ends.values()] == [(OutcomeKind.FAILED, NotReady)] * 2
