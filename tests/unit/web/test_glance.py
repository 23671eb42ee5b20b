"""The glance: a no is sure, whatever stands in front of the path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Mount, NoMatchFound, Route
from tests.unit.web.callers import asking

from glowplug.web.glance import Glance, Group

PATHS = ("/livez", "/api/ready", "/api/ready/stream", "/ready/{component}", "/v2/models/{name}/ready")
segments = st.text("abz-._~%", min_size=1, max_size=6)


async def answer(request: Request) -> Response:
    return PlainTextResponse(f"{request.url.path} {sorted(request.path_params)}")


def route(path: str, *methods: str) -> BaseRoute:
    return Route(path, answer, methods=methods or ["GET"])


@given(front=st.lists(segments, max_size=3), path=st.sampled_from(PATHS), name=segments)
def test_no_path_of_ours_is_ever_denied_below_any_prefix(front: list[str], path: str, name: str) -> None:
    whole = "".join(f"/{one}" for one in front) + path.format(component=name, name=name)
    assert Glance.of(PATHS).may_be(whole)


@pytest.mark.parametrize("path", ["/", "", "*", "/v1/jobs", "/speak", "/livez2", "/api/ready/stream/x/y", "/api/live"])
def test_the_paths_of_others_are_denied(path: str) -> None:
    assert not Glance.of(PATHS).may_be(path)


@pytest.mark.parametrize("unclear", [None, "", "/files/{rest:path}", "/{one}/{two}", "/x/"])
def test_beside_a_path_that_no_glance_can_tell_nothing_is_denied(unclear: str | None) -> None:
    assert Glance.of([*PATHS, unclear]).may_be("/anything/at/all")


async def test_a_group_answers_as_its_routes_would_alone() -> None:
    routes = [route("/livez"), route("/ready/{component}"), route("/ready/retry", "POST")]
    async with asking(Starlette(routes=[Group(routes), route("/mine")])) as client:
        assert (await client.get("/livez")).text == "/livez []"
        assert (await client.head("/livez")).status_code == 200
        assert (await client.get("/ready/tts")).text == "/ready/tts ['component']"
        assert (await client.post("/ready/retry")).text == "/ready/retry []"
        assert (await client.post("/livez")).status_code == 405
        assert (await client.get("/mine")).text == "/mine []"
        assert (await client.get("/ready")).status_code == 404
        assert (await client.get("/livez/", follow_redirects=True)).text == "/livez []"


async def test_a_group_stays_itself_below_a_mount() -> None:
    inner = Starlette(routes=[Group([route("/livez")])])
    async with asking(Starlette(routes=[Mount("/below", app=inner)])) as client:
        assert (await client.get("/below/livez")).status_code == 200
        assert (await client.get("/livez")).status_code == 404


def test_a_group_denies_what_is_not_a_request() -> None:
    assert Group([route("/livez")]).matches({"type": "lifespan"})[0] is Match.NONE


def test_a_group_knows_the_addresses_of_its_routes() -> None:
    group = Group([Route("/livez", answer, name="alive"), Route("/ready/{component}", answer, name="of")])
    assert group.url_path_for("of", component="tts") == "/ready/tts"
    with pytest.raises(NoMatchFound):
        group.url_path_for("nobody")
