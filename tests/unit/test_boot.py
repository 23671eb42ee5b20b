"""The first second of a server: it answers before there is anything behind the door."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from glowplug.boot import Doorman, Message, Receive, Scope, Send, bind
from glowplug.clock import ManualClock
from glowplug.errors import SettingsError
from glowplug.readiness import Board


class Caller:
    """One request to an ASGI application, and what came back."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.received = 0

    async def receive(self) -> Message:
        self.received += 1
        return {"type": "websocket.connect"}

    async def send(self, message: Message) -> None:
        self.sent.append(dict(message))

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


async def ask(doorman: Doorman, path: str, kind: str = "http", method: str = "GET") -> Caller:
    caller = Caller()
    await doorman({"type": kind, "path": path, "method": method}, caller.receive, caller.send)
    return caller


class Behind:
    """An application that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        self.asked.append((scope["type"], scope["path"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"behind"})


class TestBeforeTheDoorOpens:
    async def test_the_process_is_alive(self) -> None:
        caller = await ask(Doorman(), "/livez")
        assert caller.status == 200
        assert json.loads(caller.body) == {"status": "alive"}
        assert caller.headers["content-length"] == str(len(caller.body))

    async def test_what_answers_200_always_does_so_already_as_an_empty_board_would(self) -> None:
        empty = Board(ManualClock()).snapshot()
        for path, body in (
            ("/api/ready", empty.api_ready()),
            ("/health", empty.health()),
            ("/api/health", empty.health()),
        ):
            caller = await ask(Doorman(), path)
            assert caller.status == 200
            told = json.loads(caller.body)
            changing = {"message", "taken_at", "retry_after"}
            assert {name: told.get(name) for name in body if name not in changing} == {
                name: value for name, value in body.items() if name not in changing
            }

    async def test_while_it_leaves_it_says_so(self) -> None:
        doorman = Doorman()
        doorman.shut()
        assert json.loads((await ask(doorman, "/api/ready")).body)["state"] == "DRAINING"
        assert json.loads((await ask(doorman, "/health")).body)["status"] == "draining"

    @pytest.mark.parametrize("path", ["/", "/readyz", "/ready", "/v1/jobs", "/livez/", "/api/ready/stream", ""])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_everything_else_is_not_ready_and_says_when_to_ask_again(self, path: str, method: str) -> None:
        caller = await ask(Doorman(), path, method=method)
        assert caller.status == 503
        assert caller.headers["retry-after"] == "1"
        assert caller.headers["content-type"] == "application/problem+json"
        problem = json.loads(caller.body)
        assert (problem["status"], problem["code"], problem["retryable"]) == (503, "not_ready", True)
        assert problem["ready"] is False
        assert problem["retry_after"] == 1

    async def test_there_are_metrics_already(self) -> None:
        caller = await ask(Doorman(), "/metrics")
        assert caller.status == 200
        assert caller.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert b"\nglowplug_up 1.0\n" in caller.body

    async def test_a_socket_is_told_to_come_again(self) -> None:
        caller = await ask(Doorman(), "/ws/jobs/1", "websocket")
        assert caller.received == 1
        assert [(message["type"], message["code"]) for message in caller.sent] == [("websocket.close", 1013)]

    async def test_one_socket_of_the_probe_s_name_is_a_socket_all_the_same(self) -> None:
        caller = await ask(Doorman(), "/livez", "websocket")
        assert caller.sent[0]["code"] == 1013


class TestOnceTheDoorIsShutAgain:
    async def test_nobody_comes_in_any_more_and_is_told_why(self) -> None:
        doorman, behind = Doorman(), Behind()
        doorman.open(behind)
        doorman.shut()
        caller = await ask(doorman, "/api/ready/stream")
        assert (caller.status, behind.asked) == (503, [])
        assert "leaving" in json.loads(caller.body)["detail"]
        assert (await ask(doorman, "/livez")).status == 200
        assert (await ask(doorman, "/ws/init/1", "websocket")).sent[0]["code"] == 1013


class TestOnceTheDoorIsOpen:
    @pytest.mark.parametrize(("kind", "path"), [("http", "/v1/jobs"), ("http", "/metrics"), ("websocket", "/ws")])
    async def test_everything_is_passed_on(self, kind: str, path: str) -> None:
        doorman, behind = Doorman(), Behind()
        doorman.open(behind)
        caller = await ask(doorman, path, kind)
        assert behind.asked == [(kind, path)]
        assert caller.body == b"behind"

    async def test_liveness_does_not_depend_on_what_is_behind(self) -> None:
        async def broken(scope: Scope, receive: Receive, send: Send) -> None:
            raise RuntimeError("broken")

        doorman = Doorman()
        doorman.open(broken)
        assert (await ask(doorman, "/livez")).status == 200

    async def test_a_request_that_came_before_is_not_asked_again(self) -> None:
        doorman, behind = Doorman(), Behind()
        assert (await ask(doorman, "/v1/jobs")).status == 503
        doorman.open(behind)
        assert behind.asked == []


class TestBind:
    @pytest.fixture
    def taken(self) -> Iterator[int]:
        with bind("127.0.0.1", 0) as listener:
            yield listener.getsockname()[1]

    def test_port_zero_takes_a_free_one(self) -> None:
        with bind("127.0.0.1", 0) as one, bind("127.0.0.1", 0) as other:
            assert one.getsockname()[1] != other.getsockname()[1] != 0

    def test_a_client_may_come_before_anybody_accepts(self, taken: int) -> None:
        with socket.create_connection(("127.0.0.1", taken), timeout=10) as client:
            assert client.getpeername()[1] == taken

    def test_nobody_waits_for_the_listener(self) -> None:
        with bind("127.0.0.1", 0) as listener:
            assert listener.getblocking() is False
            with pytest.raises(BlockingIOError):
                listener.accept()

    def test_a_taken_port_is_one_line_with_the_fix(self, taken: int) -> None:
        with pytest.raises(SettingsError, match="--port 0") as caught:
            bind("127.0.0.1", taken)
        assert str(taken) in caught.value.message
        assert "\n" not in caught.value.message

    def test_a_port_is_free_again_after_the_close(self) -> None:
        with bind("127.0.0.1", 0) as listener:
            port = listener.getsockname()[1]
        with bind("127.0.0.1", port) as again:
            assert again.getsockname()[1] == port

    @pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid"])
    def test_an_address_of_somebody_else_is_refused(self, host: str) -> None:
        with pytest.raises(SettingsError, match=host):
            bind(host, 0)
