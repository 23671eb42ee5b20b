"""Direct calls through the gateway, to real servers that play workers."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp
from tests.unit.gateway.house import ECHO, SAY, WORKER_TOKEN, HandWorker, House, Told, leaning, picture, policy
from tests.unit.gateway.served import served, serving, until

from glowplug.assembly.bounded_http import BoundedHttp
from glowplug.assembly.server import HttpServer
from glowplug.gateway.policy import Limits
from glowplug.readiness import Status
from glowplug.store import ModelInfo


class Backend:
    """A worker's HTTP side that answers as a test says."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes, str]] = []
        self.gone = asyncio.Event()
        self.began = asyncio.Event()
        self.release = asyncio.Event()
        self.mode = "echo"
        self.refusal = b'{"code":"not_ready"}'
        self.health: Any = {"status": "healthy", "ready_for_requests": True}
        routes = [Route("/v1/run/{task}", self.run, methods=["POST"]), Route("/health", self.show_health)]
        self.app = Starlette(routes=routes)

    async def show_health(self, request: Request) -> Response:
        return JSONResponse(self.health)

    async def run(self, request: Request) -> Response:
        body = await request.body()
        self.seen.append((request.path_params["task"], body, request.headers.get("authorization", "")))
        self.began.set()
        answers = {
            "echo": lambda: Response(body, media_type="application/json"),
            "fail": lambda: Response(b'{"code":"task_failed"}', 500, media_type="application/problem+json"),
            "unready": lambda: Response(self.refusal, 503, {"retry-after": "7"}, "application/problem+json"),
            "stream": lambda: StreamingResponse(self.stream(), media_type="text/event-stream"),
            "break": lambda: StreamingResponse(self.broken(), media_type="text/event-stream"),
            "flood": lambda: StreamingResponse(self.flood(), media_type="text/event-stream"),
            "redirect": lambda: Response(status_code=307, headers={"location": "http://127.0.0.1:1/"}),
        }
        if self.mode == "hang":
            return await self.hang(request)
        return answers[self.mode]()

    async def hang(self, request: Request) -> Response:
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        self.gone.set()
        return Response()

    async def stream(self) -> AsyncIterator[bytes]:
        try:
            for number in range(3):
                yield f"data: {number}\n\n".encode()
            await self.release.wait()
            yield b"data: last\n\n"
        finally:
            self.gone.set()

    async def flood(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"data: " + b"x" * 65536 + b"\n\n"
                await asyncio.sleep(0)
        finally:
            self.gone.set()

    async def broken(self) -> AsyncIterator[bytes]:
        yield b"data: 0\n\n"
        raise OSError("the model's process died")


@asynccontextmanager
async def backend() -> AsyncIterator[tuple[Backend, str]]:
    made = Backend()
    async with serving(made.app) as url:
        yield made, url
        made.release.set()


@asynccontextmanager
async def served_as_always(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an application as the program itself does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with HttpServer(app, listener):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(60), served(tmp_path) as made:
        yield made


@pytest.fixture
async def back() -> AsyncIterator[tuple[Backend, str]]:
    async with backend() as made:
        yield made


async def up(home: House, url: str | None, name: str = "w1", **more: Any) -> HandWorker:
    worker = home.worker(name)
    await worker.register(url=url, **more)
    return worker


async def call(home: House, **headers: str) -> Any:
    return await home.client.post("/v1/run/echo.say", json={"text": "hi"}, headers=headers)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class TestPassingOn:
    async def test_body_and_answer_pass_unread(self, home: House, back: tuple[Backend, str]) -> None:
        worker, url = back
        await up(home, url)
        raw = b'{"text" :  "h\\u00fc", "n": 1.0e0}'
        answer = await home.client.post("/v1/run/echo.say", content=raw, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.content) == (200, raw)
        assert answer.headers["content-type"] == "application/json"
        assert worker.seen == [("echo.say", raw, f"Bearer {WORKER_TOKEN}")]

    async def test_the_callers_own_token_stays_here(self, tmp_path: Path, back: tuple[Backend, str]) -> None:
        worker, url = back
        async with served(tmp_path, chosen=policy(access={"api_token": "mine"})) as home:
            await up(home, url)
            assert (await call(home, authorization="Bearer mine")).status_code == 200
        assert worker.seen[0][2] == f"Bearer {WORKER_TOKEN}"

    async def test_an_error_of_the_task_passes_as_it_is(self, home: House, back: tuple[Backend, str]) -> None:
        worker, url = back
        worker.mode = "fail"
        await up(home, url)
        answer = await call(home)
        assert (answer.status_code, answer.json()) == (500, {"code": "task_failed"})
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(worker.seen) == 1

    async def test_a_redirect_is_not_followed(self, home: House, back: tuple[Backend, str]) -> None:
        worker, url = back
        worker.mode = "redirect"
        await up(home, url)
        assert (await call(home)).status_code == 307

    async def test_every_call_is_told(self, home: House, back: tuple[Backend, str], told: Told) -> None:
        await up(home, back[1])
        await call(home)
        await home.client.post("/v1/run/echo.say", content=b"{}", headers={"content-type": "application/json"})
        assert [(one["task"], one["status"]) for one in told.of("call.done")] == [("echo.say", 200)] * 2

    async def test_a_body_beyond_the_limit_is_refused_here(self, tmp_path: Path, back: tuple[Backend, str]) -> None:
        worker, url = back
        async with served(tmp_path, chosen=policy(limits=Limits(call_bytes=100))) as home:
            await up(home, url)
            answer = await home.client.post("/v1/run/echo.say", json={"text": "x" * 200})
        assert (answer.status_code, worker.seen) == (413, [])

    async def test_calls_go_to_the_worker_with_the_fewest_of_them(self, home: House, back: tuple[Backend, str]) -> None:
        async with backend() as (second, second_url):
            await up(home, back[1], "w1")
            await up(home, second_url, "w2")
            back[0].mode = "hang"
            slow = asyncio.create_task(call(home))
            await back[0].began.wait()
            for _ in range(3):
                assert (await call(home)).status_code == 200
            assert (len(back[0].seen), len(second.seen)) == (1, 3)
            slow.cancel()

    async def test_a_call_passes_a_worker_by_whose_slot_a_job_holds(
        self, home: House, back: tuple[Backend, str]
    ) -> None:
        async with backend() as (second, second_url):
            busy = await up(home, back[1], "w1")
            idle = await up(home, second_url, "w2")
            await home.submit()
            assert len((await busy.claim()).grants) == 1
            asking = asyncio.create_task(idle.claim(wait=20))
            await until(lambda: home.gateway.desk.offers("w2", "echo"))
            assert (await call(home)).status_code == 200
            assert (len(back[0].seen), len(second.seen)) == (0, 1)
            asking.cancel()


class TestStreams:
    async def test_a_stream_passes_as_it_comes(self, home: House, back: tuple[Backend, str]) -> None:
        worker, url = back
        worker.mode = "stream"
        await up(home, url)
        async with home.client.stream("POST", "/v1/run/echo.say", json={}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            assert [await anext(lines) for _ in range(6)] == ["data: 0", "", "data: 1", "", "data: 2", ""]
            entry = home.gateway.registry.get("w1")
            assert entry is not None
            assert entry.outstanding == 1
            worker.release.set()
            assert [line async for line in lines if line] == ["data: last"]
        await until(lambda: entry.outstanding == 0)

    async def test_a_caller_that_hangs_up_ends_the_stream_at_the_worker(
        self, home: House, back: tuple[Backend, str]
    ) -> None:
        worker, url = back
        worker.mode = "stream"
        await up(home, url)
        async with home.client.stream("POST", "/v1/run/echo.say", json={}) as answer:
            await anext(answer.aiter_lines())
        await worker.gone.wait()
        entry = home.gateway.registry.get("w1")
        assert entry is not None
        await until(lambda: entry.outstanding == 0)

    async def test_a_caller_that_stops_reading_ends_the_stream_at_the_worker(
        self, tmp_path: Path, back: tuple[Backend, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(BoundedHttp, "stall_seconds", 0.1)
        worker, url = back
        worker.mode = "flood"
        async with served(tmp_path, serve=served_as_always) as home:
            await up(home, url)
            entry = home.gateway.registry.get("w1")
            assert entry is not None
            async with home.client.stream("POST", "/v1/run/echo.say", json={}) as answer:
                assert await anext(answer.aiter_lines())
                await worker.gone.wait()
                await until(lambda: entry.outstanding == 0)

    @pytest.mark.filterwarnings("ignore")
    async def test_a_worker_that_vanishes_in_a_stream_is_its_last_event(
        self, home: House, back: tuple[Backend, str]
    ) -> None:
        worker, url = back
        worker.mode = "break"
        await up(home, url)
        answer = await home.client.post("/v1/run/echo.say", json={})
        last = answer.text.strip().split("\n\n")[-1].splitlines()
        assert last[0] == "event: error"
        assert json.loads(last[1].removeprefix("data: "))["code"] == "unreachable"


class TestNotReady:
    async def test_an_unknown_task_is_404(self, home: House) -> None:
        await up(home, None)
        answer = await home.client.post("/v1/run/echo.sya", json={})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_task")

    async def test_no_ready_worker_is_503_with_a_time_to_ask_again(self, home: House) -> None:
        await up(home, "http://127.0.0.1:9", snapshot=picture(Status.LOADING))
        answer = await call(home)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert (answer.json()["code"], answer.json()["state"]) == ("not_ready", "loading")
        assert "Prefer: respond-async" in answer.json()["detail"]

    async def test_one_that_could_not_be_loaded_says_why_and_the_longest_time(self, home: House) -> None:
        await up(home, "http://127.0.0.1:9", snapshot=picture(Status.ERROR))
        answer = await call(home)
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["retryable"]) == (503, "model_load_failed", False)
        assert problem["detail"] == "echo could not be loaded: no weights"
        assert (answer.headers["retry-after"], problem["retry_after"]) == ("30", 30)

    async def test_one_that_leans_on_what_is_gone_says_so_and_may_be_asked_again(self, home: House) -> None:
        await up(home, "http://127.0.0.1:9", snapshot=leaning("echo"))
        answer = await call(home)
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "not_ready", "2")
        assert answer.json()["detail"].startswith("echo does not work at the moment: its server is gone")

    async def test_a_model_that_sleeps_is_ordered_up_by_a_call_as_by_a_job(self, home: House) -> None:
        worker = home.worker()
        await worker.register(picture(Status.SLEEPING))
        assert (await call(home)).status_code == 503
        claimed = await worker.claim()
        assert [(order.kind.value, order.target) for order in claimed.orders] == [("load", "echo")]

    async def test_one_that_has_just_fallen_asleep_is_ordered_up_too(
        self, home: House, back: tuple[Backend, str]
    ) -> None:
        sleepy, url = back
        sleepy.mode = "unready"
        worker = home.worker()
        await worker.register(url=url)
        assert (await call(home)).status_code == 503
        claimed = await worker.claim()
        assert [(order.kind.value, order.target) for order in claimed.orders] == [("load", "echo")]

    @pytest.mark.parametrize("body", [b'{"code":"model_load_failed"}', b'{"code":"draining"}', b"<html>", b"[]"])
    async def test_one_that_refuses_for_another_reason_is_not(
        self, home: House, back: tuple[Backend, str], body: bytes
    ) -> None:
        back[0].refusal, back[0].mode = body, "unready"
        worker = home.worker()
        await worker.register(url=back[1])
        assert (await call(home)).status_code == 503
        assert (await worker.claim(wait=0)).orders == ()

    async def test_workers_that_take_jobs_only_are_said_to_be(self, home: House) -> None:
        await up(home, None)
        answer = await call(home)
        assert answer.status_code == 503
        assert "POST /v1/jobs" in answer.json()["detail"]

    async def test_a_worker_that_says_503_is_passed_over_for_another(
        self, home: House, back: tuple[Backend, str]
    ) -> None:
        worker, url = back
        worker.mode = "unready"
        async with backend() as (second, second_url):
            await up(home, url, "w1")
            await up(home, second_url, "w2")
            assert (await call(home)).status_code == 200
            assert (len(worker.seen), len(second.seen)) == (1, 1)

    async def test_if_all_say_503_that_is_the_answer(self, home: House, back: tuple[Backend, str]) -> None:
        worker, url = back
        worker.mode = "unready"
        await up(home, url)
        answer = await call(home)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")

    async def test_with_respond_async_a_job_is_queued_instead(self, home: House) -> None:
        await up(home, None, snapshot=picture(Status.LOADING))
        answer = await call(home, prefer="respond-async")
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
        assert answer.headers["preference-applied"] == "respond-async"
        worker = home.worker()
        worker.sequence = 9
        await worker.register()
        assert dict((await worker.one()).input) == {"text": "hi"}

    async def test_a_job_queued_so_is_checked_like_any_other(self, home: House) -> None:
        await up(home, None)
        answer = await home.client.post("/v1/run/echo.say", json={"x": 1}, headers={"prefer": "respond-async"})
        assert answer.status_code == 422
        answer = await home.client.post("/v1/run/echo.say", json=[1], headers={"prefer": "respond-async"})
        assert answer.status_code == 422


class TestFaults:
    async def test_a_worker_that_cannot_be_connected_to_is_passed_over(
        self, home: House, back: tuple[Backend, str]
    ) -> None:
        await up(home, f"http://127.0.0.1:{free_port()}", "w1")
        await up(home, back[1], "w2")
        assert (await call(home)).status_code == 200
        entry = home.gateway.registry.get("w1")
        assert entry is not None
        assert (entry.record.failed_probes, entry.outstanding) == (1, 0)

    async def test_if_none_can_be_connected_to_it_is_a_502(self, home: House) -> None:
        await up(home, f"http://127.0.0.1:{free_port()}")
        answer = await call(home)
        assert (answer.status_code, answer.json()["code"]) == (502, "unreachable")

    async def test_a_worker_that_vanishes_in_the_middle_is_a_502_and_not_asked_again(self, home: House) -> None:
        asked = 0

        async def vanish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            asked += 1
            await reader.readuntil(b"\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(vanish, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            for name in ("w1", "w2"):
                await up(home, f"http://127.0.0.1:{port}", name)
            answer = await call(home)
        assert (answer.status_code, answer.json()["code"], asked) == (502, "unreachable", 1)

    async def test_a_caller_that_hangs_up_ends_the_call_at_the_worker(
        self, home: House, back: tuple[Backend, str]
    ) -> None:
        worker, url = back
        worker.mode = "hang"
        await up(home, url)
        calling = asyncio.create_task(call(home))
        await worker.began.wait()
        calling.cancel()
        await worker.gone.wait()
        entry = home.gateway.registry.get("w1")
        assert entry is not None
        await until(lambda: entry.outstanding == 0)

    async def test_a_call_that_takes_too_long_is_a_504(self, tmp_path: Path, back: tuple[Backend, str]) -> None:
        worker, url = back
        worker.mode = "hang"
        async with asyncio.timeout(60), served(tmp_path, chosen=policy(limits=Limits(call_seconds=0.2))) as home:
            await up(home, url)
            answer = await call(home)
        assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")

    def test_a_tasks_own_time_limit_is_given_some_margin(self, tmp_path: Path) -> None:
        info = ModelInfo("echo", "1", (replace(SAY, timeout_seconds=5.0),))
        assert info.tasks[0].timeout_seconds == 5.0
        assert ECHO.tasks[0].timeout_seconds is None


class TestProbes:
    async def test_a_probe_tells_how_a_service_without_a_link_is(self, home: House, back: tuple[Backend, str]) -> None:
        worker, url = back
        headers = {"authorization": f"Bearer {WORKER_TOKEN}"}
        body = {"instance_id": "s1", "status": "ready", "model_name": "flux", "timestamp": 1.0, "url": url}
        await home.client.post("/api/internal/ai-service-ready", json=body, headers=headers)
        worker.health = {"status": "unhealthy", "error": "Out of memory"}
        for duty in home.gateway._duties(home.parts.board.component("gateway")):
            if duty.name == "prober":
                await duty.turn()
        status = (await home.client.get("/api/internal/ai-services/status", headers=headers)).json()
        assert (status["services"][0]["status"], status["services"][0]["error"]) == ("error", "Out of memory")

    @pytest.mark.parametrize("health", [[1], "x", None])
    async def test_a_page_that_is_no_health_page_is_a_failed_probe(
        self, home: House, back: tuple[Backend, str], health: Any
    ) -> None:
        back[0].health = health
        assert await home.gateway.caller.health(back[1]) is None

    async def test_nobody_there_is_a_failed_probe(self, home: House) -> None:
        assert await home.gateway.caller.health(f"http://127.0.0.1:{free_port()}") is None
