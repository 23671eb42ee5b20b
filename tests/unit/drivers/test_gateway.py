"""What a gateway's refusal becomes on the worker's side."""

from __future__ import annotations

import json

import pytest

from glowplug.drivers.gateway import open_session, refusal
from glowplug.errors import (
    DiskFull,
    Forbidden,
    GlowplugError,
    LeaseLost,
    NotFound,
    NotReady,
    RemoteError,
    TooLarge,
    Unauthorized,
    Unreachable,
    UserError,
    error_classes,
)

URL = "http://127.0.0.1:8000"


@pytest.mark.parametrize("kind", error_classes().values())
def test_every_error_of_ours_arrives_as_what_it_was(kind: type[GlowplugError]) -> None:
    problem = {"status": kind.status, "code": kind.code, "detail": "what to do", "retryable": kind.retryable, "more": 1}
    error = refusal(kind.status, json.dumps(problem).encode(), URL)
    assert type(error) is kind
    assert (error.message, error.data) == ("what to do", {"more": 1})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UserError),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (405, UserError),
        (500, RemoteError),
        (502, Unreachable),
        (503, Unreachable),
        (504, Unreachable),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"[]", b'"text"', b"\xff", b'{"code": "unknown"}'])
def test_what_a_proxy_says_is_judged_by_its_status(status: int, kind: type[GlowplugError], body: bytes) -> None:
    error = refusal(status, body, URL)
    assert type(error) is kind
    assert error.message == f"the gateway at {URL} answered {status}"


def test_only_what_helps_is_worth_another_try() -> None:
    told = {kind.code: refusal(kind.status, json.dumps({"code": kind.code}).encode(), URL) for kind in KINDS}
    assert {code for code, error in told.items() if error.retryable} == {"not_ready", "unreachable", "disk_full"}


KINDS = (NotReady, Unreachable, DiskFull, LeaseLost, TooLarge, Unauthorized)


@pytest.mark.parametrize(("token", "header"), [("secret", "Bearer secret"), (None, None), ("", None)])
async def test_a_session_shows_its_token_and_headers(token: str | None, header: str | None) -> None:
    async with open_session(token, **{"Accept-Encoding": "identity"}) as session:
        assert session.headers.get("Authorization") == header
        assert session.headers["Accept-Encoding"] == "identity"
