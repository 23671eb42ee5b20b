"""The guard: until the models are ready it answers, flat, in the route's place; then it costs nearly nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocketDisconnect
from tests.unit.web.callers import Reader, asking

from glowplug.errors import NotFound
from glowplug.readiness import Board, Component, Gates, Status, Transition
from glowplug.web.require import NotReadyAnswer, Requirement


def needs(board: Board, *names: str, early_status: int = 425) -> Requirement:
    return Requirement(lambda _: board, names, early_status)


def app(requirement: Requirement) -> FastAPI:
    made = FastAPI()

    @made.post("/speak", dependencies=[Depends(requirement)])
    async def speak() -> str:
        return "spoken"

    @made.websocket("/talk", dependencies=[Depends(requirement)])
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    return made


async def post(application: ASGIApp, path: str = "/speak") -> Any:
    async with asking(application) as client:
        return await client.post(path)


async def test_while_loading_the_answer_is_the_documented_one_and_flat(board: Board, tts: Component) -> None:
    tts.begin()
    answer = await post(app(needs(board, "tts")))
    assert answer.status_code == 425
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["access-control-expose-headers"] == "Retry-After"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "status": "initializing",
        "message": "AI models are still loading",
        "ready": False,
        "progress": 0,
        "estimated_seconds": None,
        "phase": "loading",
        "retry_after": 2,
        "type": "initialization",
    }


async def test_the_early_status_can_be_503(board: Board, tts: Component) -> None:
    assert (await post(app(needs(board, "tts", early_status=503)))).status_code == 503


async def test_once_ready_the_route_answers(board: Board, tts: Component) -> None:
    guarded = app(needs(board, "tts"))
    assert (await post(guarded)).status_code == 425
    tts.ready()
    assert (await post(guarded)).json() == "spoken"


async def test_what_failed_is_503_and_says_why(board: Board, tts: Component) -> None:
    tts.fail("Out of memory")
    answer = await post(app(needs(board, "tts")))
    assert (answer.status_code, answer.json()["type"]) == (503, "error")
    assert answer.json()["message"] == "TTS initialization failed: Out of memory"
    assert 1 <= int(answer.headers["retry-after"]) <= 30


async def test_what_drains_is_503(board: Board, tts: Component) -> None:
    tts.ready()
    board.drain()
    answer = await post(app(needs(board, "tts")))
    assert (answer.status_code, answer.json()["type"]) == (503, "draining")


async def test_a_model_that_falls_over_is_noticed_at_the_next_request(board: Board, tts: Component) -> None:
    guarded = app(needs(board, "tts"))
    tts.ready()
    assert (await post(guarded)).status_code == 200
    tts.begin()
    assert (await post(guarded)).status_code == 425


async def test_a_server_that_died_after_the_start_is_not_ready_for_those_who_name_it(board: Board) -> None:
    chat = board.add("chat", gates=Gates.START)
    chat.ready()
    chat.fail("connection refused")
    assert (await post(app(needs(board)))).status_code == 200
    assert (await post(app(needs(board, "chat")))).status_code == 503


async def test_only_the_named_are_waited_for_and_all_required_where_none_is_named(board: Board, tts: Component) -> None:
    tts.ready()
    board.add("chat").begin()
    assert (await post(app(needs(board, "tts")))).status_code == 200
    assert (await post(app(needs(board, "tts", "chat")))).status_code == 425
    assert (await post(app(needs(board)))).status_code == 425


async def test_with_no_component_at_all_nothing_is_ready(board: Board) -> None:
    assert (await post(app(needs(board)))).status_code == 425


async def test_an_unknown_name_is_the_developer_s_mistake(board: Board, tts: Component) -> None:
    requirement = needs(board, "tss")
    assert requirement.names == ("tss",)
    with pytest.raises(NotFound, match="there are: tts"):
        await post(app(requirement))


async def test_when_all_is_well_no_picture_is_taken(
    board: Board, tts: Component, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = app(needs(board, "tts"))
    tts.ready()
    await post(guarded)
    monkeypatch.setattr(board, "snapshot", None)
    assert (await post(guarded)).status_code == 200


async def test_a_route_of_an_included_router_and_of_a_mounted_app_is_guarded_too(board: Board, tts: Component) -> None:
    def through(_: None = Depends(needs(board, "tts"))) -> None:
        """A dependency that needs the models itself."""

    router = APIRouter(dependencies=[Depends(through)])

    @router.post("/speak")
    async def speak() -> str:
        return "spoken"

    outer = FastAPI()
    outer.include_router(router, prefix="/v1")
    outer.mount("/inner", app(needs(board, "tts")))
    for path in ("/v1/speak", "/inner/speak"):
        answer = await post(outer, path)
        assert (answer.status_code, answer.json()["type"]) == (425, "initialization"), path
    tts.ready()
    assert [(await post(outer, path)).status_code for path in ("/v1/speak", "/inner/speak")] == [200, 200]


async def test_the_application_s_own_handler_of_errors_does_not_wrap_the_body(board: Board, tts: Component) -> None:
    guarded = app(needs(board, "tts"))

    @guarded.exception_handler(HTTPException)
    async def wrap(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"wrapped": error.detail}, error.status_code)

    assert (await post(guarded)).json()["type"] == "initialization"


async def test_an_application_may_answer_in_its_own_way(board: Board, tts: Component) -> None:
    guarded = app(needs(board, "tts"))

    @guarded.exception_handler(NotReadyAnswer)
    async def own(request: Request, error: NotReadyAnswer) -> Response:
        return PlainTextResponse("please wait", error.status_code, error.headers)

    answer = await post(guarded)
    assert (answer.status_code, answer.text, answer.headers["retry-after"]) == (425, "please wait", "2")


async def test_it_works_below_middleware_of_the_application(board: Board, tts: Component) -> None:
    guarded = app(needs(board, "tts"))

    class Stamp(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            answer = await call_next(request)
            answer.headers["x-stamp"] = "1"
            return answer

    guarded.add_middleware(Stamp)
    answer = await post(guarded)
    assert (answer.status_code, answer.headers["x-stamp"], answer.json()["ready"]) == (425, "1", False)


def test_no_middleware_and_no_handler_is_added_before_the_first_answer(board: Board, tts: Component) -> None:
    guarded, plain = app(needs(board, "tts")), FastAPI()
    assert guarded.user_middleware == plain.user_middleware
    assert set(guarded.exception_handlers) == set(plain.exception_handlers)


async def test_a_websocket_is_closed_with_1013_and_the_reason(board: Board, tts: Component) -> None:
    tts.begin()
    async with Reader(app(needs(board, "tts")), "/talk", kind="websocket") as page:
        assert (await page.next())["type"] == "websocket.accept"
        close = await page.next()
        assert (close["code"], close["reason"]) == (1013, "AI models are still loading")
        await page.ended()


def test_a_page_that_offers_protocols_can_read_the_close_too(board: Board, tts: Component) -> None:
    with (
        TestClient(app(needs(board, "tts"))) as client,
        client.websocket_connect("/talk", subprotocols=["audio.v1", "audio.v2"]) as page,
    ):
        assert page.accepted_subprotocol == "audio.v1"
        with pytest.raises(WebSocketDisconnect) as closed:
            page.receive_text()
    assert closed.value.code == 1013


def test_a_websocket_opens_once_ready(board: Board, tts: Component) -> None:
    tts.ready()
    with TestClient(app(needs(board, "tts"))) as client, client.websocket_connect("/talk") as page:
        assert page.receive_text() == "hello"


async def test_an_endpoint_of_plain_starlette_asks_by_itself(board: Board, tts: Component) -> None:
    requirement = needs(board, "tts")

    async def speak(request: Request) -> Response:
        await requirement(request)
        return PlainTextResponse("spoken")

    def speak_in_thread(request: Request) -> Response:
        requirement.check(request)
        return PlainTextResponse("spoken")

    async def talk(websocket: WebSocket) -> None:
        await requirement(websocket)
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    guarded = Starlette(
        routes=[
            Route("/speak", speak, methods=["POST"]),
            Route("/thread", speak_in_thread, methods=["POST"]),
            WebSocketRoute("/talk", talk),
        ]
    )
    for path in ("/speak", "/thread"):
        early = await post(guarded, path)
        assert (early.status_code, early.json()["type"]) == (425, "initialization")
    async with Reader(guarded, "/talk", kind="websocket") as page:
        await page.next()
        assert (await page.next())["code"] == 1013
    tts.ready()
    assert (await post(guarded)).text == "spoken"


async def test_each_board_is_remembered_by_itself(board: Board, tts: Component) -> None:
    other = Board()
    other.add("tts")
    boards: Sequence[Board] = [board, other]
    asked: list[Board] = []

    def feed_of(connection: HTTPConnection) -> Board:
        asked.append(boards[len(asked) % 2])
        return asked[-1]

    tts.ready()
    guarded = app(Requirement(feed_of, ["tts"]))
    assert [(await post(guarded)).status_code for _ in range(4)] == [200, 425, 200, 425]


def test_the_guard_closes_before_the_failure_is_logged() -> None:
    """Logging may wait for a disk or a pipe, and the model is gone already."""
    answers: list[int] = []

    def log(transition: Transition) -> None:
        if transition.new == Status.ERROR:
            answers.append(client.post("/speak").status_code)

    board = Board(on_transition=log)
    tts = board.add("tts")
    client = TestClient(app(needs(board, "tts")))
    tts.ready()
    assert client.post("/speak").status_code == 200
    tts.fail("gone")
    assert answers == [503]
