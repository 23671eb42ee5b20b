"""Calling a developer's function: whatever it is, whatever it raises, from a loop that goes on."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from functools import partial
from typing import Any

import pytest
from tests.unit.app.rig import SECONDS

from glowplug.app.performing import Function, Raised, in_daemon_thread, on_loop

COLOUR: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


class Callable:
    """An object that can be called."""

    def __call__(self, value: str) -> str:
        return f"called with {value}"


class Coroutine:
    """An object whose call is a coroutine."""

    async def __call__(self, value: str) -> str:
        return f"awaited with {value}"


async def coroutine(value: str) -> str:
    return f"awaited with {value}"


@pytest.mark.parametrize(
    ("call", "expected", "is_on_loop"),
    [
        (lambda: "nothing", "nothing", False),
        (lambda value: value, "x", False),
        (lambda value, more="y": value + more, "xy", False),
        (lambda *values: values, ("x", "z"), False),
        (partial(lambda greeting, value: greeting + value, "hello "), "hello x", False),
        (Callable(), "called with x", False),
        (Coroutine(), "awaited with x", True),
        (coroutine, "awaited with x", True),
        (partial(coroutine), "awaited with x", True),
        (len, 1, False),
    ],
)
async def test_it_gets_as_many_arguments_as_it_takes(call: Any, expected: Any, is_on_loop: bool) -> None:
    function = Function.of(call, "test", 2)
    assert function.on_loop is is_on_loop
    assert await function.perform("x", "z", thread="test") == expected


async def test_a_thread_sees_the_context_of_whoever_asked() -> None:
    COLOUR.set("blue")
    assert await in_daemon_thread(COLOUR.get, "test") == "blue"


async def test_the_thread_has_the_name_it_was_given() -> None:
    assert await in_daemon_thread(lambda: threading.current_thread().name, "load tts") == "load tts"


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), StopIteration(), asyncio.CancelledError()])
async def test_whatever_a_thread_raises_comes_as_one_error_with_the_cause(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(Raised) as raised:
        await in_daemon_thread(fail, "test")
    assert raised.value.error is error


async def test_a_coroutine_that_cancels_itself_has_failed() -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(Raised):
        await on_loop(give_up())


async def test_a_canceled_caller_leaves_at_once_and_the_thread_is_forgotten() -> None:
    entered, release = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        release.wait(SECONDS)

    waiting = asyncio.create_task(in_daemon_thread(hang, "test"))
    assert await asyncio.to_thread(entered.wait, SECONDS)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(SECONDS):
            await waiting
    release.set()


def test_a_thread_that_ends_after_its_loop_is_no_accident() -> None:
    entered, release = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def hang() -> None:
        threads.append(threading.current_thread())
        entered.set()
        release.wait(SECONDS)

    async def begin() -> None:
        waiting = asyncio.create_task(in_daemon_thread(hang, "test"))
        assert await asyncio.to_thread(entered.wait, SECONDS)
        waiting.cancel()

    asyncio.run(begin())
    release.set()
    threads[0].join(SECONDS)
    assert not threads[0].is_alive()
