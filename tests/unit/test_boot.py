"""The first second of a server: it answers before there is anything behind the door."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from glowplug.boot import Doorman, Message, Receive, Scope, Send, bind
from glowplug.errors import SettingsError


class Caller:
    """One request to an ASGI application, and what came back."""

    def __init__(self, *, gone: bool = False) -> None:
        self.sent: list[dict[str, Any]] = []
        self.received = 0
        self._gone = gone

    async def receive(self) -> Message:
        self.received += 1
        return {"type": "websocket.connect"}

    async def send(self, message: Message) -> None:
        if self._gone:
            raise OSError("the client has left")
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

    @property
    def told(self) -> Any:
        return json.loads(self.body)


async def ask(doorman: Doorman, path: str, kind: str = "http", method: str = "GET", **more: Any) -> Caller:
    caller = Caller(gone=more.pop("gone", False))
    scope = {"type": kind, "path": path, "method": method, "headers": [], **more}
    await doorman(scope, caller.receive, caller.send)
    return caller


def leaving() -> Doorman:
    made = Doorman()
    made.open(Behind())
    made.shut()
    return made


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
        assert caller.told == {"status": "alive"}
        assert caller.headers["content-length"] == str(len(caller.body))
        assert (await ask(Doorman(), "/v2/health/live")).told == {"live": True}

    @pytest.mark.parametrize("path", ["/", "/v1/jobs", "/livez/", "/openapi.json", ""])
    @pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
    async def test_what_is_no_readiness_is_a_problem_that_says_when_to_ask_again(self, path: str, method: str) -> None:
        caller = await ask(Doorman(), path, method=method)
        assert caller.status == 503
        assert caller.headers["retry-after"] == "1"
        assert caller.headers["content-type"] == "application/problem+json"
        problem = caller.told
        assert (problem["status"], problem["code"], problem["retryable"]) == (503, "not_ready", True)
        assert problem["ready"] is False
        assert problem["retry_after"] == 1
        assert "just started" in problem["detail"]

    @pytest.mark.parametrize("path", ["/ready", "/readyz", "/ready/chat", "/readyz/chat"])
    async def test_the_probes_say_what_they_say_of_a_service_that_is_not_ready(self, path: str) -> None:
        caller = await ask(Doorman(), path)
        assert (caller.status, caller.headers["content-type"]) == (503, "application/json")
        assert (caller.told["ready"], caller.told["detail"]) == (False, "Service not ready")
        assert caller.headers["retry-after"] == str(caller.told["retry_after"]) == "1"
        assert caller.headers["access-control-allow-origin"] == "*"
        assert caller.headers["access-control-expose-headers"] == "Retry-After"

    @pytest.mark.parametrize("status", [425, 503])
    async def test_who_waits_for_the_models_gets_the_status_that_was_set(self, status: int) -> None:
        caller = await ask(Doorman(status), "/api/v1/admin/ready")
        assert (caller.status, caller.headers["retry-after"]) == (status, "1")
        assert caller.told == {
            "status": "initializing",
            "message": "AI models are still loading",
            "ready": False,
            "progress": 0,
            "estimated_seconds": None,
            "phase": "connecting",
            "retry_after": 1,
            "type": "initialization",
        }

    async def test_errors_have_the_shape_of_the_protocol_that_is_spoken(self) -> None:
        spoken = await ask(Doorman(), "/v1/embeddings", method="POST")
        assert (spoken.status, spoken.headers["content-type"]) == (503, "application/json")
        assert spoken.told["error"]["code"] == "model_loading"
        inferred = await ask(Doorman(), "/v2/models/x/infer", method="POST")
        assert (inferred.status, list(inferred.told)) == (503, ["error"])
        listed = await ask(Doorman(), "/v1/models")
        assert (listed.told["detail"], listed.told["code"]) == (listed.told["error"]["message"], "not_ready")

    async def test_there_are_metrics_already(self) -> None:
        caller = await ask(Doorman(), "/metrics")
        assert caller.status == 200
        assert caller.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert b"\nglowplug_up 1.0\n" in caller.body

    async def test_a_stream_of_readiness_tells_and_ends_so_that_a_browser_connects_again(self) -> None:
        caller = await ask(Doorman(), "/api/ready/stream")
        assert (caller.status, caller.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        retry, event, rest = caller.body.decode().split("\n\n")
        assert (retry, rest) == ("retry: 1000", "")
        assert json.loads(event.removeprefix("data: "))["state"] == "INITIALIZING"

    async def test_a_browser_that_follows_a_job_over_a_restart_is_not_told_to_give_up(self) -> None:
        path, accept = "/v1/jobs/7/events", [(b"accept", b"text/event-stream")]
        followed = await ask(Doorman(), path, headers=accept)
        assert (followed.status, followed.body) == (200, b"retry: 1000\n\n")
        assert (await ask(Doorman(), path)).status == 503, "who did not ask for a stream gets none"
        assert (await ask(Doorman(), "/v1/jobs/7", headers=accept)).status == 503

    @pytest.mark.parametrize(("offered", "chosen"), [([], None), (["a", "b"], "a")])
    async def test_a_socket_is_opened_and_told_to_come_again(self, offered: list[str], chosen: str | None) -> None:
        caller = await ask(Doorman(), "/ws/conversation", "websocket", subprotocols=offered)
        assert caller.received == 1
        accepted, closed = caller.sent
        assert (accepted["type"], accepted["subprotocol"]) == ("websocket.accept", chosen)
        assert (closed["type"], closed["code"]) == ("websocket.close", 1013)
        assert len(closed["reason"].encode()) <= 123, "more is no valid frame"

    async def test_a_socket_that_follows_readiness_is_told_of_it_first(self) -> None:
        caller = await ask(Doorman(), "/ws/init/page", "websocket")
        assert [message["type"].partition(".")[2] for message in caller.sent] == ["accept", "send", "close"]
        assert json.loads(caller.sent[1]["text"])["phase"] == "connecting"

    async def test_one_socket_of_the_probe_s_name_is_a_socket_all_the_same(self) -> None:
        caller = await ask(Doorman(), "/livez", "websocket")
        assert caller.sent[-1]["code"] == 1013

    async def test_a_socket_that_has_left_meanwhile_is_no_error(self) -> None:
        assert (await ask(Doorman(), "/ws/conversation", "websocket", gone=True)).sent == []

    def test_the_doorman_costs_hardly_an_import_that_its_process_has_not_made(self) -> None:
        code = (
            "import sys, glowplug.assembly.opening, glowplug.settings; before = set(sys.modules); "
            "import glowplug.boot; print(*sorted(set(sys.modules) - before))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        gateway = {"glowplug.gateway", "glowplug.gateway.dialects"}
        assert set(done.stdout.split()) <= {"glowplug.boot", "glowplug.problem", "http", *gateway}


class TestOnceTheDoorIsShutAgain:
    async def test_nobody_comes_in_any_more_and_is_told_why(self) -> None:
        doorman, behind = Doorman(), Behind()
        doorman.open(behind)
        doorman.shut()
        caller = await ask(doorman, "/v1/jobs", method="POST")
        assert (caller.status, behind.asked) == (503, [])
        assert (caller.told["code"], caller.told["retryable"]) == ("draining", True)
        assert "leaving" in caller.told["detail"]
        assert (await ask(doorman, "/livez")).status == 200
        closed = (await ask(doorman, "/ws/conversation", "websocket")).sent[-1]
        assert (closed["code"], "leaving" in closed["reason"]) == (1013, True)

    async def test_while_it_leaves_it_says_so(self) -> None:
        doorman = leaving()
        assert (await ask(doorman, "/api/ready")).told["state"] == "DRAINING"
        assert (await ask(doorman, "/health")).told["status"] == "draining"
        assert b'"DRAINING"' in (await ask(doorman, "/api/ready/stream")).body
        admin = await ask(doorman, "/api/v1/admin/ready")
        assert (admin.status, admin.told["type"]) == (503, "draining")
        assert (await ask(doorman, "/v1/chat/completions", method="POST")).told["error"]["code"] == "draining"

    async def test_it_had_started_all_the_same(self) -> None:
        assert (await ask(Doorman(), "/startupz")).status == 503
        caller = await ask(leaving(), "/startupz")
        assert (caller.status, caller.told) == (200, {"started": True})


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
