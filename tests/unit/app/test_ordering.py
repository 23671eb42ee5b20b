"""Our routes stand behind those of the application, so that its own are found first, unless they may meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from glowplug import Readiness


@pytest.fixture
def ready() -> Readiness:
    made = Readiness()
    made.add("tts", lambda: "voice")
    return made


async def theirs() -> str:
    return "theirs"


async def anything(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("anything")(scope, receive, send)


def place(app: FastAPI) -> int:
    """Return where our entry stands among the routes, counted from the end."""
    return next(at for at, route in enumerate(reversed(app.routes)) if "Readiness" in type(_inner(route)).__name__)


def _inner(route: Any) -> Any:
    return getattr(route, "original_router", None)


def included(ready: Readiness, *later: Callable[[FastAPI], object], prefix: str = "") -> FastAPI:
    app = FastAPI()
    app.include_router(ready.router(prefix=prefix))
    for add in later:
        add(app)
    return app


def two_routes(app: FastAPI) -> None:
    app.get("/speak")(theirs)
    app.post("/speak/{voice}")(theirs)


def a_router(app: FastAPI) -> None:
    router = APIRouter(prefix="/v1")
    router.get("/models")(theirs)
    app.include_router(router)


def test_routes_that_come_later_are_tried_first(ready: Readiness) -> None:
    app = included(ready, two_routes, a_router)
    assert place(app) == 3
    with TestClient(app) as client:
        assert place(app) == 0
        assert client.get("/speak").json() == client.get("/v1/models").json() == "theirs"
        assert client.get("/livez").json() == {"status": "alive"}
        assert client.get("/nowhere").status_code == 404


def test_starting_again_changes_nothing_more(ready: Readiness) -> None:
    app = included(ready, two_routes)
    for _ in range(2):
        with TestClient(app) as client:
            assert (place(app), client.get("/livez").status_code) == (0, 200)


@pytest.mark.parametrize(
    "catching",
    [
        lambda app: app.get("/{path:path}")(theirs),
        lambda app: app.get("/{word}")(theirs),
        lambda app: app.mount("/", anything),
        lambda app: app.routes.append(Route("/{path:path}", lambda request: PlainTextResponse("theirs"))),
        lambda app: app.routes.append(Mount("/", anything)),
    ],
)
def test_a_route_for_everything_stays_behind_ours(ready: Readiness, catching: Callable[[FastAPI], object]) -> None:
    app = included(ready, two_routes, catching)
    with TestClient(app) as client:
        assert place(app) == 1
        assert client.get("/livez").json() == {"status": "alive"}


@pytest.mark.parametrize("path", ["/ready/tts", "/readyz", "/ready/{name}/more", "/v2/models/{name}/ready"])
def test_a_route_that_may_be_meant_for_the_same_stays_where_its_author_put_it(ready: Readiness, path: str) -> None:
    app = included(ready, lambda app: app.get(path)(theirs))
    with TestClient(app) as client:
        before = path == "/ready/{name}/more"
        assert place(app) == (0 if before else 1)
        assert client.get("/readyz").json() != "theirs"


def test_one_inside_a_router_does_too(ready: Readiness) -> None:
    def add(app: FastAPI) -> None:
        router = APIRouter()
        router.get("/ready/tts")(theirs)
        app.include_router(router)

    app = included(ready, add)
    with TestClient(app) as client:
        assert place(app) == 1
        assert client.get("/ready/tts").json() != "theirs"


def test_below_a_prefix_only_that_counts(ready: Readiness) -> None:
    app = included(ready, lambda app: app.get("/{word}")(theirs), prefix="/voice")
    with TestClient(app) as client:
        assert place(app) == 0
        assert client.get("/voice/livez").json() == {"status": "alive"}


def test_the_prefix_may_be_the_frameworks(ready: Readiness) -> None:
    app = FastAPI()
    app.include_router(ready.router(), prefix="/voice")
    app.get("/voice/{word}")(theirs)
    with TestClient(app) as client:
        assert place(app) == 1
        assert client.get("/voice/livez").json() == {"status": "alive"}
