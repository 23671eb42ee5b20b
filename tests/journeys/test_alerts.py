"""A gateway with a local worker, and a receiver of webhooks that hears of its models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook as Verifier
from tests.journeys.system import MODELS, System, end, until
from tests.servers.background import answering

from glowplug.doors.signatures import new_secret

SECRET = new_secret()


class Heard:
    """What a receiver was sent, checked by the official library."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}/hooks/path-secret"
        self.data: list[dict[str, Any]] = []

    def told(self, state: str) -> bool:
        return any(one["state"] == state for one in self.data)


@contextmanager
def receiver() -> Iterator[Heard]:
    """Serve one on a free port; its first answer is always an error."""
    failing = [True]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            checked = Verifier(SECRET).verify(body, dict(self.headers))
            if not failing:
                heard.data.append(checked["data"])
            self.send_response(503 if failing else 204)
            failing.clear()
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            del args

    server = HTTPServer(("127.0.0.1", 0), Handler)
    heard = Heard(server)
    with answering(server):
        yield heard


def alerts(heard: Heard) -> dict[str, str]:
    return {"GLOWPLUG_ALERTS_WEBHOOK_URL": heard.url, "GLOWPLUG_ALERTS_WEBHOOK_SECRET": SECRET}


def test_a_gateway_tells_of_a_model_that_gets_ready_once_for_all(plug: System) -> None:
    with receiver() as heard:
        plug.environment |= alerts(heard)
        program = plug.up(MODELS / "echo.py")
        until(lambda: heard.told("READY"), "the receiver hears of the model", log=plug.log)
        end(program)
    ready = [one for one in heard.data if one["state"] == "READY"]
    assert len(ready) == 1
    assert ready[0]["instance"] == plug.url
    assert ready[0]["components"]["echo"]["status"] == "ready"
    states = [one["state"] for one in heard.data]
    previous = [one["previous_state"] for one in heard.data]
    assert previous == ["INITIALIZING", *states[:-1]]
    log = plug.log()
    assert "webhook.failed" in log
    assert "webhook.restored" in log
    assert "path-secret" not in log
    assert SECRET not in log


def test_a_worker_that_stands_alone_tells_that_its_model_failed(plug: System, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no such driver')")
    with receiver() as heard:
        plug.gateway()
        plug.worker(tmp_path / "broken.py", GLOWPLUG_WORKER_LOAD_ATTEMPTS="1", **alerts(heard))
        until(lambda: heard.told("ERROR"), "the receiver hears of the failure", log=plug.log)
        plug.stop()
    failed = next(one for one in heard.data if one["state"] == "ERROR")
    assert "no such driver" in failed["components"]["broken"]["error"]
    assert heard.data[-1]["state"] in ("DRAINING", "ERROR")
