"""Loads that go wrong: they raise, hang, come late, are given up, are tried again, or were never possible."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.unit.app.rig import SECONDS, Gate, until, until_ready, until_status

from glowplug import LoadContext, Unavailable
from glowplug.app import InProcess, Life, Loader, Place, Readiness
from glowplug.clock import ManualClock
from glowplug.errors import Canceled, Conflict, LoadFailed, NotFound, NotReady
from glowplug.readiness import ErrorClass, State, Status
from glowplug.runtime.backoff import Backoff


class Faulty:
    """Raises what it is given, one error a call, and then returns."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "loaded"


class OutOfMemoryError(RuntimeError):
    """As a library for GPUs raises it."""


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ValueError("no such voice"), ErrorClass.PERMANENT, "ValueError: no such voice"),
        (ConnectionResetError("gone"), ErrorClass.TRANSIENT, "ConnectionResetError: gone"),
        (OutOfMemoryError("CUDA"), ErrorClass.OUT_OF_MEMORY, "Out of memory (OutOfMemoryError: CUDA)"),
        (SystemExit(3), ErrorClass.PERMANENT, "SystemExit: 3"),
        (KeyboardInterrupt(), ErrorClass.PERMANENT, "KeyboardInterrupt"),
        (GeneratorExit(), ErrorClass.PERMANENT, "GeneratorExit"),
        (StopIteration(), ErrorClass.PERMANENT, "StopIteration"),
        (Canceled("by itself"), ErrorClass.PERMANENT, "Canceled: by itself"),
    ],
)
async def test_a_load_that_raises_is_an_error_of_its_class(
    ready: Readiness, error: BaseException, kind: ErrorClass, said: str
) -> None:
    ready.add("tts", Faulty(error))
    async with ready:
        seen = await until_status(ready, "tts", Status.ERROR)
        assert seen.failure is not None
        assert (seen.failure.error, seen.failure.error_class) == (said, kind)
        assert ready.board.state is State.ERROR
        with pytest.raises(LoadFailed, match="tts is not ready"):
            ready["tts"]


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), ValueError("no")])
async def test_a_coroutine_that_raises_does_not_end_the_loop(ready: Readiness, error: BaseException) -> None:
    @ready.component("chat")
    async def load() -> None:
        raise error

    async with ready:
        await until_status(ready, "chat", Status.ERROR)


async def test_a_coroutine_that_cancels_its_own_task_does_not_load_for_ever(ready: Readiness) -> None:
    async def load() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(SECONDS)

    ready.add("tts", load)
    async with ready:
        seen = await until_status(ready, "tts", Status.ERROR)
        assert seen.failure is not None
        assert seen.failure.error == "the load canceled its own task"


async def test_the_developer_finds_the_traceback_in_the_log(ready: Readiness, caplog: pytest.LogCaptureFixture) -> None:
    ready.add("tts", Faulty(ValueError("no such voice")))
    with caplog.at_level(logging.ERROR, "glowplug"):
        async with ready:
            await until_status(ready, "tts", Status.ERROR)
    assert any("raise self.errors.pop(0)" in record.getMessage() for record in caplog.records)


async def test_an_optional_component_that_fails_holds_nothing_back(ready: Readiness) -> None:
    ready.add("stt", Faulty(ValueError("no")), required=False)
    ready.add("tts", lambda: None)
    async with ready:
        await until_ready(ready)
        await until_status(ready, "stt", Status.ERROR)
        assert ready.is_ready()
        assert not ready.is_ready("stt")


async def test_an_optional_component_that_is_not_installed_is_unavailable(
    ready: Readiness, caplog: pytest.LogCaptureFixture
) -> None:
    def load() -> None:
        import glowplug_no_such_package  # type: ignore[import-not-found]  # noqa: F401

    ready.add("stt", load, required=False)
    ready.add("tts", load)
    async with ready:
        seen = await until_status(ready, "stt", Status.UNAVAILABLE)
        assert seen.reason == "not_installed"
        assert "stt is unavailable: ModuleNotFoundError: No module named 'glowplug_no_such_package'" in caplog.text
        with pytest.raises(Unavailable):
            ready["stt"]
        required = await until_status(ready, "tts", Status.ERROR)
        assert required.failure is not None
        assert "install what provides 'glowplug_no_such_package'" in required.failure.error


