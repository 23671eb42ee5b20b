"""The clients when things go wrong: answers that are lost, late, damaged or not ours."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from glowplug.client import AsyncClient, RetryPolicy, files
from glowplug.errors import (
    Conflict,
    DeadlineExceeded,
    DiskFull,
    Draining,
    LoadFailed,
    NotReady,
    RemoteError,
    TaskFailed,
    Unreachable,
)
from glowplug.runtime.backoff import Backoff

LIMIT_SECONDS = 20
URL = "http://gateway.test"
JOB = {"id": "j1", "task": "a.b", "state": "queued", "done": False, "created_at": "2026-01-01T00:00:00Z"}
DONE = {**JOB, "state": "completed", "done": True, "result": 7}
HASTY = RetryPolicy(attempts=4, backoff=Backoff(base_seconds=0.001, cap_seconds=0.001), longest_wait_seconds=0.01)

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Script:
    """Answers requests from a list, the last answer again and again, and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        return answer(request)

    @property
    def paths(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.asked]


def client(script: Script, retry: RetryPolicy = HASTY) -> AsyncClient:
    return AsyncClient(URL, retry=retry, transport=httpx.MockTransport(script))


def ok(body: Any) -> httpx.Response:
    return httpx.Response(200, json=body)


def problem(
    status: int, code: str, detail: str = "no", headers: dict[str, str] | None = None, **data: Any
) -> httpx.Response:
    body = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code, **data}
    return httpx.Response(status, json=body, headers={"content-type": "application/problem+json", **(headers or {})})


def events(*seqs: int, end: str = "") -> httpx.Response:
    lines = [
        f"id: {seq}\nevent: progress\ndata: "
        + json.dumps({"seq": seq, "type": "progress", "at": "2026-01-01T00:00:00Z", "data": {}})
        for seq in seqs
    ]
    if end:
        last = {"seq": max(seqs, default=0) + 1, "type": end, "at": "2026-01-01T00:00:00Z", "data": {}}
        lines.append(f"data: {json.dumps(last)}")
    text = ": heartbeat\n\n" + "".join(f"{line}\n\n: heartbeat\n\n" for line in lines)
    return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})


class TestAskingAgain:
    async def test_a_gateway_that_starts_is_asked_again(self) -> None:
        script = Script(httpx.ConnectError("refused"), problem(503, "not_ready", retry_after=0), ok(JOB))
        async with client(script) as made:
            assert (await made.job("j1")).id == "j1"
        assert len(script.asked) == 3

    async def test_a_submission_keeps_its_key_when_it_is_sent_again(self) -> None:
        script = Script(httpx.ReadError("cut"), httpx.RemoteProtocolError("cut"), httpx.Response(202, json=JOB))
        async with client(script) as made:
            await made.submit("a.b", {"x": 1})
        keys = {request.headers["idempotency-key"] for request in script.asked}
        assert len(script.asked) == 3
        assert len(keys) == 1
        assert {request.content for request in script.asked} == {b'{"task":"a.b","input":{"x":1}}'}

    async def test_two_submissions_have_two_keys(self) -> None:
        script = Script(httpx.Response(202, json=JOB))
        async with client(script) as made:
            await made.submit("a.b")
            await made.submit("a.b")
        assert len({request.headers["idempotency-key"] for request in script.asked}) == 2

    async def test_a_direct_call_that_may_have_run_is_not_sent_again(self) -> None:
        script = Script(httpx.ReadError("cut"), ok(1))
        async with client(script) as made:
            with pytest.raises(Unreachable, match="broke"):
                await made.run("a.b", direct=True)
        assert len(script.asked) == 1

    @pytest.mark.parametrize(
        "first", [httpx.ConnectError("refused"), problem(503, "not_ready"), problem(503, "draining")]
    )
    async def test_a_direct_call_that_cannot_have_run_is_sent_again(self, first: Answer) -> None:
        script = Script(first, ok({"label": 7}))
        async with client(script) as made:
            assert (await made.run("a.b", direct=True)).output == {"label": 7}
        assert len(script.asked) == 2

    async def test_a_retry_of_a_job_is_not_asked_twice(self) -> None:
        script = Script(httpx.ReadError("cut"), ok(JOB))
        async with client(script) as made:
            with pytest.raises(Unreachable):
                await made.retry("j1")
        assert len(script.asked) == 1

    async def test_asking_ends_after_some_attempts(self) -> None:
        script = Script(httpx.ConnectError("refused"))
        async with client(script) as made:
            with pytest.raises(Unreachable, match="glowplug up"):
                await made.job("j1")
        assert len(script.asked) == HASTY.attempts

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (problem(409, "conflict"), Conflict),
            (problem(503, "model_load_failed"), LoadFailed),
            (problem(507, "disk_full"), DiskFull),
            (problem(500, "task_failed"), TaskFailed),
        ],
    )
    async def test_what_time_does_not_mend_is_asked_once(self, answer: Answer, kind: type[Exception]) -> None:
        script = Script(answer)
        async with client(script) as made:
            with pytest.raises(kind):
                await made.job("j1")
        assert len(script.asked) == 1

    async def test_a_late_answer_is_a_deadline_and_not_asked_for_again(self) -> None:
        script = Script(httpx.ReadTimeout("late"))
        async with client(script) as made:
            with pytest.raises(DeadlineExceeded, match=r"gateway\.test"):
                await made.job("j1")
        assert len(script.asked) == 1

    async def test_the_wait_that_was_asked_for_is_kept_within_bounds(self) -> None:
        policy = RetryPolicy(backoff=Backoff(random=lambda: 0.0), longest_wait_seconds=30)
        assert policy.pause_seconds(NotReady("no", retry_after=7), 1) == 7
        assert policy.pause_seconds(NotReady("no", retry_after=900), 1) == 30
        assert policy.pause_seconds(Draining("no"), 1) == 0
        assert policy.pause_seconds(Unreachable("no"), policy.attempts) is None
        assert policy.pause_seconds(Conflict("no"), 1) is None


