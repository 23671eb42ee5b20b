"""Direct calls over real HTTP, with a model that follows a script."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
import uvicorn
from tests.unit.runtime.rig import CRASH, FakeHost, Gate, Running, bytes_of, endless, ends, piece, saved_file

from glowplug.artifacts.disk import DiskArtifacts
from glowplug.clock import SystemClock
from glowplug.errors import InvalidInput, ModelCrashed, TaskFailed
from glowplug.job import Note, OutcomeKind, Progress
from glowplug.process.call import CallEnd
from glowplug.readiness import Board
from glowplug.runtime.admission import Admission
from glowplug.runtime.asgi import Receive, Scope, Send, answer
from glowplug.runtime.direct import DirectApp, DirectParts, DirectPolicy
from glowplug.store import ModelInfo, TaskInfo

SAY, SING = TaskInfo("echo.say", timeout_seconds=7.0), TaskInfo("echo.sing", streams=True)
MANY = TaskInfo("echo.many", batch=8)
OPEN = DirectPolicy(body_bytes=10_000, grace_seconds=0.2, watch_after_seconds=0.005)


@dataclass
class Line:
    """A direct app on a port, and a client of it."""

    host: FakeHost
    app: DirectApp
    client: httpx.AsyncClient
    artifacts: DiskArtifacts
    scratch: Path
    port: int

    async def run(self, body: object = None, task: str = "echo.say") -> httpx.Response:
        return await self.client.post(f"/v1/run/{task}", json={"n": 1} if body is None else body)


async def probes(scope: Scope, receive: Receive, send: Send) -> None:
    del receive
    await answer(send, 200, json.dumps({"path": scope["path"]}).encode())


@asynccontextmanager
async def line(folder: Path, policy: DirectPolicy = OPEN, *, ready: bool = True) -> AsyncIterator[Line]:
    board = Board(SystemClock())
    host = FakeHost(board, slots=4, tasks=(SAY, SING, MANY))
    if ready:
        host.load()
    artifacts = DiskArtifacts(folder / "artifacts")
    app = DirectApp(DirectParts([host], artifacts, SystemClock(), folder / "scratch", policy, probes))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    async with asyncio.timeout(30), artifacts, app, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        while not server.started:
            await asyncio.sleep(0.005)
        yield Line(host, app, client, artifacts, folder / "scratch", port)
    server.should_exit = True
    await serving
    listener.close()


async def test_the_body_goes_to_the_model_as_it_came_and_its_result_comes_back(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        body = b'{"text": "h\xc3\xb6flich",   "n": 1.50}'
        response = await it.client.post("/v1/run/echo.say", content=body, headers={"Content-Type": "application/json"})
        assert (response.status_code, response.content) == (200, body)
        assert response.headers["content-type"] == "application/json"
        (call,) = it.host.calls
        assert (call.task, call.input_json, call.timeout_seconds) == ("echo.say", body, 7.0)


async def test_an_empty_body_is_an_input_without_parameters(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        response = await it.client.post("/v1/run/echo.say", headers={"Content-Type": "application/json"})
        assert (response.status_code, it.host.calls[0].input_json) == (200, b"{}")


async def test_other_paths_go_to_the_probes(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        assert (await it.client.get("/readyz")).json() == {"path": "/readyz"}
        without = DirectApp(DirectParts([it.host], it.artifacts, SystemClock(), it.scratch))
        transport = httpx.ASGITransport(without)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/readyz")).status_code == 404


async def test_an_unknown_task_is_404_and_the_known_ones_are_named(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        response = await it.run(task="echo.shout")
        assert (response.status_code, response.json()["code"]) == (404, "unknown_task")
        assert "echo.many, echo.say, echo.sing" in response.json()["detail"]
        assert response.headers["content-type"] == "application/problem+json"


async def test_a_task_is_called_with_post(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        response = await it.client.get("/v1/run/echo.say", headers={"Content-Type": "application/json"})
        assert response.status_code == 404
        assert "POST" in response.json()["detail"]


# Readiness.


async def test_a_model_that_loads_is_503_and_says_when_to_ask_again(tmp_path: Path) -> None:
    async with line(tmp_path, ready=False) as it:
        it.host.component.begin()
        response = await it.run()
        body = response.json()
        assert (response.status_code, body["code"], body["retryable"]) == (503, "not_ready", True)
        assert (response.headers["retry-after"], body["retry_after"], body["estimated_seconds"]) == ("2", 2, None)
        it.host.component.ready()
        assert (await it.run()).status_code == 200


async def test_a_model_that_has_not_been_imported_yet_is_not_ready_rather_than_unknown(tmp_path: Path) -> None:
    async with line(tmp_path, ready=False) as it:
        it.host.info, info = None, it.host.info
        assert (await it.run()).status_code == 503
        it.host.info = info
        it.host.load()
        assert (await it.run()).status_code == 200


async def test_a_model_that_failed_to_load_is_503_and_not_worth_a_retry(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        it.host.component.fail("no such file: net.bin")
        body = (await it.run()).json()
        assert (body["status"], body["code"], body["retryable"]) == (503, "model_load_failed", False)
        assert "net.bin" in body["detail"]


async def test_a_worker_that_leaves_finishes_its_calls_and_sends_new_ones_elsewhere(tmp_path: Path) -> None:
    async with line(tmp_path, replace(OPEN, grace_seconds=10)) as it:
        it.host.script = gate = Gate()
        running = asyncio.create_task(it.run())
        await it.host.called()
        leaving = asyncio.create_task(it.app.leave())
        await asyncio.sleep(0)
        late = await it.run()
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        assert not leaving.done()
        gate.open.set()
        assert (await running).status_code == 200
        await leaving


async def test_leaving_does_not_wait_for_ever(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        it.host.script = endless
        running = asyncio.create_task(it.run())
        run = await it.host.called()
        await it.app.leave()
        it.host.stop_call(run.call.id, OutcomeKind.INTERRUPTED)
        assert (await running).status_code == 503


async def test_too_many_calls_at_once_are_told_to_come_back(tmp_path: Path) -> None:
    async with line(tmp_path, replace(OPEN, waiting_calls=2)) as it:
        it.host.script = gate = Gate()
        running = [asyncio.create_task(it.run()) for _ in range(2)]
        await it.host.called(2)
        assert (await it.run()).status_code == 503
        gate.open.set()
        assert [response.status_code for response in await asyncio.gather(*running)] == [200, 200]


# Errors.


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [
        (CallEnd(OutcomeKind.FAILED, error=InvalidInput("n: too big", fields=["n"])), 422, "invalid_input"),
        (CallEnd(OutcomeKind.FAILED, error=TaskFailed("boom", error_class="ValueError")), 500, "task_failed"),
        (CallEnd(OutcomeKind.FAILED), 500, "task_failed"),
        (CRASH, 502, "model_crashed"),
        (CallEnd(OutcomeKind.DISPLACED), 502, "model_crashed"),
        (CallEnd(OutcomeKind.INTERRUPTED), 503, "draining"),
        (CallEnd(OutcomeKind.CRASHED, error=ModelCrashed("died", exit=object())), 502, "model_crashed"),
    ],
)
async def test_each_end_has_its_status_and_code(tmp_path: Path, end: CallEnd, status: int, code: str) -> None:
    async with line(tmp_path) as it:
        it.host.script = ends(end)
        response = await it.run()
        assert (response.status_code, response.json()["code"]) == (status, code)


async def test_the_data_of_an_error_is_in_the_problem(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        it.host.script = ends(CallEnd(OutcomeKind.FAILED, error=InvalidInput("n: too big", fields=["n"])))
        assert (await it.run()).json() == {
            "type": "about:blank",
            "title": "Unprocessable Entity",
            "status": 422,
            "detail": "n: too big",
            "code": "invalid_input",
            "retryable": False,
            "fields": [{"path": "n", "message": "too big"}],
        }


# Bodies.


async def test_a_body_beyond_the_limit_is_refused_by_its_length(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        response = await it.run({"text": "x" * 20_000})
        assert (response.status_code, response.json()["limit_bytes"]) == (413, 10_000)
        assert it.host.calls == []


async def test_a_body_that_does_not_say_its_length_is_refused_as_soon_as_it_is_too_long(tmp_path: Path) -> None:
    async def endless_body() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000

    async with line(tmp_path) as it:
        headers = {"Content-Type": "application/json"}
        try:
            response = await it.client.post("/v1/run/echo.say", content=endless_body(), headers=headers)
            assert response.status_code == 413
        except httpx.TransportError:
            # The server may hang up before the client has read the answer: it is still sending.
            pass
        assert it.host.calls == []


async def test_artifacts_that_the_body_names_are_there_as_files(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        await it.artifacts.put("inputs/1/cat.png", piece(b"cat"))
        seen: list[bytes] = []

        async def script(run: Running) -> CallEnd:
            seen.append(Path(run.call.files["artifact:inputs/1/cat.png"]).read_bytes())
            return CallEnd(OutcomeKind.COMPLETED, b"1")

        it.host.script = script
        assert (await it.run({"image": "artifact:inputs/1/cat.png"})).status_code == 200
        assert seen == [b"cat"]
        missing = await it.run({"image": "artifact:inputs/2/gone.png"})
        assert (missing.status_code, missing.json()["key"]) == (404, "inputs/2/gone.png")


async def test_a_name_of_an_artifact_is_left_to_a_task_that_wants_words(tmp_path: Path) -> None:
    task = TaskInfo("echo.say", input_schema={"properties": {"prompt": {"type": "string"}}})
    async with line(tmp_path) as it:
        it.host.info = ModelInfo("echo", "1", (task,))
        assert (await it.run({"prompt": "artifact:inputs/2/gone.png"})).status_code == 200
        assert not it.host.calls[0].files


async def test_a_body_that_names_artifacts_and_is_no_json_is_refused_here(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        headers = {"Content-Type": "application/json"}
        response = await it.client.post("/v1/run/echo.say", content=b'{"artifact:', headers=headers)
        assert response.status_code == 422


async def test_files_that_the_task_saved_are_stored_before_the_answer_comes(tmp_path: Path) -> None:
    async with line(tmp_path) as it:

        async def script(run: Running) -> CallEnd:
            artifact, path = saved_file(run, "a.txt", b"drawn")
            await run.sink.saved(artifact, path)
            await run.sink.note(Note("progress", progress=Progress(1, 2)))
            await run.sink.checkpoint(1, path)
            return CallEnd(OutcomeKind.COMPLETED, json.dumps(artifact.uri).encode(), (artifact,))

        it.host.script = script
        uri = (await it.run()).json()
        assert uri.startswith("artifact:calls/")
        assert await bytes_of(it.artifacts, uri.removeprefix("artifact:")) == b"drawn"
        assert list(it.scratch.iterdir()) == []


async def test_calls_of_a_batched_task_go_to_the_model_together(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        it.host.slots = 1
        it.host.script = gate = Gate()
        calls = [asyncio.create_task(it.run({"n": 0}, task="echo.many"))]
        await it.host.called()
        calls += [asyncio.create_task(it.run({"n": n}, task="echo.many")) for n in range(1, 9)]
        while it.app._answering < 9:
            await asyncio.sleep(0.001)
        gate.open.set()
        assert [response.json()["n"] for response in await asyncio.gather(*calls)] == list(range(9))
        assert it.host.batches[0] == 1
        assert max(it.host.batches) > 1


async def test_no_two_calls_write_to_the_same_place(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        await asyncio.gather(*[it.run() for _ in range(20)])
        assert len({call.prefix for call in it.host.calls}) == len({call.id for call in it.host.calls}) == 20


# Streams.


async def events_of(response: httpx.Response) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for block in (await response.aread()).decode().strip().split("\n\n"):
        fields = dict(part.split(": ", 1) for part in block.splitlines())
        found.append((fields.get("event", ""), json.loads(fields["data"])))
    return found


async def test_a_task_that_streams_answers_with_events_as_they_come(tmp_path: Path) -> None:
    async with line(tmp_path) as it:

        async def script(run: Running) -> CallEnd:
            await run.sink.chunk(b'"one"')
            await run.sink.chunk(b'{"two": 2}')
            return CallEnd(OutcomeKind.COMPLETED)

        it.host.script = script
        response = await it.run(task="echo.sing")
        assert response.headers["content-type"].startswith("text/event-stream")
        assert await events_of(response) == [("", "one"), ("", {"two": 2}), ("done", {})]


async def test_an_error_before_the_first_value_has_its_own_status(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        it.host.script = ends(CallEnd(OutcomeKind.FAILED, error=InvalidInput("no")))
        assert (await it.run(task="echo.sing")).status_code == 422


async def test_an_error_after_the_first_value_is_the_last_event(tmp_path: Path) -> None:
    async with line(tmp_path) as it:

        async def script(run: Running) -> CallEnd:
            await run.sink.chunk(b"1")
            return CRASH

        it.host.script = script
        told = await events_of(await it.run(task="echo.sing"))
        assert told[0] == ("", 1)
        assert (told[1][0], told[1][1]["code"]) == ("error", "model_crashed")


async def test_a_value_arrives_before_the_next_one_is_made(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        gate = Gate()

        async def script(run: Running) -> CallEnd:
            await run.sink.chunk(b"1")
            return await gate(run)

        it.host.script = script
        async with it.client.stream("POST", "/v1/run/echo.sing", json={}) as response:
            async for text in response.aiter_lines():
                if text == "data: 1":
                    gate.open.set()
        assert gate.open.is_set()


# Callers that go.


async def hang_up(it: Line, task: str) -> None:
    """Begin a call and close the connection once the model has it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
    del reader
    request = f"POST /v1/run/{task} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{request}Content-Length: 2\r\n\r\n{{}}".encode())
    await it.host.called()
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("task", ["echo.say", "echo.sing"])
async def test_a_caller_who_hangs_up_cancels_the_call(tmp_path: Path, task: str) -> None:
    async with line(tmp_path) as it:
        ended = asyncio.Event()

        async def script(run: Running) -> CallEnd:
            end = await endless(run)
            ended.set()
            return end

        it.host.script = script
        await hang_up(it, task)
        await ended.wait()
        assert [kind for _, kind in it.host.stopped] == [OutcomeKind.CANCELED]


