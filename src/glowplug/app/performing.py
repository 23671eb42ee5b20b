"""Calling a developer's own function: a plain one in a daemon thread of its own, a coroutine function on the loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from glowplug.errors import SettingsError

T = TypeVar("T")
_COLLECTING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Raised(Exception):
    """What a developer's function raised; `SystemExit` and its like included, which would else end the event loop."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.error = error


@dataclass(frozen=True, slots=True)
class Function:
    """A developer's function: `takes` is how many arguments it is given, `on_loop` whether it is a coroutine's.

    It is given those that it cannot do without: a parameter with a default means something of the developer's own.
    """

    call: Callable[..., Any]
    takes: int
    on_loop: bool

    @classmethod
    def of(cls, call: Callable[..., Any], where: str, most: int = 1) -> Function:
        """Look at `call`, which may take up to `most` arguments. Raises `SettingsError` if it wants others."""
        if not callable(call):
            raise SettingsError(f"{where}: a function is expected, not {call!r}")
        if inspect.isgeneratorfunction(_innermost(call)) or inspect.isasyncgenfunction(_innermost(call)):
            raise SettingsError(f"{where}: it yields, and nothing would run it; write `return` instead of `yield`")
        return cls(call, _taken(call, where, most), _gives_coroutine(call))

    @property
    def written_at(self) -> str:
        """Return the file and the name of the function, the class where it is a callable of another kind."""
        call = _innermost(self.call)
        code = getattr(inspect.unwrap(call), "__code__", None)
        name = getattr(call, "__qualname__", type(call).__qualname__)
        return f"{code.co_filename if code else type(call).__module__}:{name}"

    async def perform(self, *arguments: Any, thread: str, on_step: Callable[[float], None] | None = None) -> Any:
        """Call it with as many of `arguments` as it takes; `thread` names its thread. Raises `Raised`.

        `on_step` is told how many seconds each step of a coroutine kept the loop from everything else.
        """
        given = partial(self.call, *arguments[: self.takes])
        if self.on_loop:
            return await on_loop(given() if on_step is None else Stepped(given(), on_step))
        result = await in_daemon_thread(given, thread)
        return await on_loop(result) if inspect.isawaitable(result) else result


class Stepped(Awaitable[Any]):
    """A coroutine whose steps are timed."""

    def __init__(self, work: Awaitable[Any], on_step: Callable[[float], None]) -> None:
        self._work = work
        self._on_step = on_step

    def __await__(self) -> Generator[Any, Any, Any]:
        steps: Any = self._work.__await__()
        go_on: Callable[[Any], Any] = steps.send
        given: Any = None
        while True:
            began = time.monotonic()
            try:
                wanted = go_on(given)
            except StopIteration as end:
                return end.value
            finally:
                self._on_step(time.monotonic() - began)
            try:
                given, go_on = (yield wanted), steps.send
            except BaseException as error:  # noqa: BLE001 - a cancellation, most of all, is for the coroutine
                given, go_on = error, steps.throw


async def on_loop(work: Awaitable[Any]) -> Any:
    """Await a developer's coroutine. Raises `Raised`, and `CancelledError` only if we are canceled ourselves."""
    try:
        return await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Raised(error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise Raised(error) from error


async def in_daemon_thread(call: Callable[[], T], name: str) -> T:
    """Run blocking work in a thread that no exit of the process waits for. Raises `Raised`.

    A canceled caller leaves at once; the thread goes on, and what it comes to is dropped.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def settle(outcome: tuple[T | None, BaseException | None]) -> None:
        if not done.done():
            done.set_result(outcome)

    def run() -> None:
        try:
            outcome: tuple[T | None, BaseException | None] = (context.run(call), None)
        except BaseException as error:  # noqa: BLE001 - raised to whoever waits
            outcome = (None, error)
        # The loop may be closed by now: nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name=name, daemon=True).start()
    value, error = await done
    if error is not None:
        raise Raised(error) from error
    return value  # type: ignore[return-value]


def _taken(call: Callable[..., Any], where: str, most: int) -> int:
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        # Some callables written in C do not tell.
        return most
    wanted = [one for one in parameters if one.default is one.empty and one.kind not in _COLLECTING]
    if len(wanted) > most or any(one.kind is one.KEYWORD_ONLY for one in wanted):
        names = ", ".join(one.name for one in wanted)
        raise SettingsError(
            f"{where}: it is called with {most} argument at most, and wants ({names}); give the "
            "others defaults, or bind them with functools.partial"
        )
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return most
    return len(wanted)


def _innermost(call: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(call, partial):
        call = call.func
    return call


def _gives_coroutine(call: Callable[..., Any]) -> bool:
    call = _innermost(call)
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)