async def test_a_load_may_say_itself_that_it_cannot_be(ready: Readiness) -> None:
    ready.add("stt", Faulty(Unavailable("no microphone")), required=False)
    async with ready:
        seen = await until_status(ready, "stt", Status.UNAVAILABLE)
        assert seen.reason == "no microphone"
        assert await ready.retry("stt") == ("stt",)
        await until_status(ready, "stt", Status.READY)


async def test_a_warm_up_that_fails_fails_the_component(ready: Readiness) -> None:
    ready.add("tts", lambda: "voice", warm_up=Faulty(ValueError("silence")))
    async with ready:
        seen = await until_status(ready, "tts", Status.ERROR)
        assert seen.failure is not None
        assert seen.failure.error == "warm-up failed: ValueError: silence"
        await ready.retry()
        await until_ready(ready)


# Deadlines.


async def test_a_load_that_hangs_is_an_error_at_its_deadline_and_ready_when_it_comes_late() -> None:
    clock, gate = ManualClock(), Gate("late")
    ready = Readiness(clock=clock, startup_timeout=5, stall_timeout=100)
    ready.add("tts", gate)
    async with ready:
        await gate.until_entered()
        await clock.advance(4.5)
        assert ready.snapshot().components[0].status is Status.LOADING
        await clock.advance(1)
        seen = ready.snapshot().components[0]
        assert seen.status is Status.ERROR
        assert seen.failure is not None
        assert (seen.failure.error, seen.failure.error_class) == ("Model loading timeout", ErrorClass.STALLED)
        gate.open.set()
        await until_status(ready, "tts", Status.READY)
        assert ready["tts"] == "late"
        assert ready.snapshot().components[0].attempt == 1


async def test_a_load_that_comes_late_and_fails_tells_its_own_error() -> None:
    clock, gate = ManualClock(), Gate(error=ValueError("in the end"))
    ready = Readiness(clock=clock, startup_timeout=5)
    ready.add("tts", gate)
    async with ready:
        await gate.until_entered()
        await clock.advance(6)
        gate.open.set()
        seen = await until(ready, "tts", lambda one: one.failure is not None and "in the end" in one.failure.error)
        assert seen.status is Status.ERROR


async def test_after_a_newer_attempt_began_the_result_of_the_older_one_is_dropped() -> None:
    clock, old, new = ManualClock(), Gate("old"), Gate("new")
    gates = [old, new]
    ready = Readiness(clock=clock, startup_timeout=5)
    ready.add("tts", lambda ctx: gates.pop(0)(ctx))
    async with ready:
        await old.until_entered()
        await clock.advance(6)
        assert await ready.retry("tts") == ("tts",)
        await new.until_entered()
        with pytest.raises(Canceled):
            old.contexts[0].progress(1, 2)
        old.open.set()
        await clock.advance(1)
        assert not ready.is_ready()
        new.open.set()
        await until_ready(ready)
        assert (ready["tts"], ready.snapshot().components[0].attempt) == ("new", 2)


async def test_a_coroutine_past_its_deadline_is_canceled() -> None:
    clock, ended = ManualClock(), asyncio.Event()
    ready = Readiness(clock=clock, startup_timeout=5)

    @ready.component("chat")
    async def load() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with ready:
        await clock.advance(6)
        seen = await until_status(ready, "chat", Status.ERROR)
        assert seen.failure is not None
        assert seen.failure.error == "Model loading timeout"
        assert ended.is_set()


async def test_a_load_without_a_sign_of_life_stalls_and_each_sign_moves_the_deadline() -> None:
    clock, gate = ManualClock(), Gate()
    ready = Readiness(clock=clock)
    ready.add("tts", gate, stall_timeout=10)
    async with ready:
        await gate.until_entered()
        await clock.advance(8)
        gate.contexts[0].progress(1, 2)
        await clock.advance(8)
        assert ready.snapshot().components[0].status is Status.LOADING
        await clock.advance(3)
        seen = ready.snapshot().components[0]
        assert seen.failure is not None
        assert "no sign of life for 10 s" in seen.failure.error
        gate.open.set()
        await until_status(ready, "tts", Status.READY)


