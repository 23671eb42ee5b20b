"""What a load needs is imported in the model's process while the host is still fetching its weights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.process.rig import SECONDS, Rig, hosted

from glowplug.readiness.component_snapshot import ComponentSnapshot
from glowplug.readiness.progress import Stage
from glowplug.readiness.state import Status

PATIENT = """
import socket
from glowplug import Model, task

class Patient(Model):
    weights = {"net": "s3://models/net"}
    prepared = False

    @classmethod
    def prepare(cls, options):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(options["gate"])
            if line.recv(1) != b"y":
                raise ImportError("libheavy.so: cannot open shared object file")
        cls.prepared = True

    def load(self, ctx):
        assert self.prepared

    @task
    def tell(self, ctx) -> str:
        return "here"
"""


class Gate:
    """Where the model's `prepare` stands and waits until it may go on."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.reached = asyncio.Event()
        self._opened: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def open(self, word: bytes = b"y") -> None:
        self._opened.set_result(word)

    async def until_reached(self) -> None:
        async with asyncio.timeout(SECONDS):
            await self.reached.wait()

    async def admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached.set()
        with_word = asyncio.ensure_future(asyncio.shield(self._opened))
        gone = asyncio.ensure_future(reader.read())
        await asyncio.wait({with_word, gone}, return_when=asyncio.FIRST_COMPLETED)
        if with_word.done():
            writer.write(with_word.result())
        for waiting in (with_word, gone):
            waiting.cancel()
        writer.close()


class Fetcher:
    """Fetches until it is told that all is here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.enough = asyncio.Event()
        self.given_up = asyncio.Event()

    async def fetch(
        self, declared: Mapping[str, str], progress: Callable[[int, int | None, str], None]
    ) -> dict[str, Path]:
        progress(5, 10, "fetch")
        try:
            await self.enough.wait()
        except asyncio.CancelledError:
            self.given_up.set()
            raise
        return dict.fromkeys(declared, self.folder)


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    gate = Gate(tmp_path / "gate")
    async with await asyncio.start_unix_server(gate.admit, gate.place):
        yield gate


@asynccontextmanager
async def patient(tmp_path: Path, gate: Gate, fetcher: Fetcher, **spec: Any) -> AsyncIterator[Rig]:
    target = tmp_path / "patient.py"
    target.write_text(PATIENT)
    options = {"gate": str(gate.place)}
    async with hosted(
        tmp_path, "echo", target=str(target), weights=fetcher, options=options, ready=False, **spec
    ) as rig:
        yield rig


def in_stage(seen: ComponentSnapshot) -> str | None:
    return seen.progress.stage if seen.progress is not None else None


async def test_libraries_are_imported_while_weights_are_fetched(tmp_path: Path, gate: Gate) -> None:
    fetcher = Fetcher(tmp_path)
    async with patient(tmp_path, gate, fetcher) as rig:
        await gate.until_reached()
        assert not fetcher.enough.is_set()
        await rig.until(lambda seen: in_stage(seen) == Stage.FETCH)
        gate.open()
        fetcher.enough.set()
        await rig.until_ready()
        assert (await rig.run("tell")).output_json == b'"here"'


async def test_an_import_that_outlasts_the_fetch_is_what_the_load_says_it_waits_for(tmp_path: Path, gate: Gate) -> None:
    fetcher = Fetcher(tmp_path)
    async with patient(tmp_path, gate, fetcher) as rig:
        await gate.until_reached()
        await rig.until(lambda seen: in_stage(seen) == Stage.FETCH)
        fetcher.enough.set()
        waiting = await rig.until(lambda seen: in_stage(seen) == Stage.IMPORT)
        assert waiting.status is Status.LOADING
        gate.open()
        await rig.until_ready()


async def test_a_library_that_cannot_be_imported_ends_the_fetch_at_once(tmp_path: Path, gate: Gate) -> None:
    fetcher = Fetcher(tmp_path)
    async with patient(tmp_path, gate, fetcher, load_attempts=1) as rig:
        await gate.until_reached()
        await rig.until(lambda seen: in_stage(seen) == Stage.FETCH)
        gate.open(b"n")
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert failed.failure.error == "ImportError: libheavy.so: cannot open shared object file"
        assert fetcher.given_up.is_set()


async def test_a_model_that_nobody_wants_yet_imports_nothing(tmp_path: Path, gate: Gate) -> None:
    fetcher = Fetcher(tmp_path)
    fetcher.enough.set()
    async with patient(tmp_path, gate, fetcher, preload=False) as rig:
        await rig.until(lambda seen: seen.status is Status.SLEEPING)
        assert not gate.reached.is_set()
        await rig.host.reload()
        await gate.until_reached()
        gate.open()
        assert (await rig.until_ready()).attempt == 1


async def test_a_host_that_stops_does_not_wait_for_an_import(tmp_path: Path, gate: Gate) -> None:
    async with patient(tmp_path, gate, Fetcher(tmp_path)) as rig:
        await gate.until_reached()
        async with asyncio.timeout(SECONDS):
            await rig.host.stop()
        assert rig.component.status is Status.SLEEPING