async def test_every_call_says_that_its_slot_is_free_and_a_long_one_that_it_was_taken(tmp_path: Path) -> None:
    async with line(tmp_path, replace(OPEN, watch_after_seconds=0.02)) as it:
        taken, freed = asyncio.Event(), asyncio.Event()
        it.app.slot_taken, it.app.slot_freed = taken.set, freed.set
        it.host.script = gate = Gate()
        running = asyncio.create_task(it.run())
        await taken.wait()
        assert not freed.is_set()
        gate.open.set()
        await running
        assert freed.is_set()


async def test_a_short_call_is_never_watched_and_says_that_its_slot_is_free(tmp_path: Path) -> None:
    async with line(tmp_path, replace(OPEN, watch_after_seconds=3600)) as it:
        taken, freed = asyncio.Event(), asyncio.Event()
        it.app.slot_taken, it.app.slot_freed = taken.set, freed.set
        assert (await it.run()).status_code == 200
        assert (taken.is_set(), freed.is_set()) == (False, True)


# Admission.


async def test_a_token_is_asked_for_where_there_is_one(tmp_path: Path) -> None:
    policy = replace(OPEN, admission=Admission(token="sesame"))
    async with line(tmp_path, policy) as it:
        assert (await it.run()).status_code == 401
        it.client.headers["Authorization"] = "Bearer sesam"
        assert (await it.run()).status_code == 401
        it.client.headers["Authorization"] = "Bearer sesame"
        assert (await it.run()).status_code == 200


async def test_a_web_page_of_another_site_gets_nowhere(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        foreign = await it.client.post("/v1/run/echo.say", json={}, headers={"Host": "evil.example"})
        assert (foreign.status_code, foreign.json()["code"]) == (403, "forbidden")
        form = await it.client.post("/v1/run/echo.say", content=b"{}", headers={"Content-Type": "text/plain"})
        assert (form.status_code, form.json()["code"]) == (422, "invalid_input")
        assert it.host.calls == []
