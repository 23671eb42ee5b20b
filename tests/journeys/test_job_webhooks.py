"""Webhooks of jobs and a gateway that is killed: nothing is lost, and what comes twice has the same id."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook as Verifier
from tests.journeys.system import MODELS, System, free_port, until
from tests.servers.background import answering

from glowplug.doors.signatures import new_secret

SECRET = new_secret()


@dataclass
class Receiver:
    """What was received, each checked by the official library, with the id of its message."""

    url: str
    before_answer: Callable[[dict[str, Any]], None] = lambda message: None
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def ids(self, kind: str) -> list[str]:
        return [message_id for message_id, message in self.got if message["type"] == kind]


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    """Serve one, on a free port if none is named."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            message = Verifier(SECRET).verify(body, dict(self.headers))
            made.got.append((self.headers["webhook-id"], message))
            made.before_answer(message)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            del args

    server = HTTPServer(("127.0.0.1", port), Handler)
    made = Receiver(f"http://127.0.0.1:{server.server_port}/hooks/path-secret")
    with answering(server):
        yield made


def submit(plug: System, webhook: str, text: str) -> str:
    body = {"task": "echo.say", "input": {"text": text}, "webhook": webhook}
    answer = plug.http.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def deliveries(plug: System, job_id: str) -> dict[str, Any]:
    (one,) = plug.get(f"/v1/jobs/{job_id}/deliveries")["deliveries"]
    return dict(one)


def test_a_gateway_killed_before_or_during_a_delivery_delivers_after_its_restart(plug: System) -> None:
    plug.environment["GLOWPLUG_WEBHOOKS_SECRET"] = SECRET
    gateway = plug.gateway()
    plug.worker(MODELS / "echo.py")
    plug.wait_ready("echo")
    closed = free_port()
    early = submit(plug, f"http://127.0.0.1:{closed}/", "early")
    plug.wait_done(early)
    until(lambda: deliveries(plug, early)["failures"] > 0, "the closed port is tried", log=plug.log)

    def kill(message: dict[str, Any]) -> None:
        if message["type"] == "job.completed" and gateway.poll() is None:
            # The message is here, and its sender dies before it can know and write it down.
            os.kill(gateway.pid, signal.SIGKILL)
            gateway.wait(10)

    with receiver() as during:
        during.before_answer = kill
        late = submit(plug, during.url, "late")
        until(lambda: gateway.poll() is not None, "the gateway is killed in the middle of a delivery", log=plug.log)
        with receiver(closed) as opened:
            plug.gateway()
            until(lambda: len(opened.ids("job.completed")) >= 1, "what waited is delivered", log=plug.log)
            until(lambda: len(during.ids("job.completed")) >= 2, "what was not noted is delivered again", log=plug.log)
            until(lambda: deliveries(plug, early)["due_at"] is None, "the one is noted", log=plug.log)
            until(lambda: deliveries(plug, late)["due_at"] is None, "the other is noted", log=plug.log)
    assert opened.ids("job.started") == [f"{early}:2"]
    assert opened.ids("job.completed") == [f"{early}:3"]
    assert during.ids("job.completed") == [f"{late}:3"] * 2
    first, second = (message for _, message in during.got if message["type"] == "job.completed")
    assert first == second
    assert first["data"]["result"] == "late"
    # What was tried before the kill still stands in the log.
    noted = deliveries(plug, early)
    assert (noted["seq"], noted["given_up"]) == (3, False)
    assert noted["tries"][0]["error"]
    assert noted["tries"][-1]["status"] == 204
    assert "path-secret" not in plug.log()
    assert SECRET not in plug.log()