class TestAnswersThatAreNotOurs:
    @pytest.mark.parametrize(
        "answer",
        [
            httpx.Response(200, text="<html>hello</html>"),
            httpx.Response(200, json={"hello": "world"}),
            httpx.Response(200, json=[]),
            httpx.Response(200, content=b"\xff"),
        ],
    )
    async def test_another_server_s_answer_is_named_as_such(self, answer: httpx.Response) -> None:
        async with client(Script(answer)) as made:
            with pytest.raises(RemoteError, match="is it a Glowplug gateway"):
                await made.job("j1")

    async def test_a_stream_that_is_none_is_named_as_such(self) -> None:
        async with client(Script(httpx.Response(200, text="hello"))) as made:
            with pytest.raises(RemoteError, match="no stream of events"):
                async for _ in made.subscribe("j1"):
                    pass

    async def test_a_newer_gateway_may_say_more(self) -> None:
        async with client(Script(ok({**JOB, "mood": "good"}))) as made:
            assert (await made.job("j1")).id == "j1"

    async def test_an_error_page_of_a_proxy_is_an_error_with_its_status(self) -> None:
        async with client(Script(httpx.Response(502, text="<html>Bad Gateway</html>"))) as made:
            with pytest.raises(RemoteError, match="502"):
                await made.job("j1")


