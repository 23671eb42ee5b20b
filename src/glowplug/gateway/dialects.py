"""The shape of an error where another protocol is spoken: made of the problem document, decided by the path. Pure.

OpenAI's routes and those of the Open Inference Protocol answer in the shape of their own protocol. Paths that belong
to a protocol and to us (`/v1/models`, the readiness of `/v2`) answer with the problem document and, as one more member
`error`, with what the protocol's clients read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from glowplug.errors import GlowplugError
from glowplug.problem import MEDIA_TYPE, problem_body

JSON = "application/json"
_OPENAI = re.compile(r"/v1/(?:embeddings|images|audio|chat)(?:/.*)?", re.DOTALL)
_MODELS = re.compile(r"/v1/models(?:/[^/]*)?")
_READINESS = re.compile(r"/v2/(?:health/.*|models/[^/]*/ready)")
_INFERENCE = re.compile(r"/v2(?:/.*)?", re.DOTALL)
_LOADING = frozenset({"pending", "fetching", "loading", "warming", "sleeping"})
_CODES = {
    "unauthorized": "invalid_api_key",
    "unknown_task": "model_not_found",
    "rate_limited": "rate_limit_exceeded",
    "bug": "internal_error",
}
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


@dataclass(frozen=True, slots=True)
class Said:
    """An error as it goes over the wire."""

    status: int
    body: Mapping[str, Any]
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


def said(path: str, problem: Mapping[str, Any]) -> Said:
    """Return how the error of a problem document is told at `path`."""
    status = int(problem["status"])
    if _OPENAI.fullmatch(path):
        status = 400 if status == 422 else status
        return Said(status, {"error": openai_error(problem)}, JSON, _advice(problem))
    if _READINESS.fullmatch(path):
        return Said(status, {**problem, "error": problem["detail"]}, MEDIA_TYPE)
    if _INFERENCE.fullmatch(path):
        return Said(400 if status == 422 else status, {"error": problem["detail"]}, JSON)
    if _MODELS.fullmatch(path):
        return Said(status, {**problem, "error": openai_error(problem)}, MEDIA_TYPE, _advice(problem))
    return Said(status, problem, MEDIA_TYPE)


def openai_error(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `error` member that OpenAI's clients read."""
    status = int(problem["status"])
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"message": problem["detail"], "type": kind, "param": _param(problem), "code": _code(problem)}


def openai_event(error: GlowplugError) -> dict[str, Any]:
    """Return the last event of a stream that breaks off: its status has been sent long ago."""
    return {"error": openai_error(problem_body(error))}


def _code(problem: Mapping[str, Any]) -> str:
    code, state = str(problem["code"]), problem.get("state")
    if code == "not_found" and "model" in problem:
        return "model_not_found"
    if code == "not_ready" and state in _LOADING:
        return "model_loading"
    return _CODES.get(code, code)


def _param(problem: Mapping[str, Any]) -> str | None:
    fields = problem.get("fields") or [{}]
    return fields[0].get("path") or None


def _advice(problem: Mapping[str, Any]) -> dict[str, str]:
    """Say whether to send it again: OpenAI's clients would repeat every answer of 500 and above."""
    hopeless = int(problem["status"]) >= 500 and not problem["retryable"]
    return {"x-should-retry": "false"} if hopeless else {}
