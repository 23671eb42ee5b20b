"""The router for FastAPI: the same routes, described, below any prefix, and nothing added to the application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jsonschema
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match
from tests.unit.web.callers import LOCAL, Loader, asking

from glowplug.clock import ManualClock
from glowplug.readiness import Board, Component
from glowplug.web import links
from glowplug.web.documents import DOCUMENTS
from glowplug.web.parts import ReadinessParts
from glowplug.web.router import readiness_router
from glowplug.web.routes import readiness_routes

ACTIONS = {links.WARM_UP, links.RETRY, links.RETRY_OF}


@pytest.fixture
def parts(board: Board, tts: Component, loader: Loader, clock: ManualClock) -> ReadinessParts:
    return ReadinessParts(own=board, actions=loader, clock=clock)


@pytest.fixture
def app(parts: ReadinessParts) -> FastAPI:
    made = FastAPI()
    made.include_router(readiness_router(parts))
    return made


def paths(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(path, method): said for path, ways in document["paths"].items() for method, said in ways.items()}


def test_every_documented_route_is_described_once(app: FastAPI) -> None:
    wanted = {(path, "post" if path in ACTIONS else "get") for path in DOCUMENTS}
    assert set(paths(app.openapi())) == wanted


def test_every_description_has_a_name_of_its_own_a_summary_and_its_parameters(app: FastAPI) -> None:
    described = paths(app.openapi())
    identities = [said["operationId"] for said in described.values()]
    assert len(set(identities)) == len(identities)
    for (path, _), said in described.items():
        assert said["summary"]
        assert said["tags"] == ["readiness"]
        in_path = {one["name"] for one in said.get("parameters", []) if one["in"] == "path"}
        assert in_path == {name for name in ("component", "name") if f"{{{name}}}" in path}


def test_the_document_is_plain_json(app: FastAPI) -> None:
    assert json.loads(json.dumps(app.openapi()))["openapi"].startswith("3.1")


@pytest.mark.parametrize("state", ["pending", "loading", "failed", "ready", "draining"])
async def test_every_answer_in_every_state_is_as_described(
    app: FastAPI, board: Board, tts: Component, state: str, clock: ManualClock
) -> None:
    put(board, tts, state)
    described = paths(app.openapi())
    async with asking(app) as client:
        for (path, method), said in described.items():
            for value in ("tts", "nobody"):
                if path == links.STREAM and state in ("pending", "loading"):
                    continue
                answer = await client.request(method, path.replace("{component}", value).replace("{name}", value))
                responses = said["responses"]
                assert str(answer.status_code) in responses, (path, answer.status_code)
                check(answer.headers.get("content-type", ""), answer.content, responses[str(answer.status_code)])
                if method == "post":
                    put(board, tts, state)


def put(board: Board, tts: Component, state: str) -> None:
    if state == "draining":
        board.drain()
    elif state == "failed":
        tts.fail("Out of memory")
    elif state == "ready":
        tts.ready()
    elif state == "loading" and tts.attempt == 0:
        tts.stage("read")
        tts.advance(done=1e9, total=4e9, unit="bytes")


def check(media_type: str, content: bytes, described: dict[str, Any]) -> None:
    said = described.get("content", {})
    kind = media_type.partition(";")[0]
    assert bool(content) == bool(said)
    if kind.endswith("json"):
        jsonschema.validate(json.loads(content), said[kind]["schema"], jsonschema.Draft202012Validator)
        known = said[kind]["schema"]["properties"]
        # Components' own facts apart, nothing is told that is not described.
        extra = {name for name in json.loads(content) if name not in known and not name.endswith("_available")}
        assert not extra or kind == "application/problem+json"
    elif content:
        assert kind in said


def test_nothing_of_the_application_is_changed_but_its_routes(parts: ReadinessParts) -> None:
    before, after = FastAPI(), FastAPI()
    after.include_router(readiness_router(parts))
    assert after.user_middleware == before.user_middleware == []
    assert after.exception_handlers.keys() == before.exception_handlers.keys()
    assert len(after.router.routes) == len(before.router.routes) + 1


async def test_every_get_answers_head_too(app: FastAPI, tts: Component) -> None:
    tts.ready()
    async with asking(app) as client:
        for path in (links.LIVE, links.READY, links.PROBE, links.HEALTH, links.API_READY, "/ready/tts", links.STREAM):
            answer = await client.head(path)
            assert (answer.status_code, answer.content) == (200, b""), path
        assert (await client.post(links.LIVE)).status_code == 405
        assert (await client.head(links.WARM_UP)).status_code == 405


@pytest.mark.parametrize("prefix", ["", "/api", "/models"])
@pytest.mark.parametrize("include", ["", "/outer"])
async def test_the_links_of_the_body_lead_to_routes_wherever_it_is_mounted(
    parts: ReadinessParts, tts: Component, prefix: str, include: str
) -> None:
    tts.fail("Out of memory")
    inner, outer = FastAPI(), FastAPI()
    inner.include_router(readiness_router(parts, prefix), prefix=include)
    outer.mount("/front", inner)
    async with asking(outer, base_url="http://127.0.0.1/front") as client:
        ready = await client.get(f"{include}{links.below(prefix, links.API_READY)}")
        assert ready.status_code == 200
        found = {name: str(ready.url.join(link)) for name, link in ready.json()["links"].items()}
        assert (await client.get(found["self"])).json()["state"] == "ERROR"
        assert (await client.get(found["stream"])).headers["content-type"].startswith("text/event-stream")
        assert (await client.get(found["overlay"])).status_code in (200, 404)
        assert (await client.post(found["warm_up"])).json()["code"] == "conflict"
        assert (await client.post(found["retry"])).status_code == 202
    with TestClient(outer) as page:
        address = found["socket"].removeprefix("http://127.0.0.1").replace("%7Bclient_id%7D", "p1")
        with page.websocket_connect(address.replace("{client_id}", "p1")) as socket:
            assert socket.receive_json()["phase"] == "loading"


async def test_it_works_behind_a_root_path(parts: ReadinessParts) -> None:
    app = FastAPI()
    app.include_router(readiness_router(parts))
    transport = httpx.ASGITransport(app=app, root_path="/behind")
    async with httpx.AsyncClient(transport=transport, base_url=LOCAL) as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/behind/livez")).status_code == 200


async def test_other_routes_are_told_apart_at_a_glance(parts: ReadinessParts, monkeypatch: pytest.MonkeyPatch) -> None:
    router = readiness_router(parts)
    app = FastAPI()
    app.include_router(router)

    @app.get("/mine")
    async def mine() -> str:
        return "mine"

    looked: list[str] = []
    real = APIRouter.matches
    monkeypatch.setattr(
        APIRouter, "matches", lambda self, scope: looked.append(scope["path"]) or real(self, scope), raising=True
    )
    async with asking(app) as client:
        assert (await client.get("/mine")).json() == "mine"
        assert looked == []
        assert (await client.get("/livez")).status_code == 200
        assert looked == ["/livez"]


async def test_routes_that_are_added_later_are_found(parts: ReadinessParts) -> None:
    router = readiness_router(parts)
    app = FastAPI()
    app.include_router(router)
    async with asking(app) as client:
        assert (await client.get("/metrics")).status_code == 404

        async def metrics() -> str:
            return "glowplug_up 1"

        router.add_api_route("/metrics", metrics)
        assert (await client.get("/metrics")).status_code == 200


async def test_the_lifespan_runs_around_that_of_the_application(parts: ReadinessParts) -> None:
    heard: list[str] = []

    @asynccontextmanager
    async def ours(app: Any) -> AsyncIterator[None]:
        heard.append("ours begins")
        yield
        heard.append("ours ends")

    @asynccontextmanager
    async def theirs(app: Any) -> AsyncIterator[None]:
        heard.append("theirs begins")
        yield
        heard.append("theirs ends")

    app = FastAPI(lifespan=theirs)
    app.include_router(readiness_router(parts, lifespan=ours))
    async with app.router.lifespan_context(app):
        assert sorted(heard) == ["ours begins", "theirs begins"]
    assert sorted(heard[2:]) == ["ours ends", "theirs ends"]


def test_the_websocket_tells_the_same_in_both_frameworks(parts: ReadinessParts, tts: Component, app: FastAPI) -> None:
    tts.ready()
    for one in (app, Starlette(routes=readiness_routes(parts))):
        with TestClient(one) as client, client.websocket_connect("/ws/init/a%20page") as page:
            assert page.receive_json()["phase"] == "ready"
            assert page.receive()["code"] == 1000


async def test_both_frameworks_give_the_same_answers(parts: ReadinessParts, tts: Component, app: FastAPI) -> None:
    tts.fail("Out of memory")
    plain = Starlette(routes=readiness_routes(parts))
    get = [path.format(component="tts", name="xtts") for path in DOCUMENTS if path not in ACTIONS]
    async with asking(app) as one, asking(plain) as other:
        for path in get:
            first, second = await asyncio.gather(one.get(path), other.get(path))
            assert (first.status_code, first.content) == (second.status_code, second.content), path
            assert dict(first.headers) == dict(second.headers), path


def test_a_lifespan_is_no_request_of_ours(parts: ReadinessParts) -> None:
    (group,) = readiness_routes(parts)
    assert isinstance(group, BaseRoute)
    assert group.matches({"type": "websocket", "path": "/ws/init/1"})[0] is Match.FULL
    assert group.matches({"type": "http", "method": "GET", "path": "/mine"})[0] is Match.NONE
