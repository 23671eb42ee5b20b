"""Answers of the readiness routes: flat bodies, and problems for everything else that goes wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from glowplug.errors import GlowplugError, Unauthorized
from glowplug.problem import MEDIA_TYPE, problem_body

# Pages of other origins may read the header only if they are told of it.
EXPOSED = {"Access-Control-Expose-Headers": "Retry-After"}
# Readiness is for everybody and goes without credentials, so a page of any origin may read it.
OPEN = {"Cache-Control": "no-store", "Access-Control-Allow-Origin": "*", **EXPOSED}
CLOSED = {"Cache-Control": "no-store", **EXPOSED}
JSON = "application/json"


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return a body as JSON; what UTF-8 cannot hold, as in the name of a broken file, becomes a question mark."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str).encode(
        errors="replace"
    )


def flat(status: int, body: Mapping[str, Any], headers: Mapping[str, str] = OPEN) -> Response:
    """Return an answer with a documented body."""
    headers = dict(headers)
    if status != HTTPStatus.OK and "retry_after" in body:
        headers["Retry-After"] = str(body["retry_after"])
    return Response(encoded(body), status, headers, JSON)


def plain(status: int, body: Mapping[str, Any]) -> Response:
    """Return an answer for the caller's own eyes."""
    return Response(encoded(body), status, CLOSED, JSON)


def problem(error: GlowplugError, more: Mapping[str, str] = {}) -> Response:
    """Return the answer for an error; `more` are members that another protocol's clients read."""
    body = {**problem_body(error), **more}
    headers = dict(CLOSED)
    if "retry_after" in body:
        headers["Retry-After"] = str(body["retry_after"])
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return Response(encoded(body), error.status, headers, MEDIA_TYPE)
