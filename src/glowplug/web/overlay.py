"""The overlay's script, served as it lies beside this module."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from glowplug.errors import NotFound

SCRIPT = Path(__file__).with_name("overlay.js")
MEDIA_TYPE = "text/javascript"


async def overlay(request: Request) -> Response:
    """Return the script; browsers keep it, and ask each time whether it is still the same."""
    try:
        changed_ns = SCRIPT.stat().st_mtime_ns
    except FileNotFoundError as error:
        raise NotFound("this installation has no overlay") from error
    script, tag = _read(changed_ns)
    headers = {
        "ETag": tag,
        "Cache-Control": "no-cache",
        "Access-Control-Allow-Origin": "*",
        "X-Content-Type-Options": "nosniff",
    }
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if tag in known:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(script, headers=headers, media_type=MEDIA_TYPE)


@lru_cache(maxsize=1)
def _read(changed_ns: int) -> tuple[bytes, str]:
    del changed_ns
    script = SCRIPT.read_bytes()
    return script, f'"{hashlib.sha256(script).hexdigest()[:20]}"'
