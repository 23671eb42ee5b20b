"""What an app looks like with the library in it: one more entry among its routes, and nothing around its requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from glowplug import LoadContext, Readiness


@pytest.fixture
def ready() -> Readiness:
    made = Readiness()

    @made.component("model")
    def load(ctx: LoadContext) -> str:
        return "model"

    return made


def bare() -> FastAPI:
    app = FastAPI()
    app.get("/work")(work)
    return app


def equipped(ready: Readiness) -> FastAPI:
    app = FastAPI(lifespan=ready.lifespan)
    app.include_router(ready.router())
    app.get("/work", dependencies=[ready.require("model")])(work)
    return app


async def work() -> dict[str, str]:
    return {"result": "done"}


def around(app: FastAPI) -> Iterator[type]:
    """Yield the type of each application from the outermost to the router."""
    layer: Any = app.build_middleware_stack()
    while layer is not None:
        yield type(layer)
        layer = getattr(layer, "app", None)


def test_no_middleware_is_added(ready: Readiness) -> None:
    assert equipped(ready).user_middleware == bare().user_middleware == []
    assert list(around(equipped(ready))) == list(around(bare()))


def test_the_routes_grow_by_one_entry(ready: Readiness) -> None:
    assert len(equipped(ready).routes) == len(bare().routes) + 1


def test_the_handlers_of_errors_stay_the_apps_own(ready: Readiness) -> None:
    assert equipped(ready).exception_handlers.keys() == bare().exception_handlers.keys()


def test_a_request_that_has_nothing_to_do_with_readiness_is_routed_as_before(ready: Readiness) -> None:
    before, after = (
        next(one for one in app.routes if getattr(one, "path", "") == "/work") for app in (bare(), equipped(ready))
    )
    assert type(before) is type(after)
