"""Warming up again: every loaded component, one after the other, all staying ready."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.app.rig import Gate, until_ready, until_status

from glowplug.app import Readiness
from glowplug.errors import Conflict
from glowplug.readiness import Status


async def test_each_loaded_component_is_warmed_again_and_stays_ready(ready: Readiness) -> None:
    heard: list[str] = []
    ready.add("tts", lambda: "voice", warm_up=heard.append)
    ready.add("chat", lambda: "talk")
    ready.add("stt", Gate(error=None), required=False)
    async with ready:
        await until_ready(ready)
        first, second = await ready.warm_up()
        assert heard == ["voice", "voice"]
        assert (first.component, first.error, second.component) == ("tts", None, "chat")
        assert first.seconds is not None
        # There is nothing to do for it, and that is what is said.
        assert second.seconds is None
        assert ready.snapshot().components[0].timings.warmup_time_ms == round(first.seconds * 1000, 1)
        assert ready.is_ready()


async def test_a_warm_up_that_fails_the_second_time_is_told_and_takes_nothing_away(ready: Readiness) -> None:
    faults = [None, ValueError("cold")]

    def warm_up() -> None:
        fault = faults.pop(0)
        if fault is not None:
            raise fault

    ready.add("tts", lambda: "voice", warm_up=warm_up)
    async with ready:
        await until_ready(ready)
        (told,) = await ready.warm_up()
        assert told.error == "tts: ValueError: cold"
        assert ready.is_ready()


async def test_a_warm_up_that_hangs_the_second_time_is_given_up() -> None:
    ready, gate, calls = Readiness(warmup_timeout=0.05), Gate(), [lambda _: None]
    calls.append(gate)
    ready.add("tts", lambda: "voice", warm_up=lambda value: calls.pop(0)(value))
    async with ready:
        await until_status(ready, "tts", Status.READY)
        (told,) = await ready.warm_up()
        assert told.error == "tts: the warm-up takes longer than 0.05 s"
        assert ready.is_ready()
        gate.open.set()


async def test_nothing_is_warmed_where_nothing_is_loaded(ready: Readiness) -> None:
    ready.add("tts", gate := Gate())
    async with ready:
        await gate.until_entered()
        with pytest.raises(Conflict, match="nothing is loaded"):
            await ready.warm_up()
        gate.open.set()


async def test_two_who_ask_at_once_are_served_one_after_the_other(ready: Readiness) -> None:
    running, most = 0, 0

    async def warm_up() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    ready.add("tts", lambda: "voice", warm_up=warm_up)
    async with ready:
        await until_ready(ready)
        await asyncio.gather(ready.warm_up(), ready.warm_up())
        assert most == 1
