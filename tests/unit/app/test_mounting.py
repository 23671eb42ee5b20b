"""A `Readiness` in web applications: its routes, its dependencies, its lifespan, and what is checked at the start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.websockets import WebSocketDisconnect
from tests.unit.app.rig import SECONDS, Gate

from glowplug import require_ready
from glowplug.app import Readiness
from glowplug.errors import Conflict, NotReady, SettingsError

Serve = Callable[[Any], AbstractContextManager[TestClient]]


@contextmanager
def serving(app: Any) -> Iterator[TestClient]:
    """Run an application in a thread and loop of its own, called from this machine."""
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 50000)) as client:
        yield client


def wait(ready: Readiness, *names: str) -> None:
    """Wait in another loop than the application's until it is ready."""
    asyncio.run(_until(ready, names))


async def _until(ready: Readiness, names: tuple[str, ...]) -> None:
    await ready.wait_until_ready(*names, timeout=SECONDS)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Return a load that the test lets go on; it is not left hanging."""
    gate = Gate("voice")
    yield gate
    gate.open.set()


@pytest.fixture
def guarded(ready: Readiness, gate: Gate) -> FastAPI:
    """Return an application as the documents show it."""
    ready.add("tts", gate)
    app = FastAPI(lifespan=ready.lifespan)
    app.include_router(ready.router(prefix="/api"))

    @app.post("/speak", dependencies=[ready.require("tts")])
    def speak() -> str:
        return str(ready["tts"])

    @app.post("/say", dependencies=[require_ready("tts")])
    def say() -> str:
        return str(ready["tts"])

    @app.websocket("/talk", dependencies=[ready.require("tts")])
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(ready["tts"])

    return app


def test_routes_that_need_a_model_answer_early_until_it_is_there(
    ready: Readiness, guarded: FastAPI, gate: Gate
) -> None:
    with serving(guarded) as client:
        for path in ("/speak", "/say"):
            early = client.post(path)
            assert early.status_code == 425
            assert early.json()["type"] == "initialization"
            assert int(early.headers["retry-after"]) >= 1
        with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/talk") as socket:
            socket.receive_text()
        assert closed.value.code == 1013
        assert client.get("/api/livez").status_code == 200
        assert client.get("/api/readyz").status_code == 503
        gate.open.set()
        wait(ready)
        assert client.post("/speak").json() == client.post("/say").json() == "voice"
        with client.websocket_connect("/talk") as socket:
            assert socket.receive_text() == "voice"
        assert client.get("/api/readyz").status_code == 200


def test_the_early_status_may_be_the_one_that_clients_know(gate: Gate) -> None:
    ready = Readiness(early_status=503)
    ready.add("tts", gate)
    app = FastAPI(lifespan=ready.lifespan)

    @app.get("/own", dependencies=[ready.require()])
    def own() -> None:
        """Need all that is required."""

    @app.get("/found", dependencies=[require_ready()])
    def found() -> None:
        """Need the same, of the application's own."""

    with serving(app) as client:
        assert [client.get(path).status_code for path in ("/own", "/found")] == [503, 503]


def test_a_failed_model_is_answered_with_503_and_retried_over_http(ready: Readiness) -> None:
    errors = [ValueError("once")]

    def load() -> str:
        if errors:
            raise errors.pop()
        return "voice"

    ready.add("tts", load)
    app = FastAPI()
    app.include_router(ready.router())

    @app.post("/speak", dependencies=[ready.require("tts")])
    def speak() -> str:
        return str(ready["tts"])

    with serving(app) as client:
        with pytest.raises(Exception, match="once"):
            wait(ready)
        assert client.post("/speak").status_code == 503
        assert client.post("/api/ready/retry/tts").status_code < 300
        wait(ready)
        assert client.post("/speak").json() == "voice"
        assert client.post("/api/warmup").json() == {"services": {"tts": {}}}


def test_a_token_opens_the_actions_to_others(gate: Gate) -> None:
    ready = Readiness(token="open-sesame")
    gate.open.set()
    ready.add("tts", gate)
    app = FastAPI()
    app.include_router(ready.router())
    with serving(app) as client:
        wait(ready)
        assert client.post("/api/warmup").status_code == 401
        assert client.post("/api/warmup", headers={"Authorization": "Bearer open-sesame"}).status_code == 200


def test_the_router_alone_brings_the_lifespan(ready: Readiness) -> None:
    ready.add("tts", lambda: "voice")
    app = FastAPI()
    app.include_router(ready.router())
    with serving(app):
        wait(ready)
    assert not ready.started


def test_given_twice_it_begins_and_ends_once(ready: Readiness) -> None:
    loads: list[int] = []
    ready.add("tts", lambda: loads.append(1))
    app = FastAPI(lifespan=ready.lifespan)
    app.include_router(ready.router())
    with serving(app):
        wait(ready)
        assert ready.started
    assert loads == [1]
    assert not ready.started