async def test_a_warm_up_has_a_deadline_of_its_own() -> None:
    clock, warming = ManualClock(), Gate()
    ready = Readiness(clock=clock, warmup_timeout=3)
    ready.add("tts", lambda: "voice", warm_up=warming)
    async with ready:
        await warming.until_entered()
        await clock.advance(4)
        seen = ready.snapshot().components[0]
        assert seen.failure is not None
        assert seen.failure.error == "Model warm-up timeout"
        warming.open.set()
        await until_status(ready, "tts", Status.READY)


# Leaving.


async def test_a_load_that_hangs_does_not_hold_up_the_end(ready: Readiness) -> None:
    gate = Gate()
    ready.add("tts", gate)
    async with ready:
        await gate.until_entered()
    with pytest.raises(BaseException, match="the application is leaving"):
        gate.contexts[0].stage("to device")
    gate.open.set()
    assert ready.board.state is State.DRAINING


async def test_a_coroutine_is_canceled_when_the_application_leaves(ready: Readiness) -> None:
    ended = asyncio.Event()
    begun = asyncio.Event()

    @ready.component("chat")
    async def load() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with ready:
        async with asyncio.timeout(SECONDS):
            await begun.wait()
    assert ended.is_set()


async def test_a_coroutine_that_will_not_be_canceled_is_left_behind(
    ready: Readiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glowplug.app.attempts.GRACE_SECONDS", 0.05)
    begun, release = asyncio.Event(), asyncio.Event()

    @ready.component("chat")
    async def load() -> None:
        begun.set()
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()

    async with ready, asyncio.timeout(SECONDS):
        await begun.wait()
    release.set()
    await asyncio.sleep(0)


async def test_a_late_thread_of_a_former_life_is_not_heard(ready: Readiness) -> None:
    old, new = Gate("old"), Gate("new")
    gates = [old, new]
    ready.add("tts", lambda ctx: gates.pop(0)(ctx))
    async with ready:
        await old.until_entered()
    async with ready:
        await new.until_entered()
        old.open.set()
        with pytest.raises(BaseException, match="leaving"):
            old.contexts[0].progress(1, 1)
        assert not ready.is_ready()
        new.open.set()
        await until_ready(ready)
        assert ready["tts"] == "new"


# Retrying.


async def test_by_default_nothing_is_tried_again_by_itself(ready: Readiness) -> None:
    load = Faulty(ConnectionResetError("gone"))
    ready.add("tts", load)
    async with ready:
        await until_status(ready, "tts", Status.ERROR)
        assert load.calls == 1


async def test_a_transient_failure_is_tried_again_as_often_as_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glowplug.app.attempts.RETRY", Backoff(base_seconds=8, random=lambda: 1.0, cap_seconds=60))
    clock, load = ManualClock(), Faulty(*[ConnectionResetError("gone")] * 3)
    ready = Readiness(clock=clock)
    ready.add("tts", load, retries=2)
    async with ready:
        for attempt in (1, 2):
            waiting = await until(ready, "tts", lambda one, n=attempt: bool(one.reason) and one.attempt == n)  # type: ignore[misc]
            assert waiting.status is Status.PENDING
            assert waiting.reason is not None
            assert waiting.reason == f"in {8 * attempt} s ({attempt + 1} of 3)"
            assert waiting.failure is not None
            await clock.advance(8 * attempt)
        await until_status(ready, "tts", Status.ERROR)
        assert load.calls == 3


@pytest.mark.parametrize("error", [ValueError("never"), MemoryError(), Unavailable("no microphone")])
async def test_what_will_not_pass_is_not_tried_again(error: Exception) -> None:
    ready, load = Readiness(clock=ManualClock()), Faulty(error)
    ready.add("tts", load, retries=5)
    async with ready:
        await until(ready, "tts", lambda one: one.status.is_failed)
        assert load.calls == 1


async def test_leaving_while_a_retry_is_awaited_is_prompt() -> None:
    ready = Readiness(clock=ManualClock())
    ready.add("tts", Faulty(ConnectionResetError("gone")), retries=1)
    async with asyncio.timeout(SECONDS), ready:
        await until(ready, "tts", lambda one: bool(one.reason))


async def test_a_retry_loads_what_failed_and_leaves_the_rest(ready: Readiness) -> None:
    sound, broken = Faulty(), Faulty(ValueError("once"))
    ready.add("tts", sound)
    ready.add("chat", broken)
    async with ready:
        await until_status(ready, "chat", Status.ERROR)
        await until_ready(ready, "tts")
        assert await ready.retry() == ("chat",)
        await until_ready(ready)
        assert (sound.calls, broken.calls) == (1, 2)


@pytest.mark.parametrize("ask", [lambda ready: ready.retry(), lambda ready: ready.retry("tts")])
async def test_there_is_nothing_to_retry_where_nothing_failed(ready: Readiness, ask: Callable[[Any], Any]) -> None:
    ready.add("tts", lambda: None)
    async with ready:
        await until_ready(ready)
        with pytest.raises(Conflict, match="nothing to retry: tts is ready"):
            await ask(ready)


class Stillborn(Loader):
    """Cannot begin the first time, and is as any other then."""

    begins_at_once = False

    def __init__(self) -> None:
        self.failures = 1

    def life(self, place: Place) -> Life:
        self.failures -= 1
        if self.failures >= 0:
            raise OSError("no space left")
        return InProcess(lambda: "loaded").life(place)


async def test_a_load_that_could_not_begin_can_be_retried_and_keeps_no_other_from_it(ready: Readiness) -> None:
    async with ready:
        ready.add("tts", Stillborn())
        ready.add("chat", Faulty(ValueError("no")))
        seen = await until_status(ready, "tts", Status.ERROR)
        assert seen.failure is not None
        assert seen.failure.error == "the load could not begin: OSError: no space left"
        await until_status(ready, "chat", Status.ERROR)
        assert await ready.retry("tts", "chat") == ("tts", "chat")
        await until_ready(ready)
        assert ready["tts"] == "loaded"


async def test_an_unknown_component_cannot_be_retried(ready: Readiness) -> None:
    async with ready:
        with pytest.raises(NotFound):
            await ready.retry("tts")


async def test_before_the_start_there_is_nothing_to_retry(ready: Readiness) -> None:
    ready.add("tts", lambda: None)
    with pytest.raises(Conflict):
        await ready.retry("tts")


async def test_of_two_who_ask_at_once_one_is_told_that_there_is_nothing_left(ready: Readiness) -> None:
    load = Faulty(ValueError("once"))
    ready.add("tts", load)
    async with ready:
        await until_status(ready, "tts", Status.ERROR)
        answers = await asyncio.gather(ready.retry("tts"), ready.retry("tts"), return_exceptions=True)
        assert [type(answer) for answer in answers] == [tuple, Conflict]
        await until_ready(ready)
        assert load.calls == 2


async def test_a_retry_may_be_asked_for_from_another_loop(ready: Readiness) -> None:
    ready.add("tts", Faulty(ValueError("once")))
    async with ready:
        await until_status(ready, "tts", Status.ERROR)
        assert await asyncio.to_thread(lambda: asyncio.run(ready.retry("tts"))) == ("tts",)
        await until_ready(ready)


async def test_waiting_for_what_failed_is_answered_with_the_error(ready: Readiness) -> None:
    ready.add("tts", Faulty(ValueError("no")))
    async with ready:
        with pytest.raises(LoadFailed, match="TTS initialization failed: ValueError: no"):
            await until_ready(ready)


async def test_a_failed_load_is_not_kept_in_memory(ready: Readiness) -> None:
    class Heavy:
        """Half a model."""

    def load() -> None:
        heavy = Heavy()
        raise ValueError(f"{heavy}")

    ready.add("tts", load)
    async with ready:
        await until_status(ready, "tts", Status.ERROR)
        await asyncio.sleep(0)
        frames = [frame for frame in sys._current_frames().values() if "heavy" in frame.f_locals]
        assert frames == []


async def test_an_early_answer_says_when_to_ask_again(ready: Readiness) -> None:
    gate = Gate()
    ready.add("tts", gate)
    async with ready:
        await gate.until_entered()
        with pytest.raises(NotReady) as early:
            ready["tts"]
        assert early.value.data["retry_after"] >= 1
        gate.open.set()


async def test_a_context_is_usable_as_statement_and_as_block(ready: Readiness) -> None:
    def load(ctx: LoadContext) -> None:
        ctx.stage("one")
        with ctx.stage("two"):
            ctx.progress(1, None, stage="three")

    ready.add("tts", load)
    async with ready:
        await until_ready(ready)
