"""Direct calls to real model processes, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from tests.unit.runtime.rig import Events, bytes_of, piece

from glowplug import events
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.clock import SystemClock
from glowplug.process.host import Host
from glowplug.process.spec import HostSpec
from glowplug.readiness import Board
from glowplug.runtime.direct import DirectApp, DirectParts, DirectPolicy

MODELS = Path(__file__).parents[2] / "models"


@dataclass
class Worker:
    client: httpx.AsyncClient
    artifacts: DiskArtifacts
    board: Board
    host: Host
    port: int
    events: Events
    scratch: Path

    async def run(self, task: str, **said: object) -> httpx.Response:
        return await self.client.post(f"/v1/run/{task}", json=said)


@asynccontextmanager
async def serving(folder: Path, model: str) -> AsyncIterator[Worker]:
    """Serve one real model on a port of its own, from before it is ready."""
    clock, seen = SystemClock(), Events()
    previous = events.set_sink(seen)
    board = Board(clock)
    spec = HostSpec(target=str(MODELS / f"{model}.py"), scratch=folder / "host", cancel_grace_seconds=2.0)
    host = Host(spec, board.add(model, model=model), clock=clock)
    artifacts = DiskArtifacts(folder / "artifacts")
    policy = DirectPolicy(watch_after_seconds=0.01)
    app = DirectApp(DirectParts([host], artifacts, clock, folder / "calls", policy))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve([listener]))
    try:
        async with asyncio.timeout(60), artifacts, host, app:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                yield Worker(client, artifacts, board, host, port, seen, folder / "calls")
            await app.leave()
    finally:
        server.should_exit = True
        await task
        listener.close()
        events.set_sink(previous)


async def test_a_call_is_refused_until_the_model_is_ready_and_answered_from_then_on(tmp_path: Path) -> None:
    async with serving(tmp_path, "echo") as it:
        early = await it.run("echo.say", text="x")
        assert (early.status_code, early.json()["code"]) == (503, "not_ready")
        await it.board.wait_until_ready()
        assert (await it.run("echo.say", text="grüß ", times=2)).json() == "grüß grüß "
        wrong = await it.run("echo.say", text="x", times="many")
        assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_input")
        assert (await it.run("echo.say", text="x", tiems=2)).status_code == 422


async def test_many_at_once_get_each_their_own_answer(tmp_path: Path) -> None:
    async with serving(tmp_path, "echo") as it:
        await it.board.wait_until_ready()
        answers = await asyncio.gather(*[it.run("echo.say", text=str(number)) for number in range(100)])
        assert [answer.json() for answer in answers] == [str(number) for number in range(100)]


async def test_calls_that_come_together_are_run_together(tmp_path: Path) -> None:
    async with serving(tmp_path, "batcher") as it:
        await it.board.wait_until_ready()
        answers = await asyncio.gather(*[it.run("batcher.shout", text=f"w{number}") for number in range(20)])
        assert [answer.json()["text"] for answer in answers] == [f"W{number}!" for number in range(20)]
        assert max(answer.json()["together"] for answer in answers) > 1


async def test_one_bad_call_does_not_spoil_the_batch_of_the_others(tmp_path: Path) -> None:
    async with serving(tmp_path, "batcher") as it:
        await it.board.wait_until_ready()
        words = ["a", "bad", "b", "c"]
        answers = await asyncio.gather(*[it.run("batcher.shout", text=word) for word in words])
        assert [answer.status_code for answer in answers] == [200, 422, 200, 200]


async def test_values_are_streamed_as_events(tmp_path: Path) -> None:
    async with serving(tmp_path, "streamer") as it:
        await it.board.wait_until_ready()
        body = (await it.run("streamer.words", text="eins zwei drei")).text
        data = [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line.startswith("data: ")]
        assert data == ["eins", "zwei", "drei", {}]
        assert body.rstrip().splitlines()[-2] == "event: done"


async def test_a_reader_who_leaves_an_endless_stream_stops_it(tmp_path: Path) -> None:
    async with serving(tmp_path, "streamer") as it:
        await it.board.wait_until_ready()
        async with it.client.stream("POST", "/v1/run/streamer.count", json={}) as response:
            async for line in response.aiter_lines():
                if line == "data: 50":
                    break
        assert (await it.run("streamer.words", text="free again")).status_code == 200


async def test_a_file_goes_in_and_a_file_comes_out(tmp_path: Path) -> None:
    async with serving(tmp_path, "artist") as it:
        await it.board.wait_until_ready()
        await it.artifacts.put("inputs/1/data.bin", piece(b"0123456789"))
        assert (await it.run("artist.length", file="artifact:inputs/1/data.bin")).json() == 10
        said = (await it.run("artist.copy", file="artifact:inputs/1/data.bin")).json()
        uri = said if isinstance(said, str) else said["uri"]
        assert await bytes_of(it.artifacts, uri.removeprefix("artifact:")) == b"0123456789"
        painted = (await it.run("artist.paint", times=3)).json()
        uri = painted if isinstance(painted, str) else painted["uri"]
        assert await bytes_of(it.artifacts, uri.removeprefix("artifact:")) == b"paint" * 3
        assert list(it.scratch.iterdir()) == []


async def test_an_error_of_the_models_is_500_and_a_crash_502_and_then_it_serves_again(tmp_path: Path) -> None:
    async with serving(tmp_path, "artist") as it:
        await it.board.wait_until_ready()
        failed = await it.run("artist.fail", kind="value")
        assert (failed.status_code, failed.json()["code"]) == (500, "task_failed")
        assert "no such thing" in failed.json()["detail"]


async def test_a_process_that_is_killed_under_a_call_is_a_502(tmp_path: Path) -> None:
    async with serving(tmp_path, "streamer") as it:
        await it.board.wait_until_ready()
        calling = asyncio.create_task(it.run("streamer.words", text="one two three", pause_seconds=20))
        while not it.events.names().count("model.spawned") or it.host.free_slots:
            await asyncio.sleep(0.005)
        pid = (await it.events.until("model.spawned"))["pid"]
        os.kill(pid, signal.SIGKILL)
        text = (await calling).text
        assert "model_crashed" in text
        await it.board.wait_until_ready()
        assert (await it.run("streamer.words", text="again")).status_code == 200
