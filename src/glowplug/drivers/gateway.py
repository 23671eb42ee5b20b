"""How adapters of a worker speak HTTP to the gateway: one kept connection pool, the worker's token, errors as told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from glowplug.errors import (
    Forbidden,
    GlowplugError,
    NotFound,
    RemoteError,
    Unauthorized,
    Unreachable,
    UserError,
    error_classes,
)

CONNECT_SECONDS = 5.0
# Below the five seconds after which uvicorn closes an idle connection, so that none is used as it closes.
KEPT_SECONDS = 4.0
_BY_STATUS: Mapping[int, type[GlowplugError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    502: Unreachable,
    503: Unreachable,
    504: Unreachable,
}
_ENVELOPE = frozenset({"type", "title", "status", "detail", "code", "retryable", "message"})


def open_session(token: str | None, **headers: str) -> aiohttp.ClientSession:
    """Return a pool of connections that shows `token` and sends `headers` with every request."""
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connector = aiohttp.TCPConnector(keepalive_timeout=KEPT_SECONDS, limit=0)
    return aiohttp.ClientSession(connector=connector, headers=headers, auto_decompress=False)


def refusal(status: int, body: bytes, base_url: str) -> GlowplugError:
    """Rebuild the error that an answer tells of, by its problem code or else by its status."""
    problem = _problem(body)
    message = str(problem.get("detail") or f"the gateway at {base_url} answered {status}")
    fallback = _BY_STATUS.get(status, UserError if 400 <= status < 500 else RemoteError)
    kind = error_classes().get(str(problem.get("code", "")), fallback)
    return kind(message, **{key: value for key, value in problem.items() if key not in _ENVELOPE})


def _problem(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
