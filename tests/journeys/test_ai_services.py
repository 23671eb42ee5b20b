"""Services that are not our workers: they tell the gateway that they are ready, are probed, and are given up on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.backend import backend
from tests.journeys.system import MODELS, System, end, free_port, until
from tests.servers.background import answering

HEALTHY = {"status": "healthy", "ready_for_requests": True}


class Service:
    """Somebody else's AI service: `health` is what it says of itself."""

    def __init__(self) -> None:
        self.health: dict[str, Any] = HEALTHY
        self.probes = 0
        self.url = ""


@contextmanager
def service() -> Iterator[Service]:
    made = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.probes += 1
            body = json.dumps(made.health).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            del args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    with answering(server):
        yield made


@pytest.fixture
def gate(plug: System) -> System:
    """Return a gateway that probes ten times a second."""
    plug.environment["AI_SERVICE_HEALTH_CHECK_INTERVAL"] = "100"
    plug.gateway()
    until(lambda: plug.answers("/readyz"), "the gateway is up", log=plug.log)
    return plug


def bearer(plug: System) -> dict[str, str]:
    return {"authorization": f"Bearer {plug.worker_token_file.read_text().strip()}"}


def tell(plug: System, path: str, **body: Any) -> None:
    answer = plug.http.post(f"/api/internal/{path}", json=body, headers=bearer(plug))
    assert (answer.status_code, answer.json()) == (200, {"success": True})


def listed(plug: System) -> dict[str, Any]:
    answer = plug.http.get("/api/internal/ai-services/status", headers=bearer(plug)).json()
    assert answer["ready_count"] == sum(one["status"] == "ready" for one in answer["services"])
    (found,) = answer["services"]
    assert set(found) == {"instanceId", "status", "lastSeen", "modelName", "loadTime", "error", "url"}
    return dict(found)


def is_now(plug: System, status: str) -> None:
    until(lambda: listed(plug)["status"] == status, f"the service is {status}", log=plug.log)


def test_a_service_is_followed_from_its_notice_to_its_end(gate: System) -> None:
    with service() as there:
        ready = {"status": "ready", "timestamp": 1767225600.25, "load_time": 42.5, "model_name": "flux"}
        tell(gate, "ai-service-ready", instance_id="i-0abc", url=there.url, **ready)
        first = listed(gate)
        assert (first["status"], first["modelName"], first["loadTime"]) == ("ready", "flux", 42.5)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["lastSeen"])
        until(lambda: listed(gate)["lastSeen"] > first["lastSeen"], "a good probe is a sign of life", log=gate.log)

        there.health = {"status": "loading", "ready_for_requests": False}
        is_now(gate, "loading")
        there.health = {"status": "unhealthy", "error": "CUDA out of memory"}
        is_now(gate, "error")
        assert listed(gate)["error"] == "CUDA out of memory"
        there.health = HEALTHY
        is_now(gate, "ready")
        assert listed(gate)["error"] is None

        # A notice counts at once, the next probe after it.
        there.health = {"status": "unhealthy", "error": "the driver went away"}
        tell(
            gate, "ai-service-error", instance_id="i-0abc", status="error", error="the driver went away", timestamp=1.0
        )
        assert listed(gate)["status"] == "error"
        assert gate.http.post("/v1/run/flux.draw", json={}).status_code in (404, 503)

        there.health = HEALTHY
        is_now(gate, "ready")
        end(gate.programs[-1])
        gate.gateway()
        until(lambda: gate.answers("/readyz"), "the gateway is back", log=gate.log)
        assert listed(gate)["instanceId"] == "i-0abc"
        until(lambda: gate.get("/api/ready")["ready"], "what a restart remembers is probed", log=gate.log)
    is_now(gate, "offline")
    assert not gate.get("/api/ready")["ready"]
    tell(gate, "ai-service-ready", instance_id="i-0abc", **ready)
    assert listed(gate)["status"] == "ready"


def test_a_service_that_nobody_hears_of_grows_too_old(plug: System) -> None:
    plug.environment["AI_SERVICE_MAX_AGE"] = "300"
    plug.gateway()
    until(lambda: plug.answers("/readyz"), "the gateway is up", log=plug.log)
    tell(plug, "ai-service-ready", instance_id="i-0abc", status="ready", model_name="flux", timestamp=1.0)
    assert listed(plug)["status"] == "ready"
    is_now(plug, "offline")


def test_without_the_workers_token_nobody_is_told_anything_or_believed(gate: System) -> None:
    for headers in ({}, {"authorization": "Bearer guess"}):
        assert gate.http.get("/api/internal/ai-services/status", headers=headers).status_code == 401
        for path in ("ai-service-ready", "ai-service-error"):
            body = {"instance_id": "i-evil", "error": "x"}
            assert gate.http.post(f"/api/internal/{path}", json=body, headers=headers).status_code == 401
    assert gate.http.get("/api/internal/ai-services/status", headers=bearer(gate)).json()["services"] == []


def test_a_backend_that_comes_late_is_told_all_the_same_and_the_worker_works_meanwhile(plug: System) -> None:
    port = free_port()
    plug.environment["BACKEND_URL"] = f"http://127.0.0.1:{port}"
    plug.up(MODELS / "echo.py")
    plug.wait_ready("echo")
    assert plug.wait_done(plug.submit("echo.say", text="at work"))["result"] == "at work"
    until(lambda: "notice.failed" in plug.log(), "the failure is a warning", log=plug.log)
    with backend(port) as there:
        until(lambda: there.got, "the backend is told", log=plug.log)
    ((path, body, _),) = there.got
    assert path == "/api/internal/ai-service-ready"
    assert set(body) == {"instance_id", "status", "model_name", "timestamp", "load_time", "url"}
    assert body["status"] == "ready"
    assert body["timestamp"] > 1_700_000_000
    assert 0 < body["load_time"] < 600
    assert plug.log().count("notice.failed") == 1


def test_while_nobody_is_ready_a_call_is_told_when_to_come_back_or_becomes_a_job(plug: System, tmp_path: Path) -> None:
    plug.up(MODELS / "needs_file.py", options=["--option", f"file={tmp_path / 'weights'}"])
    plug.environment["GLOWPLUG_WORKER_LOAD_ATTEMPTS"] = "1"
    until(lambda: plug.answers("/v1/tasks/needsfile.say"), "the model is imported", log=plug.log)
    refused = plug.http.post("/v1/run/needsfile.say", json={"text": "now"})
    assert refused.status_code == 503
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    queued = plug.http.post("/v1/run/needsfile.say", json={"text": "later"}, headers={"prefer": "respond-async"})
    assert (queued.status_code, queued.headers["preference-applied"]) == (202, "respond-async")
    job = plug.job(queued.json()["id"])
    assert (job["state"], job["attempt"]) == ("queued", 0)
    (tmp_path / "weights").touch()
    plug.http.post("/v1/models/needsfile/load")
    done = plug.wait_done(job["id"])
    assert (done["result"], done["attempt"]) == ("later", 1)
