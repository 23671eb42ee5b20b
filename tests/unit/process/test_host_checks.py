"""A model that leans on a server: when that goes, the model shows it and the whole stays ready, until it is back."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.unit.process.rig import SECONDS, Rig, hosted

from glowplug.errors import NotReady, Unreachable
from glowplug.job import OutcomeKind
from glowplug.process import checks
from glowplug.process.checks import Checker
from glowplug.readiness.component_snapshot import ErrorClass
from glowplug.readiness.state import State
from glowplug.runtime.upkeep import Upkeep


@asynccontextmanager
async def leaning(tmp_path: Path) -> AsyncIterator[tuple[Rig, Path]]:
    """Host the model with its server up."""
    server = tmp_path / "server"
    server.write_text("")
    async with hosted(tmp_path, "leaning", options={"server": str(server)}) as rig:
        yield rig, server


async def test_a_server_that_goes_is_shown_while_the_whole_stays_ready(tmp_path: Path) -> None:
    async with leaning(tmp_path) as (rig, server):
        server.write_text("no route to it")
        seen = await rig.until_failed()
        assert seen.failure is not None
        assert seen.failure.error == "ConnectionRefusedError: no route to it"
        assert seen.failure.error_class is ErrorClass.TRANSIENT
        whole = rig.board.snapshot()
        assert whole.state is State.READY
        assert whole.only(["leaning"]).admin_ready()[0] == 503


async def test_calls_are_refused_with_the_reason_until_it_is_back(tmp_path: Path) -> None:
    async with leaning(tmp_path) as (rig, server):
        server.write_text("no route to it")
        await rig.until_failed()
        end = await rig.run("ask")
        assert (type(end.error), end.kind) == (NotReady, OutcomeKind.FAILED)
        assert end.error is not None
        assert "does not work at the moment: ConnectionRefusedError: no route to it" in end.error.message
        assert rig.host.free_slots == 0
        server.write_text("")
        await rig.until(lambda seen: seen.status.can_serve)
        assert (await rig.run("ask")).output_json == b'"yes"'
        assert len(rig.told("model.spawned")) == 1


async def test_a_call_that_runs_is_let_be(tmp_path: Path) -> None:
    async with leaning(tmp_path) as (rig, server), asyncio.timeout(SECONDS):
        running = asyncio.create_task(rig.run("hold", until=str(tmp_path / "end")))
        server.write_text("gone")
        await rig.until_failed()
        (tmp_path / "end").touch()
        assert (await running).output_json == b'"done"'


async def test_the_process_that_dies_then_is_not_ready_as_a_whole(tmp_path: Path) -> None:
    async with leaning(tmp_path) as (rig, server):
        server.write_text("gone")
        await rig.until_failed()
        server.unlink()
        os.kill(rig.pid(), signal.SIGKILL)
        await rig.until(lambda seen: not seen.status.is_failed)
        assert rig.board.snapshot().state is not State.READY


async def test_a_retry_looks_again_and_starts_nothing(tmp_path: Path) -> None:
    async with leaning(tmp_path) as (rig, server):
        server.write_text("gone")
        await rig.until_failed()
        server.write_text("")
        await Upkeep([rig.host], rig.board).retry(())
        await rig.until(lambda seen: seen.status.can_serve)
        assert len(rig.told("model.spawned")) == 1


def test_the_same_answer_is_told_once() -> None:
    told: list[str | None] = []
    answers: list[Exception | None] = [None, OSError("a"), OSError("a"), OSError("b"), None, None]

    def check() -> None:
        if (wrong := answers.pop(0)) is not None:
            raise wrong

    checker = Checker(check, 1.0, told.append)
    while answers:
        checker._look()
    assert told == ["OSError: a", "OSError: b", None]


def test_a_check_that_hangs_is_told_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "ANSWER_SECONDS", 0.01)
    go_on, told = threading.Event(), list[str | None]()

    def tell(wrong: str | None) -> None:
        told.append(wrong)
        go_on.set()

    def check() -> None:
        go_on.wait(SECONDS)

    Checker(check, 1.0, tell)._look()
    assert told == ["no answer within 0.01 s", None]


def test_a_check_whose_error_cannot_even_be_told_is_wrong_and_asked_again() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    told: list[str | None] = []
    answers: list[BaseException | None] = [Mute(), SystemExit(3), Unreachable("half \ud800"), None]

    def check() -> None:
        if (wrong := answers.pop(0)) is not None:
            raise wrong

    checker = Checker(check, 1.0, told.append)
    while answers:
        checker._look()
    assert told == ["Mute", "SystemExit: 3", "half ?", None]
