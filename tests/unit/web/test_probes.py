"""The probes: every body is the board's, and each follows the board that it should."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from tests.unit.web.callers import asking

from glowplug.clock import ManualClock
from glowplug.readiness import Board, Component, Gates
from glowplug.web.parts import ReadinessParts
from glowplug.web.routes import readiness_routes

PROBES = ("/readyz", "/ready")


@asynccontextmanager
async def probing(own: Board, models: Board | None = None, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    prefix = more.pop("prefix", "")
    parts = ReadinessParts(own=own, models=models, **more)
    async with asking(Starlette(routes=readiness_routes(parts, prefix))) as client:
        yield client


def loaded(board: Board, name: str = "tts", **more: Any) -> Component:
    component = board.add(name, model=name, **more)
    component.begin()
    component.ready()
    return component


async def statuses(client: httpx.AsyncClient, *paths: str) -> list[int]:
    return [(await client.get(path)).status_code for path in paths]


async def test_a_process_without_components_lives_but_is_not_ready(board: Board) -> None:
    async with probing(board) as client:
        assert await statuses(client, "/livez", "/health", "/api/health", "/api/ready", "/v2/health/live") == [200] * 5
        assert await statuses(client, *PROBES, "/startupz", "/v2/health/ready") == [503] * 4
        assert await statuses(client, "/api/v1/admin/ready") == [425]
        assert (await client.get("/livez")).json() == {"status": "alive"}


async def test_while_a_model_loads_every_route_tells_the_same_story(board: Board) -> None:
    board.add("tts", model="tts").begin()
    async with probing(board) as client:
        ready = (await client.get("/api/ready")).json()
        assert (ready["ready"], ready["state"]) == (False, "LOADING_MODELS")
        assert ready["services"]["tts"]["status"] == "loading"
        early = await client.get("/api/v1/admin/ready")
        assert (early.status_code, early.headers["retry-after"]) == (425, "2")
        assert (early.json()["message"], early.json()["type"]) == ("AI models are still loading", "initialization")
        assert (await client.get("/health")).json()["status"] == "loading"


async def test_once_ready_all_say_so(board: Board) -> None:
    loaded(board)
    async with probing(board) as client:
        assert await statuses(client, *PROBES, "/startupz", "/api/v1/admin/ready", "/v2/health/ready") == [200] * 5
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
    async with probing(board) as client:
        assert await statuses(client, *PROBES, "/startupz", "/api/v1/admin/ready", "/v2/health/ready") == [503] * 5
        health = await client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "unhealthy")
        assert "Out of memory" in health.json()["error"]


async def test_the_start_up_probe_stays_good_when_a_model_falls_over_later(board: Board) -> None:
    loaded(board).begin()
    async with probing(board) as client:
        assert await statuses(client, "/startupz", "/readyz", "/livez") == [200, 503, 200]


async def test_a_draining_process_lives_and_is_not_ready(board: Board) -> None:
    loaded(board)
    board.drain()
    async with probing(board) as client:
        assert await statuses(client, "/livez", *PROBES, "/api/v1/admin/ready") == [200, 503, 503, 503]
        assert (await client.get("/health")).json()["status"] == "draining"
        assert (await client.get("/api/v1/admin/ready")).json()["type"] == "draining"


async def test_what_is_not_installed_and_not_required_holds_nothing_back(board: Board) -> None:
    loaded(board)
    board.add("stt", required=False).unavailable()
    async with probing(board) as client:
        assert await statuses(client, "/ready", "/ready/tts", "/ready/stt") == [200, 200, 503]
        assert (await client.get("/api/ready")).json()["services"]["stt"]["reason"] == "not_installed"
        assert (await client.get("/health")).json()["stt_available"] is False


async def test_a_gateway_is_ready_without_any_model_and_tells_of_its_models_apart(board: Board) -> None:
    loaded(board, "gateway")
    models = Board(ManualClock())
    models.add("echo", model="echo").begin()
    async with probing(board, models) as client:
        assert await statuses(client, *PROBES, "/startupz") == [200] * 3
        ready = (await client.get("/api/ready")).json()
        assert (ready["ready"], list(ready["services"])) == (False, ["echo"])
        assert (await client.get("/api/v1/admin/ready")).status_code == 425
        assert (await client.get("/health")).json()["status"] == "loading"
        assert await statuses(client, "/v2/health/ready", "/v2/models/echo/ready", "/ready/echo") == [503] * 3


async def test_a_gateway_s_own_parts_can_be_asked_for_by_names_that_no_model_has(board: Board) -> None:
    loaded(board, "store")
    models = Board(ManualClock())
    async with probing(board, models) as client:
        assert await statuses(client, "/ready/store", "/readyz/store", "/v2/models/store/ready") == [200, 200, 404]


async def test_one_component_can_be_asked_for_alone(board: Board) -> None:
    loaded(board)
    board.add("chat").begin()
    async with probing(board) as client:
        for probe in PROBES:
            assert await statuses(client, probe, f"{probe}/tts", f"{probe}/chat") == [503, 200, 503]
        assert (await client.get("/ready/chat")).headers["retry-after"] == "2"


async def test_a_server_that_died_after_the_start_is_not_ready_when_asked_for_alone(board: Board) -> None:
    loaded(board, "chat", gates=Gates.START).fail("connection refused")
    async with probing(board) as client:
        assert await statuses(client, "/ready", "/ready/chat") == [200, 503]


async def test_an_unknown_component_is_a_problem_that_lists_the_known(board: Board) -> None:
    loaded(board)
    async with probing(board) as client:
        for path in ("/ready/tss", "/readyz/tss", "/v2/models/tss/ready"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert "there are: tts" in (await client.get("/ready/tss")).json()["detail"]


async def test_the_inference_protocol_knows_a_model_by_its_own_name_too(board: Board) -> None:
    component = board.add("tts", model="xtts-v2")
    component.begin()
    async with probing(board) as client:
        early = await client.get("/v2/models/xtts-v2/ready")
        assert (early.status_code, early.json()["name"], early.json()["ready"]) == (503, "xtts-v2", False)
        component.ready()
        for name in ("tts", "xtts-v2"):
            answer = await client.get(f"/v2/models/{name}/ready")
            assert (answer.status_code, answer.json()) == (200, {"name": name, "ready": True})
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}


async def test_what_is_not_ready_has_an_error_for_its_clients(board: Board) -> None:
    board.add("tts").begin()
    async with probing(board) as client:
        for path, status in (("/v2/models/x/ready", 404), ("/v2/models/tts/ready", 503), ("/v2/health/ready", 503)):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]) == (status, answer.json()["detail"])
        assert len((await client.get(f"/v2/models/{'x' * 1000}/ready")).json()["error"]) < 200


async def test_the_early_status_can_be_switched_and_probes_stay_as_they_are(board: Board) -> None:
    board.add("tts", model="tts").begin()
    async with probing(board, early_status=503) as client:
        assert await statuses(client, "/api/v1/admin/ready", *PROBES) == [503] * 3


async def test_answers_are_never_kept_and_pages_of_any_origin_may_read_them(board: Board) -> None:
    async with probing(board) as client:
        for path in ("/ready", "/api/ready", "/health", "/livez", "/api/v1/admin/ready"):
            headers = (await client.get(path, headers={"origin": "https://shop.example"})).headers
            assert headers["cache-control"] == "no-store"
            assert headers["access-control-allow-origin"] == "*"
            assert headers["access-control-expose-headers"] == "Retry-After"
        answer = await client.get("/ready")
        assert answer.headers["retry-after"] == str(answer.json()["retry_after"])


async def test_probes_are_only_read(board: Board) -> None:
    async with probing(board) as client:
        assert (await client.post("/ready")).status_code == 405
        for path in ("/livez", "/ready", "/readyz", "/api/ready", "/health"):
            got, headed = await client.get(path), await client.head(path)
            assert (headed.status_code, headed.content) == (got.status_code, b"")


async def test_a_name_as_a_broken_file_has_it_does_not_break_the_answer(board: Board) -> None:
    board.add("tts", model="tts").fail("no file named caf\udce9")
    async with probing(board) as client:
        assert (await client.get("/api/ready")).json()["errors"] == ["TTS initialization failed: no file named caf?"]


@pytest.mark.parametrize(("prefix", "ready"), [("", "/api/ready"), ("/api", "/api/ready"), ("/ai", "/ai/api/ready")])
async def test_below_a_prefix_each_probe_is_where_the_rule_puts_it(board: Board, prefix: str, ready: str) -> None:
    loaded(board).begin()
    async with probing(board, prefix=prefix) as client:
        assert (await client.get(ready)).json()["links"]["self"] == "ready"
        assert await statuses(client, f"{prefix}/livez", f"{prefix}/readyz", f"{prefix}/readyz/tts") == [200, 503, 503]


async def test_where_a_prefix_makes_a_probe_meet_the_documented_body_the_body_stays(board: Board) -> None:
    board.add("tts").begin()
    async with probing(board, prefix="/api") as client:
        answer = await client.get("/api/ready")
        assert (answer.status_code, answer.json()["state"]) == (200, "LOADING_MODELS")
        assert await statuses(client, "/api/readyz", "/api/ready/tts", "/api/health") == [503, 503, 200]
        assert await statuses(client, "/livez", "/ready", "/health") == [404] * 3
