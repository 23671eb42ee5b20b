"""Calls that come together go together; a lone one never waits for company."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.unit.process.rig import SECONDS, hosted

from glowplug.clock import Clock, ManualClock, SystemClock
from glowplug.errors import Conflict, Draining, InvalidInput
from glowplug.job import OutcomeKind
from glowplug.model import TaskOptions
from glowplug.process.call import Call, CallEnd, CallSink
from glowplug.runtime.batcher import Batcher, Batchers

WAIT_SECONDS = 0.01


class Model:
    """Runs batches for as long as the test says."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self.batches: list[list[str]] = []
        self.stopped: list[str] = []
        self.error: Exception | None = None
        self._open: list[asyncio.Future[None]] = []
        self.options: Mapping[str, TaskOptions] = {"m.batched": TaskOptions(batch=4), "m.plain": TaskOptions()}

    @property
    def free_slots(self) -> int:
        return self.slots - len(self._open)

    async def run(self, call: Call, sink: CallSink | None = None) -> CallEnd:
        [end] = await self.run_batch([call], [sink])
        return end

    async def run_batch(self, calls: Sequence[Call], sinks: Sequence[CallSink | None]) -> list[CallEnd]:
        assert len(calls) == len(sinks)
        if self.error is not None:
            raise self.error
        self.batches.append([call.id for call in calls])
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open.append(gate)
        await gate
        return [CallEnd(OutcomeKind.COMPLETED, call.id.encode()) for call in calls]

    def stop_call(self, call_id: str, kind: OutcomeKind) -> None:
        self.stopped.append(call_id)

    def finish(self) -> None:
        """End the oldest batch."""
        self._open.pop(0).set_result(None)


def call(name: str, task: str = "m.batched") -> Call:
    return Call(id=name, task=task, input_json=b"{}")


def begun(batcher: Batcher, *names: str) -> list[asyncio.Task[CallEnd]]:
    return [asyncio.create_task(batcher.submit(call(name))) for name in names]


def batching(model: Model, clock: Clock) -> Batcher:
    return Batcher(model, "m.batched", 4, WAIT_SECONDS, clock)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_lone_call_goes_at_once() -> None:
    model = Model()
    batcher = batching(model, ManualClock())
    [only] = begun(batcher, "1")
    await settle()
    assert model.batches == [["1"]]
    model.finish()
    assert (await only).output_json == b"1"


async def test_lone_calls_one_after_the_other_never_wait() -> None:
    model = Model()
    batcher = batching(model, ManualClock())
    for name in "123":
        [only] = begun(batcher, name)
        await settle()
        model.finish()
        await only
    assert model.batches == [["1"], ["2"], ["3"]]


async def test_calls_of_one_moment_go_together() -> None:
    model = Model()
    both = begun(batching(model, ManualClock()), "1", "2")
    await settle()
    assert model.batches == [["1", "2"]]
    model.finish()
    assert [end.output_json for end in await asyncio.gather(*both)] == [b"1", b"2"]


async def test_time_that_passes_during_a_look_leaves_nobody_waiting_for_ever() -> None:
    class Passing(ManualClock):
        """Stands still but for the questions: each takes most of a batch's wait."""

        passing = 0.0

        def monotonic(self) -> float:
            self._monotonic += self.passing
            return self._monotonic

    model, clock = Model(slots=2), Passing()
    batcher = batching(model, clock)
    begun(batcher, "1", "2")
    await settle()
    begun(batcher, "3")
    clock.passing = WAIT_SECONDS * 0.6
    await settle()
    clock.passing = 0.0
    await clock.advance(WAIT_SECONDS)
    assert model.batches == [["1", "2"], ["3"]]
    model.finish()
    model.finish()
    await settle()


async def test_a_batch_is_never_larger_than_the_limit() -> None:
    model = Model(slots=2)
    begun(batching(model, ManualClock()), *"123456")
    await settle()
    assert [len(batch) for batch in model.batches] == [4]
    model.finish()
    await settle()


async def test_what_comes_while_a_batch_runs_goes_when_it_is_back() -> None:
    model = Model()
    batcher = batching(model, ManualClock())
    begun(batcher, "1")
    await settle()
    begun(batcher, "2")
    await settle()
    begun(batcher, "3")
    await settle()
    assert model.batches == [["1"]]
    model.finish()
    await settle()
    assert model.batches == [["1"], ["2", "3"]]
    model.finish()
    await settle()


async def test_after_company_a_call_waits_for_more_but_not_longer_than_it_may() -> None:
    model, clock = Model(), ManualClock()
    batcher = batching(model, clock)
    begun(batcher, "1", "2")
    await settle()
    model.finish()
    await settle()
    begun(batcher, "3")
    await clock.advance(WAIT_SECONDS / 2)
    begun(batcher, "4")
    await clock.advance(WAIT_SECONDS / 4)
    assert model.batches == [["1", "2"]]
    await clock.advance(WAIT_SECONDS / 4)
    assert model.batches == [["1", "2"], ["3", "4"]]
    model.finish()
    await settle()


async def test_a_full_batch_does_not_wait() -> None:
    model, clock = Model(slots=2), ManualClock()
    batcher = batching(model, clock)
    begun(batcher, "1", "2")
    await settle()
    begun(batcher, *"3456")
    await settle()
    assert model.batches == [["1", "2"], ["3", "4", "5", "6"]]


async def test_waiting_in_vain_ends_the_waiting() -> None:
    model, clock = Model(), ManualClock()
    batcher = batching(model, clock)
    begun(batcher, "1", "2")
    await settle()
    model.finish()
    begun(batcher, "3")
    await clock.advance(WAIT_SECONDS)
    model.finish()
    await settle()
    begun(batcher, "4")
    await settle()
    assert model.batches == [["1", "2"], ["3"], ["4"]]


async def test_a_batch_queues_for_a_slot_that_others_hold() -> None:
    model = Model(slots=0)
    begun(batching(model, ManualClock()), "1")
    await settle()
    assert model.batches == [["1"]]


async def test_a_call_that_gathers_can_be_stopped() -> None:
    model = Model()
    batcher = batching(model, ManualClock())
    begun(batcher, "1")
    await settle()
    [second] = begun(batcher, "2")
    await settle()
    batcher.stop_call("2", OutcomeKind.CANCELED)
    assert await second == CallEnd(OutcomeKind.CANCELED)
    batcher.stop_call("1", OutcomeKind.CANCELED)
    assert model.stopped == ["1"]
    model.finish()
    await settle()
    assert model.batches == [["1"]]


async def test_a_call_is_stopped_in_the_moment_in_which_its_batch_leaves() -> None:
    class Watched(Model):
        """Stops calls in the turn of the loop in which it is asked for room, which is when batches leave."""

        stopping: tuple[str, ...] = ()

        @property
        def free_slots(self) -> int:
            for name in self.stopping:
                asyncio.get_running_loop().call_soon(batcher.stop_call, name, OutcomeKind.CANCELED)
            self.stopping = ()
            return super().free_slots

    model, clock = Watched(slots=2), ManualClock()
    batcher = batching(model, clock)
    async with asyncio.timeout(5):
        model.stopping = ("1", "2")
        both = begun(batcher, "1", "2")
        assert [end.kind for end in await asyncio.gather(*both)] == [OutcomeKind.CANCELED] * 2
        model.stopping = ("3",)
        gone, stays = begun(batcher, "3", "4")
        await clock.advance(WAIT_SECONDS)
        assert (await gone).kind is OutcomeKind.CANCELED
        model.finish()
        assert (await stays).output_json == b"4"
    assert (model.batches, model.stopped) == ([["4"]], [])


async def test_a_caller_that_leaves_takes_its_call_along() -> None:
    model = Model()
    batcher = batching(model, ManualClock())
    [first] = begun(batcher, "1")
    await settle()
    [second] = begun(batcher, "2")
    await settle()
    first.cancel()
    second.cancel()
    await settle()
    assert model.stopped == ["1"]
    model.finish()
    await settle()
    assert model.batches == [["1"]]


async def test_an_error_of_the_host_is_everybodys_end() -> None:
    model = Model()
    model.error = Conflict("a call '1' is running already")
    ends = await asyncio.gather(*begun(batching(model, ManualClock()), "1", "2"))
    assert [type(end.error) for end in ends] == [Conflict, Conflict]


async def test_stopping_ends_what_gathers_and_waits_for_what_runs() -> None:
    model = Model()
    async with batching(model, ManualClock()) as batcher:
        assert isinstance(batcher, Batcher)
        [first] = begun(batcher, "1")
        await settle()
        [second] = begun(batcher, "2")
        await settle()
        asyncio.get_running_loop().call_soon(model.finish)
    assert type((await second).error) is Draining
    assert (await first).kind is OutcomeKind.COMPLETED


async def test_only_batched_tasks_are_batched() -> None:
    model = Model(slots=4)
    async with Batchers(model, ManualClock()) as batchers:
        assert isinstance(batchers, Batchers)
        names = [("1", "m.plain"), ("2", "m.plain"), ("3", "m.batched"), ("4", "m.batched"), ("5", "m.unknown")]
        running = [asyncio.create_task(batchers.run(call(*name))) for name in names]
        await settle()
        assert sorted(model.batches) == [["1"], ["2"], ["3", "4"], ["5"]]
        batchers.stop_call("3", OutcomeKind.CANCELED)
        assert model.stopped == ["3"]
        for _ in range(4):
            model.finish()
        await asyncio.gather(*running)


async def test_a_real_model_gets_its_calls_in_batches_and_a_bad_one_fails_alone(tmp_path: Path) -> None:
    async with hosted(tmp_path, "batcher") as rig, Batchers(rig.host, SystemClock()) as batchers:
        assert isinstance(batchers, Batchers)
        texts: list[object] = [str(number) for number in range(40)]
        texts[7] = 5
        texts[9] = "bad"
        calls = [rig.call("shout", text=text) for text in texts]
        async with asyncio.timeout(SECONDS):
            ends = await asyncio.gather(*(batchers.run(one) for one in calls))
        assert [number for number, end in enumerate(ends) if type(end.error) is InvalidInput] == [7, 9]
        results = [json.loads(end.output_json) for end in ends if end.kind is OutcomeKind.COMPLETED]
        assert [found["text"] for found in results] == [f"{text}!" for text in texts if text not in (5, "bad")]
        assert max(found["together"] for found in results) == 8
