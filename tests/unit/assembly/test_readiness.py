"""The readiness routes as the gateway and the worker mount them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from tests.unit.gateway.house import ECHO, picture
from tests.unit.runtime.rig import FakeHost

from glowplug.artifacts.disk import DiskArtifacts
from glowplug.assembly.interior import Interior
from glowplug.assembly.opening import InteriorParts, make_telemetry
from glowplug.assembly.worker_interior import own_routes
from glowplug.clock import SystemClock
from glowplug.gateway.desk import Desk
from glowplug.link import Claim, Order, OrderKind, Register
from glowplug.readiness import Board, Status
from glowplug.runtime.direct import DirectApp, DirectParts
from glowplug.settings import Settings

LIMIT_SECONDS = 20
OPEN = [
    "/livez",
    "/readyz",
    "/startupz",
    "/health",
    "/api/health",
    "/ready",
    "/api/ready",
    "/api/v1/admin/ready",
    "/ready/{component}",
    "/readyz/{component}",
    "/api/ready/stream",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{name}/ready",
    "/glowplug/overlay.js",
]
_numbers = itertools.count()
ACTIONS = ["/api/warmup", "/api/ready/retry", "/api/ready/retry/{component}"]


def settings_of(folder: Path, **environment: str) -> Settings:
    return Settings.load({"GLOWPLUG_DATA": str(folder), "GLOWPLUG_STORE": "memory:", **environment})


@asynccontextmanager
async def gateway(folder: Path, **environment: str) -> AsyncIterator[tuple[httpx.AsyncClient, Desk]]:
    settings = settings_of(folder, **environment)
    rooms = Interior(settings, SystemClock(), "worker-token", make_telemetry(settings, "worker-token"))
    transport = httpx.ASGITransport(app=rooms.application)
    client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
    async with asyncio.timeout(LIMIT_SECONDS), rooms, client:
        yield client, rooms.gateway.desk


def registration(worker: str, status: Status) -> Register:
    return Register(worker, "one", next(_numbers), picture(status), models=(ECHO,))


class TestTheGateway:
    async def test_its_document_describes_every_route_once(self, tmp_path: Path) -> None:
        async with gateway(tmp_path) as (client, _):
            document = (await client.get("/openapi.json")).json()
        paths = document["paths"]
        assert [path for path in OPEN if "get" not in paths.get(path, {})] == []
        assert [path for path in ACTIONS if "post" not in paths.get(path, {})] == []
        names = [operation["operationId"] for path in paths.values() for operation in path.values()]
        assert len(names) == len(set(names))

    async def test_what_is_open_is_open_and_what_costs_is_not(self, tmp_path: Path) -> None:
        async with gateway(tmp_path, GLOWPLUG_TOKEN="secret") as (client, _):
            for path in OPEN:
                if path != "/api/ready/stream":
                    answer = await client.get(path.format(component="store", name="store"))
                    assert answer.status_code != 401, path
            for path in ACTIONS:
                closed = path.format(component="store")
                assert (await client.post(closed)).status_code == 401, path
                allowed = await client.post(closed, headers={"authorization": "Bearer secret"})
                assert allowed.status_code in (404, 409), (path, allowed.text)

    async def test_a_failure_behind_another_workers_success_can_be_retried_too(self, tmp_path: Path) -> None:
        async with gateway(tmp_path) as (client, desk):
            await desk.register(registration("w1", Status.READY))
            await desk.register(registration("w2", Status.ERROR))
            asked = asyncio.create_task(client.post("/api/ready/retry"))
            claimed = await desk.claim(Claim("w2", "one", (), 20.0))
            assert claimed.orders == (Order(OrderKind.RETRY, "echo"),)
            await desk.register(registration("w2", Status.LOADING))
            assert (await asked).json() == {"retried": ["echo"]}

    async def test_a_worker_that_left_with_its_failure_is_told_of(self, tmp_path: Path) -> None:
        async with gateway(tmp_path) as (client, desk):
            await desk.register(registration("w1", Status.ERROR))
            await desk.worker_died("w1")
            for path in ("/api/ready/retry", "/api/ready/retry/echo"):
                refused = await client.post(path)
                assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
                assert "glowplug worker TARGET" in refused.json()["detail"]
            assert (await client.post("/api/ready/retry/nobody")).status_code == 404

    async def test_its_own_parts_can_be_asked_for_too(self, tmp_path: Path) -> None:
        async with gateway(tmp_path) as (client, _):
            assert (await client.get("/ready/store")).json() == {"ready": True}

    @pytest.mark.parametrize(("said", "status"), [("425", 425), ("503", 503)])
    async def test_what_is_answered_while_nothing_is_ready_is_as_set(
        self, tmp_path: Path, said: str, status: int
    ) -> None:
        async with gateway(tmp_path, GLOWPLUG_NOT_READY_STATUS=said) as (client, _):
            early = await client.get("/api/v1/admin/ready")
            assert (early.status_code, early.json()["type"]) == (status, "initialization")
            assert (await client.get("/v2/health/ready")).status_code == 503


class Worker:
    """A worker's HTTP side over a model that follows a script."""

    def __init__(self, folder: Path, **environment: str) -> None:
        settings = settings_of(folder, **environment)
        self.board = Board()
        self.host = FakeHost(self.board)
        parts = InteriorParts(
            settings=settings,
            token="worker-token",
            clock=SystemClock(),
            board=self.board,
            telemetry=make_telemetry(settings, "worker-token"),
            scratch=folder,
        )
        direct = DirectParts(
            hosts=[self.host],  # type: ignore[list-item]
            artifacts=DiskArtifacts(folder / "artifacts"),
            clock=parts.clock,
            scratch=folder / "calls",
            otherwise=own_routes(parts, self.host),  # type: ignore[arg-type]
        )
        self.app = DirectApp(direct)

    async def post(self, path: str, address: str = "127.0.0.1", **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app, client=(address, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post(path, headers=headers)


class TestTheWorker:
    async def test_on_loopback_this_machine_may_act_and_no_page_of_another_site(self, tmp_path: Path) -> None:
        worker = Worker(tmp_path)
        async with worker.host:
            worker.host.component.fail("no luck")
            for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
                assert (await worker.post("/api/ready/retry", **headers)).status_code == 403
            assert (await worker.post("/api/ready/retry", "10.0.0.9")).status_code == 403
            assert worker.host.reloads == 0
            retried = await worker.post("/api/ready/retry")
            assert (retried.status_code, retried.json()) == (202, {"retried": ["echo"]})
            assert worker.host.reloads == 1

    async def test_elsewhere_the_worker_token_is_asked_for(self, tmp_path: Path) -> None:
        worker = Worker(tmp_path, GLOWPLUG_WORKER_HOST="0.0.0.0")
        async with worker.host:
            for path in ("/api/warmup", "/api/ready/retry", "/api/ready/retry/echo"):
                assert (await worker.post(path)).status_code == 401
                assert (await worker.post(path, authorization="Bearer guess")).status_code == 401
            answer = await worker.post("/api/ready/retry", "10.0.0.9", authorization="Bearer worker-token")
            assert answer.status_code == 409

    @pytest.mark.parametrize(("said", "status"), [("425", 425), ("503", 503)])
    def test_what_is_answered_while_the_model_loads_is_as_set(self, tmp_path: Path, said: str, status: int) -> None:
        worker = Worker(tmp_path, GLOWPLUG_NOT_READY_STATUS=said)
        worker.host.component.begin()
        client = TestClient(worker.app)
        assert client.get("/api/v1/admin/ready").status_code == status
        assert client.get("/ready").status_code == 503

    def test_a_socket_passes_through_the_direct_calls_to_the_board(self, tmp_path: Path) -> None:
        worker = Worker(tmp_path)
        worker.host.component.begin()
        worker.host.component.ready()
        with TestClient(worker.app).websocket_connect("/ws/init/a-page") as socket:
            assert socket.receive_json()["phase"] == "ready"
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_json()
        assert closed.value.code == 1000
