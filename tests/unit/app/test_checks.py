"""Looking after servers elsewhere: they go and come back, and the application stays."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from tests.unit.app.rig import SECONDS, Gate, passing, until_ready, until_status

from glowplug.app import Readiness
from glowplug.clock import ManualClock
from glowplug.errors import LoadFailed
from glowplug.readiness import ErrorClass, State, Status


class Server:
    """A server elsewhere that can be taken away."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.answer: Any = None
        self.asked: list[Any] = []
        self.heard = threading.Event()

    def connect(self) -> str:
        return "client"

    def check(self, value: Any) -> Any:
        self.asked.append(value)
        self.heard.set()
        if self.fault is not None:
            raise self.fault
        return self.answer


@pytest.mark.parametrize("goes", ["raises", "says no"])
async def test_a_server_that_goes_is_told_of_while_the_application_stays_ready(goes: str) -> None:
    clock, server = ManualClock(), Server()
    ready = Readiness(clock=clock)
    ready.add("ollama", server.connect, check=server.check, check_every=5)
    async with ready:
        await until_ready(ready)
        async with passing(clock):
            await asyncio.to_thread(server.heard.wait, SECONDS)
        assert server.asked[0] == "client"
        assert ready.is_ready("ollama")
        server.fault, server.answer = (ConnectionRefusedError("refused"), None) if goes == "raises" else (None, False)
        async with passing(clock):
            seen = await until_status(ready, "ollama", Status.ERROR)
        assert seen.failure is not None
        assert seen.failure.error_class is ErrorClass.TRANSIENT
        assert ready.board.state is State.READY
        assert not ready.is_ready("ollama")
        with pytest.raises(LoadFailed):
            ready["ollama"]
        server.fault = server.answer = None
        async with passing(clock):
            await until_status(ready, "ollama", Status.READY)
        assert ready["ollama"] == "client"


async def test_a_dependency_that_always_counts_takes_the_whole_with_it() -> None:
    clock, server = ManualClock(), Server()
    ready = Readiness(clock=clock)
    ready.add("database", server.connect, check=server.check, check_every=5, gates="always")
    async with ready:
        await until_ready(ready)
        server.fault = ConnectionRefusedError("refused")
        async with passing(clock):
            await until_status(ready, "database", Status.ERROR)
        assert ready.board.state is State.ERROR


async def test_a_lost_server_may_be_connected_to_again_by_hand() -> None:
    clock, server = ManualClock(), Server()
    ready = Readiness(clock=clock)
    ready.add("ollama", server.connect, check=server.check, check_every=5)
    async with ready:
        await until_ready(ready)
        server.fault = ConnectionRefusedError("refused")
        async with passing(clock):
            await until_status(ready, "ollama", Status.ERROR)
        assert await ready.retry("ollama") == ("ollama",)
        await until_status(ready, "ollama", Status.READY)
        # The new attempt looks after it too.
        async with passing(clock):
            await until_status(ready, "ollama", Status.ERROR)


async def test_a_check_that_hangs_is_no_answer_and_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glowplug.app.checks.ANSWER_SECONDS", 0.05)
    clock, gate = ManualClock(), Gate(None)
    ready = Readiness(clock=clock)
    ready.add("ollama", lambda: "client", check=gate, check_every=5)
    async with ready:
        await until_ready(ready)
        async with passing(clock):
            seen = await until_status(ready, "ollama", Status.ERROR)
        assert seen.failure is not None
        assert seen.failure.error == "no answer within 0.05 s"
        await clock.advance(50)
        assert len(gate.contexts) == 1
        gate.open.set()
        await until_status(ready, "ollama", Status.READY)


async def test_a_check_may_be_a_coroutine() -> None:
    clock = ManualClock()
    ready = Readiness(clock=clock)

    async def check() -> bool:
        return False

    ready.add("ollama", lambda: "client", check=check, check_every=5)
    async with ready:
        await until_ready(ready)
        async with passing(clock):
            await until_status(ready, "ollama", Status.ERROR)