def test_an_application_may_be_started_again_in_another_loop(ready: Readiness, guarded: FastAPI, gate: Gate) -> None:
    for _ in range(2):
        gate.open.clear()
        with serving(guarded) as client:
            assert client.post("/speak").status_code == 425
            gate.open.set()
            wait(ready)
            assert client.post("/speak").status_code == 200


def test_two_loops_cannot_have_it_at_once(ready: Readiness) -> None:
    with serving(Starlette(lifespan=ready.lifespan)), pytest.raises(Conflict, match="one for each application"):
        asyncio.run(_enter(ready))


async def _enter(ready: Readiness) -> None:
    async with ready.lifespan(Starlette()):
        raise AssertionError("it began a second time")


def test_a_lifespan_of_the_application_itself_stays_inside(ready: Readiness) -> None:
    told: list[str] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        del app
        told.append(f"begins, started={ready.started}")
        yield {"database": "open"}
        told.append(f"ends, started={ready.started}")

    app = FastAPI(lifespan=ready.around(own))

    with serving(app) as client:
        assert client.app_state["database"] == "open"
    assert told == ["begins, started=True", "ends, started=True"]


def test_a_start_that_fails_further_in_ends_it_again(ready: Readiness) -> None:
    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[None]:
        del app
        raise RuntimeError("no database")
        yield

    with pytest.raises(RuntimeError, match="no database"), serving(FastAPI(lifespan=ready.around(own))):
        raise AssertionError("it began")
    assert not ready.started


def test_starlette_takes_the_routes_and_the_lifespan(ready: Readiness) -> None:
    ready.add("tts", lambda: "voice")
    app = Starlette(routes=ready.routes(metrics=True), lifespan=ready.lifespan)
    with serving(app) as client:
        wait(ready)
        assert client.get("/readyz").status_code == 200
        assert client.get("/api/ready").json()["services"]["tts"]["ready"]
        assert 'component_load_seconds_count{component="tts"} 1.0' in client.get("/metrics").text


