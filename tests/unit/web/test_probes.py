"""The probes: every body is the board's, and each follows the board that it should."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from glowplug.clock import ManualClock
from glowplug.readiness import Board
from glowplug.web.probes import probe_routes

PROBES = ("/readyz", "/ready")


@asynccontextmanager
async def asking(own: Board, models: Board | None = None, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=probe_routes(own, models, **more))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://testserver") as client:
        yield client


@pytest.fixture
def board() -> Board:
    return Board(ManualClock())


async def statuses(client: httpx.AsyncClient, *paths: str) -> list[int]:
    return [(await client.get(path)).status_code for path in paths]


async def test_a_process_without_components_lives_but_is_not_ready(board: Board) -> None:
    async with asking(board) as client:
        assert await statuses(client, "/livez", "/health", "/api/health", "/api/ready") == [200] * 4
        assert await statuses(client, *PROBES, "/startupz", "/api/v1/admin/ready") == [503, 503, 503, 425]
        assert (await client.get("/livez")).json() == {"status": "alive"}


async def test_while_a_model_loads_every_route_tells_the_same_story(board: Board) -> None:
    board.add("tts", model="tts").begin()
    async with asking(board) as client:
        ready = (await client.get("/api/ready")).json()
        assert (ready["ready"], ready["state"]) == (False, "LOADING_MODELS")
        assert ready["services"]["tts"]["status"] == "loading"
        early = await client.get("/api/v1/admin/ready")
        assert (early.status_code, early.headers["retry-after"]) == (425, "2")
        assert (early.json()["message"], early.json()["type"]) == ("AI models are still loading", "initialization")
        assert (await client.get("/health")).json()["status"] == "loading"


async def test_once_ready_all_say_so(board: Board) -> None:
    component = board.add("tts", model="tts")
    component.begin()
    component.ready()
    async with asking(board) as client:
        assert await statuses(client, *PROBES, "/startupz", "/api/v1/admin/ready") == [200] * 4
        assert (await client.get("/ready")).json() == {"ready": True}
        assert (await client.get("/api/v1/admin/ready")).json() == {
            "status": "ready",
            "message": "All systems ready",
            "ready": True,
            "models_loaded": True,
        }
        assert (await client.get("/health")).json()["ready_for_requests"] is True


async def test_a_failed_load_is_503_everywhere_but_at_health(board: Board) -> None:
    board.add("tts", model="tts").fail("Out of memory")
    async with asking(board) as client:
        assert await statuses(client, *PROBES, "/startupz", "/api/v1/admin/ready") == [503] * 4
        health = await client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "unhealthy")
        assert "Out of memory" in health.json()["error"]


async def test_the_start_up_probe_stays_good_when_a_model_falls_over_later(board: Board) -> None:
    component = board.add("tts", model="tts")
    component.begin()
    component.ready()
    component.begin()
    async with asking(board) as client:
        assert await statuses(client, "/startupz", "/readyz", "/livez") == [200, 503, 200]


async def test_a_draining_process_lives_and_is_not_ready(board: Board) -> None:
    component = board.add("tts", model="tts")
    component.begin()
    component.ready()
    board.drain()
    async with asking(board) as client:
        assert await statuses(client, "/livez", *PROBES, "/api/v1/admin/ready") == [200, 503, 503, 503]
        assert (await client.get("/health")).json()["status"] == "draining"


async def test_a_gateway_is_ready_without_any_model_and_tells_of_its_models_apart(board: Board) -> None:
    own = board.add("gateway")
    own.begin()
    own.ready()
    models = Board(ManualClock())
    models.add("echo", model="echo").begin()
    async with asking(board, models) as client:
        assert await statuses(client, *PROBES, "/startupz") == [200] * 3
        ready = (await client.get("/api/ready")).json()
        assert (ready["ready"], list(ready["services"])) == (False, ["echo"])
        assert (await client.get("/api/v1/admin/ready")).status_code == 425
        assert (await client.get("/health")).json()["status"] == "loading"


async def test_the_early_status_can_be_switched(board: Board) -> None:
    board.add("tts", model="tts").begin()
    async with asking(board, early_status=503) as client:
        assert (await client.get("/api/v1/admin/ready")).status_code == 503


async def test_answers_are_never_kept_and_retry_after_may_be_read_by_pages(board: Board) -> None:
    async with asking(board) as client:
        response = await client.get("/ready")
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["access-control-expose-headers"] == "Retry-After"
        assert response.headers["retry-after"] == str(response.json()["retry_after"])


async def test_probes_are_only_read(board: Board) -> None:
    async with asking(board) as client:
        assert (await client.post("/ready")).status_code == 405
        assert (await client.head("/livez")).status_code == 200
