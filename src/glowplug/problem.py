"""Errors as the body that HTTP callers get: application/problem+json, RFC 9457; one shape wherever it is answered."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from glowplug.errors import GlowplugError, NotReady, RateLimited

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
LONGEST_RETRY_AFTER_SECONDS = 30
_STANDARD = frozenset({"type", "title", "status", "detail", "code", "retryable"})


def problem_body(error: GlowplugError) -> dict[str, Any]:
    """Return the problem document of an error: the standard members, then its data."""
    data = {key: value for key, value in error.data.items() if key not in _STANDARD}
    if isinstance(error, NotReady | RateLimited):
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


def retry_after(error: GlowplugError) -> int:
    """Return when to ask again, in whole seconds from 1 to 30."""
    said = error.data.get("retry_after")
    seconds = said if isinstance(said, int | float) else RETRY_AFTER_SECONDS
    return max(1, min(LONGEST_RETRY_AFTER_SECONDS, math.ceil(seconds)))