def test_metrics_are_there_when_asked_for(ready: Readiness) -> None:
    ready.add("tts", lambda: "voice")
    app = FastAPI()
    app.include_router(ready.router(prefix="/api", metrics=True))
    with serving(app) as client:
        wait(ready)
        answer = client.get("/api/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        assert 'component_state{component="tts",state="ready"} 1.0' in answer.text


def test_without_metrics_there_is_no_such_route(ready: Readiness) -> None:
    app = FastAPI()
    app.include_router(ready.router())
    with serving(app) as client:
        assert client.get("/metrics").status_code == 404


def test_no_middleware_is_added(ready: Readiness, guarded: FastAPI) -> None:
    assert guarded.user_middleware == []
    with serving(guarded):
        assert guarded.user_middleware == []
        plain = FastAPI()
        plain.build_middleware_stack()
        assert _depth(guarded.middleware_stack) == _depth(plain.build_middleware_stack())


def _depth(stack: Any) -> int:
    depth = 0
    while hasattr(stack, "app"):
        depth, stack = depth + 1, stack.app
    return depth


# What the routes require is checked when the application starts.


def below_a_router(needed: Any) -> FastAPI:
    inner, outer, app = APIRouter(), APIRouter(), FastAPI()

    @inner.get("/deep", dependencies=[needed])
    def deep() -> None:
        """Stand in a router within a router."""

    outer.include_router(inner, prefix="/inner")
    app.include_router(outer, prefix="/outer")
    return app


def for_a_whole_router(needed: Any) -> FastAPI:
    router, app = APIRouter(), FastAPI()

    @router.get("/one")
    def one() -> None:
        """Need it because the router does."""

    app.include_router(router, dependencies=[needed])
    return app


def in_a_dependency_of_a_dependency(needed: Any) -> FastAPI:
    app = FastAPI()

    def voice(checked: None = needed) -> None:
        """Need it on the way."""

    @app.get("/one")
    def one(found: None = Depends(voice)) -> None:
        """Need what needs it."""

    return app


def in_a_mounted_application(needed: Any) -> FastAPI:
    app, inner = FastAPI(), FastAPI()

    @inner.get("/one", dependencies=[needed])
    def one() -> None:
        """Stand in another application."""

    app.mount("/inner", inner)
    return app


def on_a_socket(needed: Any) -> FastAPI:
    app = FastAPI()

    @app.websocket("/one", dependencies=[needed])
    async def one(socket: WebSocket) -> None:
        """Stand on a socket."""

    return app


def for_the_whole_application(needed: Any) -> FastAPI:
    app = FastAPI(dependencies=[needed])

    @app.get("/one")
    def one() -> None:
        """Need it because everything does."""

    return app


PLACES = [
    below_a_router,
    for_a_whole_router,
    for_the_whole_application,
    in_a_dependency_of_a_dependency,
    in_a_mounted_application,
    on_a_socket,
]


@pytest.mark.parametrize("place", PLACES)
def test_a_name_that_is_no_components_is_told_at_the_start(ready: Readiness, place: Callable[[Any], FastAPI]) -> None:
    ready.add("tts", lambda: None)
    app = place(require_ready("tts", "a-typing-error"))
    app.include_router(ready.router())
    with pytest.raises(SettingsError, match=r"a-typing-error'.*there are: tts"), serving(app):
        raise AssertionError("it began")


@pytest.mark.parametrize("place", PLACES)
def test_the_right_name_is_found_at_the_same_place(ready: Readiness, place: Callable[[Any], FastAPI]) -> None:
    ready.add("tts", lambda: None)
    app = place(require_ready("tts"))
    app.include_router(ready.router())
    with serving(app) as client:
        wait(ready)
        path = {"below_a_router": "/outer/inner/deep", "in_a_mounted_application": "/inner/one"}.get(
            place.__name__, "/one"
        )
        if place is not on_a_socket:
            assert client.get(path).status_code == 200


def test_who_forgot_the_lifespan_is_told_once(ready: Readiness, gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    ready.add("tts", gate)
    with serving(for_the_whole_application(ready.require("tts"))) as client:
        assert [client.get("/one").status_code for _ in range(2)] == [425, 425]
    assert caplog.text.count("/one waits for components that nobody loads") == 1
    assert "FastAPI(lifespan=ready.lifespan)" in caplog.text


def test_who_waits_for_a_load_or_comes_after_the_end_is_not_told_so(
    ready: Readiness, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    ready.add("tts", gate)
    app = for_the_whole_application(ready.require("tts"))
    app.router.lifespan_context = ready.lifespan
    with serving(app) as client:
        assert client.get("/one").status_code == 425
    assert client.get("/one").status_code == 503
    assert "never started" not in caplog.text


def test_each_route_finds_the_readiness_that_has_its_component(ready: Readiness, gate: Gate) -> None:
    other = Readiness()
    ready.add("tts", lambda: None)
    other.add("chat", gate)
    app = FastAPI()
    app.include_router(ready.router(prefix="/one"))
    app.include_router(other.router(prefix="/other"))

    @app.get("/tts", dependencies=[require_ready("tts")])
    def tts() -> None:
        """Need the first."""

    @app.get("/chat", dependencies=[require_ready("chat")])
    def chat() -> None:
        """Need the second."""

    with serving(app) as client:
        wait(ready)
        assert (client.get("/tts").status_code, client.get("/chat").status_code) == (200, 425)


def test_an_application_without_a_readiness_says_what_to_do() -> None:
    app = FastAPI()

    @app.get("/one", dependencies=[require_ready("tts")])
    def one() -> None:
        """Need what nobody brings."""

    with serving(app) as client, pytest.raises(SettingsError, match="started without a Readiness"):
        client.get("/one")


def test_a_mounted_starlette_application_is_walked_through_too(ready: Readiness) -> None:
    inner = FastAPI()

    @inner.get("/one", dependencies=[require_ready("missing-there")])
    def one() -> None:
        """Need what nobody has."""

    app = Starlette(routes=[Mount("/a", routes=[Mount("/b", app=inner)])], lifespan=ready.lifespan)
    with pytest.raises(SettingsError, match="missing-there"), serving(app):
        raise AssertionError("it began")


def test_a_route_without_a_guard_that_uses_a_model_too_early_says_so_instead_of_breaking(
    ready: Readiness, gate: Gate
) -> None:
    ready.add("tts", gate)
    inner = FastAPI()
    app = FastAPI(lifespan=ready.lifespan)
    app.mount("/inner", inner)

    @app.get("/bold")
    @inner.get("/bold")
    def bold() -> str:
        return str(ready["tts"])

    with serving(app) as client:
        for path in ("/bold", "/inner/bold"):
            early = client.get(path)
            assert early.status_code == 503
            assert early.headers["content-type"] == "application/problem+json"
            assert int(early.headers["retry-after"]) >= 1
        gate.open.set()
        wait(ready)
        assert client.get("/bold").json() == "voice"


def test_an_application_that_answers_for_what_is_not_ready_itself_is_let_be(ready: Readiness, gate: Gate) -> None:
    ready.add("tts", gate)
    app = FastAPI(lifespan=ready.lifespan)

    @app.exception_handler(NotReady)
    async def own(request: Request, error: Exception) -> Response:
        del request, error
        return Response(status_code=418)

    @app.get("/bold")
    def bold() -> str:
        return str(ready["tts"])

    with serving(app) as client:
        assert client.get("/bold").status_code == 418