class TestStreams:
    async def test_a_broken_stream_goes_on_where_it_broke(self) -> None:
        def broken(request: httpx.Request) -> httpx.Response:
            async def body() -> AsyncIterator[bytes]:
                yield events(1, 2).content
                raise httpx.ReadError("cut")

            return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body())

        script = Script(broken, httpx.ConnectError("refused"), events(3, end="completed"), ok(DONE))
        async with asyncio.timeout(LIMIT_SECONDS), client(script) as made:
            seqs = [event.seq async for event in made.subscribe("j1")]
        assert seqs == [1, 2, 3, 4]
        assert [request.headers.get("last-event-id") for request in script.asked] == ["0", "2", "2", None]

    async def test_a_stream_that_fell_silent_is_taken_up_again(self) -> None:
        script = Script(httpx.ReadTimeout("silent"), events(1, end="completed"), ok(DONE))
        async with asyncio.timeout(LIMIT_SECONDS), client(script) as made:
            assert [event.seq async for event in made.subscribe("j1")] == [1, 2]

    async def test_a_gateway_that_leaves_is_waited_for(self) -> None:
        script = Script(events(1), ok(JOB), events(2, end="completed"), ok(DONE))
        async with asyncio.timeout(LIMIT_SECONDS), client(script) as made:
            assert [event.seq async for event in made.subscribe("j1")] == [1, 2, 3]

    async def test_a_heartbeat_between_two_events_is_no_event(self) -> None:
        async with client(Script(events(1, 2, end="completed"), ok(DONE))) as made:
            assert [event.seq async for event in made.subscribe("j1")] == [1, 2, 3]

    async def test_nothing_more_is_an_empty_stream(self) -> None:
        script = Script(httpx.Response(204), ok(DONE))
        async with asyncio.timeout(LIMIT_SECONDS), client(script) as made:
            assert [event async for event in made.subscribe("j1", after=9)] == []
        assert script.asked[0].headers["last-event-id"] == "9"

    async def test_a_gateway_that_never_comes_back_ends_the_stream(self) -> None:
        script = Script(events(1), ok(JOB), httpx.ConnectError("refused"))
        async with asyncio.timeout(LIMIT_SECONDS), client(script) as made:
            with pytest.raises(Unreachable):
                async for _ in made.subscribe("j1"):
                    pass

    async def test_each_value_of_a_generator_comes_as_it_is_made(self) -> None:
        text = 'data: "one"\n\ndata: {"two": 2}\n\nevent: done\ndata: {}\n\n'
        script = Script(httpx.Response(200, text=text, headers={"content-type": "text/event-stream"}))
        async with client(script) as made:
            assert [value async for value in made.stream("a.tell", count=2)] == ["one", {"two": 2}]
        assert script.paths == ["POST /v1/run/a.tell"]
        assert script.asked[0].content == b'{"count":2}'

    async def test_a_generator_that_fails_half_way_raises_its_error(self) -> None:
        failure = json.dumps({"status": 500, "code": "task_failed", "detail": "it broke", "error_class": "ValueError"})
        text = f'data: "one"\n\nevent: error\ndata: {failure}\n\n'
        script = Script(httpx.Response(200, text=text, headers={"content-type": "text/event-stream"}))
        async with client(script) as made:
            values = made.stream("a.tell")
            assert await anext(values) == "one"
            with pytest.raises(TaskFailed, match="it broke") as caught:
                await anext(values)
        assert caught.value.data["error_class"] == "ValueError"

    async def test_a_generator_s_stream_that_breaks_off_is_no_end(self) -> None:
        script = Script(httpx.Response(200, text='data: "one"\n\n', headers={"content-type": "text/event-stream"}))
        async with client(script) as made:
            with pytest.raises(Unreachable, match="broke off"):
                async for _ in made.stream("a.tell"):
                    pass


@asynccontextmanager
async def raw_server(*answers: bytes) -> AsyncIterator[str]:
    """Serve bytes as they are, one answer to a connection, and hang up."""
    left = list(answers)
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(left.pop(0) if left else b"")
        await writer.drain()
        writer.close()
        done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class TestRealConnections:
    async def test_a_connection_that_is_cut_in_the_head_is_tried_again(self) -> None:
        body = json.dumps(JOB).encode()
        whole = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        async with raw_server(b"", b"HTTP/1.1 200", whole) as url, AsyncClient(url, retry=HASTY) as made:
            async with asyncio.timeout(LIMIT_SECONDS):
                assert (await made.job("j1")).id == "j1"

    async def test_a_body_that_is_cut_short_is_tried_again(self) -> None:
        body = json.dumps(JOB).encode()
        whole = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        async with raw_server(whole[:-5], whole) as url, AsyncClient(url, retry=HASTY) as made:
            async with asyncio.timeout(LIMIT_SECONDS):
                assert (await made.job("j1")).id == "j1"

    async def test_a_download_that_is_cut_short_leaves_nothing_behind(self, tmp_path: Path) -> None:
        cut = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc"
        async with raw_server(cut) as url, AsyncClient(url, retry=HASTY) as made:
            async with asyncio.timeout(LIMIT_SECONDS):
                with pytest.raises(Unreachable, match="broke"):
                    await made.download("artifact:inputs/1/a.txt", tmp_path / "a.txt")
        assert list(tmp_path.iterdir()) == []

    async def test_a_port_that_nobody_listens_on_is_named(self) -> None:
        async with raw_server() as url:
            pass
        async with AsyncClient(url, retry=RetryPolicy(attempts=1)) as made:
            with pytest.raises(Unreachable, match=url):
                await made.models()


class FullDisk(io.BytesIO):
    def write(self, data: Any) -> int:
        del data
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_download_stops_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(descriptor: int, mode: str) -> FullDisk:
        assert mode == "wb"
        os.close(descriptor)
        return FullDisk()

    monkeypatch.setattr(files.os, "fdopen", opened)
    async with client(Script(httpx.Response(200, content=b"x" * 100_000))) as made:
        with pytest.raises(DiskFull, match="free some room"):
            await made.download("artifact:inputs/1/a.bin", tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []
