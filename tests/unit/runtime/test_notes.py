"""Notes: progress is thinned, nothing else is lost, and the order stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.desks import ScriptedLink

from glowplug.clock import ManualClock
from glowplug.errors import BugError, DiskFull, InvalidInput, Unreachable
from glowplug.job import Note, Progress
from glowplug.lifecycle import cancel
from glowplug.link import Accepted
from glowplug.runtime.notes import MOST_FAULTS, Notebook, thinned
from glowplug.runtime.policy import WorkerIdentity, WorkerPolicy
from glowplug.runtime.station import Station
from glowplug.store import Hold

A, B = Hold("a", 1), Hold("b", 1)


def progress(done: float) -> Note:
    return Note("progress", {"done": done}, progress=Progress(done, 100))


def metrics(epoch: int) -> Note:
    return Note("metrics", {"epoch": epoch})


class Desk:
    """A notebook on a clock that is wound by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.link = ScriptedLink()
        self.lost: list[Hold] = []
        identity = WorkerIdentity(instance_id="w1", incarnation="i1")
        policy = WorkerPolicy(notes_seconds=0.5, notes_per_call=100)
        self.notes = Notebook(Station(self.link, identity, self.clock, policy), self.lost.append)

    @property
    def sent(self) -> list[list[tuple[str, list[object]]]]:
        return [
            [(one.hold.job_id, [next(iter(note.data.values())) for note in one.notes]) for one in message.reports]
            for message in self.link.of("events")
        ]


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    running = asyncio.create_task(made.notes.run())
    try:
        async with asyncio.timeout(20):
            yield made
        assert not running.done()
    finally:
        await cancel(running)


async def test_the_first_note_goes_at_once_and_the_next_with_the_beat() -> None:
    async with desk() as it:
        it.notes.add(A, metrics(1))
        await it.clock.advance(0)
        assert it.sent == [[("a", [1])]]
        it.notes.add(A, metrics(2))
        await it.clock.advance(0.4)
        it.notes.add(A, metrics(3))
        assert len(it.sent) == 1
        await it.clock.advance(0.2)
        assert it.sent[1:] == [[("a", [2, 3])]]


async def test_progress_is_told_twice_a_second_and_its_last_value_always() -> None:
    async with desk() as it:
        for done in range(100):
            it.notes.add(A, progress(done))
            await it.clock.advance(0.05)
        await it.clock.advance(1)
        assert 8 <= len(it.sent) <= 11
        assert it.sent[-1] == [("a", [99])]


async def test_the_pages_of_all_jobs_travel_together() -> None:
    async with desk() as it:
        it.notes.add(A, metrics(1))
        it.notes.add(B, metrics(2))
        await it.clock.advance(0)
        assert it.sent == [[("a", [1]), ("b", [2])]]


async def test_a_flush_sends_at_once_and_returns_when_all_is_delivered() -> None:
    async with desk() as it:
        it.notes.add(A, metrics(1))
        await it.clock.advance(0)
        it.notes.add(A, metrics(2))
        it.notes.add(B, metrics(9))
        await it.clock.advance(0)
        it.notes.add(B, metrics(10))
        assert await it.notes.flush(A)
        assert it.sent[-1] == [("a", [2])]


async def test_a_flush_of_an_empty_or_unknown_page_returns_at_once() -> None:
    async with desk() as it:
        assert await it.notes.flush(A)
        it.notes.add(A, metrics(1))
        await it.clock.advance(0)
        assert await it.notes.flush(A)
        assert len(it.sent) == 1


async def test_an_outage_delays_notes_loses_none_and_thins_the_progress() -> None:
    async with desk() as it:
        it.link.fail("events", Unreachable("away"), times=3)
        for number in range(1, 6):
            it.notes.add(A, metrics(number))
            it.notes.add(A, progress(100 + number))
            await it.clock.advance(0.01)
        await it.clock.advance(10)
        assert it.sent[-1] == [("a", [1, 2, 3, 4, 5, 105])]
        assert it.lost == []


async def test_a_refused_page_is_lost_and_those_who_wait_for_it_hear_so() -> None:
    async with desk() as it:
        it.link.answers["events"] = Accepted((False,))
        it.notes.add(A, metrics(1))
        assert not await it.notes.flush(A)
        assert it.lost == [A]


async def test_closing_a_page_drops_it_and_tells_those_who_wait() -> None:
    async with desk() as it:
        it.link.hang.add("events")
        it.notes.add(A, metrics(1))
        waiting = asyncio.create_task(it.notes.flush(A))
        await it.link.until("events")
        it.notes.close(A)
        assert not await waiting
        it.link.release("events")
        await it.clock.advance(5)
        assert len(it.sent) == 1


async def test_a_note_that_the_gateway_cannot_take_holds_back_no_other_page() -> None:
    async with desk() as it:

        def picky() -> None:
            if any(one.hold == A for one in it.link.asked[-1][1].reports):
                raise InvalidInput("not like this")

        it.link.before["events"] = picky
        it.notes.add(A, metrics(1))
        it.notes.add(B, metrics(2))
        with pytest.raises(InvalidInput):
            await it.notes.flush(A)
        assert await it.notes.flush(B)
        assert it.sent[-1] == [("b", [2])]
        assert await it.notes.flush(A)


async def test_a_gateway_that_stumbles_is_tried_again_and_given_up_only_for_the_page_it_stumbles_over() -> None:
    async with desk() as it:

        def broken() -> None:
            if any(one.hold == A for one in it.link.asked[-1][1].reports):
                raise BugError("something went wrong inside")

        it.link.before["events"] = broken
        it.notes.add(A, metrics(1))
        it.notes.add(B, metrics(2))
        waiting = asyncio.create_task(it.notes.flush(A))
        await it.clock.advance(0)
        assert it.sent[-1] == [("b", [2])]
        assert not waiting.done()
        await it.clock.advance(60)
        with pytest.raises(BugError):
            await waiting
        assert len([one for one in it.sent if one == [("a", [1])]]) == MOST_FAULTS


async def test_a_gateway_without_room_is_asked_again_until_it_has_some() -> None:
    async with desk() as it:
        it.link.fail("events", DiskFull("no room"), times=5)
        it.notes.add(A, metrics(1))
        await it.clock.advance(10)
        assert await it.notes.flush(A)


async def test_a_long_page_travels_in_pieces_and_in_order() -> None:
    async with desk() as it:
        for number in range(250):
            it.notes.add(A, metrics(number))
        assert await it.notes.flush(A)
        (first,), (second,), (third,) = it.sent
        assert [len(one[1]) for one in (first, second, third)] == [100, 100, 50]
        assert first[1] + second[1] + third[1] == list(range(250))


@given(st.lists(st.sampled_from(["progress", "metrics", "log"])))
def test_thinning_keeps_the_last_progress_and_all_else_in_order(kinds: list[str]) -> None:
    notes = [Note(kind, {"place": place}) for place, kind in enumerate(kinds)]
    kept = thinned(notes)
    assert [note for note in kept if note.type != "progress"] == [note for note in notes if note.type != "progress"]
    told = [note for note in notes if note.type == "progress"]
    assert [note for note in kept if note.type == "progress"] == told[-1:]
    assert [note.data["place"] for note in kept] == sorted(note.data["place"] for note in kept)
