"""Errors as the body that HTTP callers get, application/problem+json (RFC 9457): written, and read again."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

from glowplug.errors import (
    Forbidden,
    GlowplugError,
    NotFound,
    NotReady,
    RateLimited,
    RemoteError,
    TooLarge,
    Unauthorized,
    UserError,
    error_classes,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
LONGEST_RETRY_AFTER_SECONDS = 30
_STANDARD = frozenset({"type", "title", "status", "detail", "code", "retryable"})
_ENVELOPE = _STANDARD | {"instance", "message"}
_BY_STATUS: Mapping[int, type[GlowplugError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    413: TooLarge,
    425: NotReady,
    503: NotReady,
}
# "size: too large", "width=63: no multiple of 8", "messages.0.content: empty".
_PLACE = re.compile(r"((\w+)(?:\.\w+)*)(?:=[^:\s]*)?: ")


def problem_body(error: GlowplugError) -> dict[str, Any]:
    """Return the problem document of an error: the standard members, then its data."""
    data = {key: value for key, value in told_data(error).items() if key not in _STANDARD}
    if passes(error):
        data["retry_after"] = retry_after(error)
    return {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "retryable": error.retryable,
        **data,
    }


def told_data(error: GlowplugError) -> dict[str, Any]:
    """Return the data of an error with its fields in the one shape that callers know."""
    return {**error.data, "fields": told_fields(error)} if "fields" in error.data else error.data


def told_fields(error: GlowplugError, parameters: Collection[str] = ()) -> list[dict[str, str]]:
    """Return the wrong places of an input, each as `path` and `message`, in whatever way the error names them.

    An error that names none is of the one among `parameters` that its message begins with.
    """
    said = error.data.get("fields")
    fields = [_field(one, error.message) for one in said] if isinstance(said, list | tuple) else []
    found = [field for field in fields if field is not None]
    place = None if found else _PLACE.match(error.message)
    if place is not None and place[2] in parameters:
        return [{"path": place[1], "message": error.message.removeprefix(f"{place[1]}: ")}]
    return found


def _field(said: Any, message: str) -> dict[str, str] | None:
    known = said if isinstance(said, Mapping) else {"path": said}
    # Pydantic says `loc` and `msg`, the first as a tuple.
    path, why = known.get("path", known.get("loc")), known.get("message", known.get("msg"))
    if isinstance(path, list | tuple):
        path = ".".join(map(str, path))
    if not isinstance(path, str):
        return None
    return {"path": path, "message": why if isinstance(why, str) else message.removeprefix(f"{path}: ")}


def passes(error: GlowplugError) -> bool:
    """Say whether it is over some time after, or somebody said when to ask again, so that callers are told."""
    return isinstance(error, NotReady | RateLimited) and (error.retryable or "retry_after" in error.data)


def retry_after(error: GlowplugError) -> int:
    """Return when to ask again, in whole seconds from 1 to 30."""
    said = error.data.get("retry_after")
    seconds = said if isinstance(said, int | float) else RETRY_AFTER_SECONDS
    return max(1, min(LONGEST_RETRY_AFTER_SECONDS, math.ceil(seconds)))


def told_error(problem: Mapping[str, Any]) -> GlowplugError:
    """Rebuild the error that a problem+json object tells."""
    said = problem.get("status")
    status = said if isinstance(said, int) else 500
    detail = str(problem.get("detail") or problem.get("title") or f"the answer was {status}")
    data = {key: value for key, value in problem.items() if key not in _ENVELOPE}
    fallback = _BY_STATUS.get(status, RemoteError if status >= 500 else UserError)
    kind = error_classes().get(str(problem.get("code")), fallback)
    error = kind(detail)
    # Not as keywords: what the other side calls its data must not meet the names of parameters.
    error.data.update(data)
    return error
