"""Errors as the body that HTTP callers get: application/problem+json, RFC 9457."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from glowplug.errors import GlowplugError

_encoder = msgspec.json.Encoder(enc_hook=str)
RETRY_AFTER_SECONDS = 2


def problem(error: GlowplugError) -> bytes:
    """Return the JSON of an error, its data beside the standard fields."""
    body: dict[str, Any] = {
        **error.data,
        "type": "about:blank",
        "title": error.code.replace("_", " ").capitalize(),
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "retryable": error.retryable,
    }
    return _encoder.encode(body)


def retry_after(error: GlowplugError) -> bytes | None:
    """Return the value of `Retry-After` in whole seconds for an error that passes with time, else None."""
    if error.status != 503:
        return None
    return str(max(1, math.ceil(error.data.get("retry_after", RETRY_AFTER_SECONDS)))).encode()
