"""The first second of a server: a port that answers before the application behind it has been imported.

`Doorman` is a bare ASGI app. It answers the liveness probe itself for as long as it lives, says "not ready" to
everything else, and steps aside once `open` hands it the application, until `shut`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from glowplug.errors import SettingsError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_LIVE = (200, b'{"status":"alive"}', b"application/json")
_EARLY_METRICS = b"# HELP glowplug_up The process answers.\n# TYPE glowplug_up gauge\nglowplug_up 1.0\n"
EARLY = "The server has just started and is still opening; ask again in a second."
LATE = "The server is leaving; ask again in a second, when another one may be here."
_OPEN = ((b"cache-control", b"no-store"), (b"access-control-allow-origin", b"*"))
_PROBLEM = {
    "type": "about:blank",
    "title": "Not ready",
    "status": 503,
    "code": "not_ready",
    "retryable": True,
    "ready": False,
    "retry_after": 1,
}


class Doorman:
    """Answers at once, and passes requests on when there is somebody behind the door."""

    def __init__(self) -> None:
        self._application: Application | None = None
        self._why = EARLY
        self._told = _told("INITIALIZING", "initializing", EARLY)

    def open(self, application: Application) -> None:
        """Pass every request but the liveness probe to `application` from now on."""
        self._application = application

    def shut(self) -> None:
        """Let nobody in any more: what is behind the door is about to go. Requests that are inside go on."""
        self._application = None
        self._why = LATE
        self._told = _told("DRAINING", "draining", LATE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] == "http" and scope["path"] == "/livez":
            await _answer(send, *_LIVE)
        elif self._application is not None:
            await self._application(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1013, "reason": "not ready"})
        elif scope["path"] == "/metrics":
            await _answer(send, 200, _EARLY_METRICS, b"text/plain; version=0.0.4; charset=utf-8")
        elif scope["path"] in self._told and scope["method"] in ("GET", "HEAD"):
            body = b"" if scope["method"] == "HEAD" else json.dumps(self._told[scope["path"]]).encode()
            await _answer(send, 200, body, b"application/json", *_OPEN)
        else:
            body = json.dumps({**_PROBLEM, "detail": self._why}).encode()
            await _answer(send, 503, body, b"application/problem+json", (b"retry-after", b"1"))


def _told(state: str, status: str, message: str) -> dict[str, dict[str, Any]]:
    """Return the bodies of the routes that answer 200 always, as a board without any component would have them.

    Written out, for the readiness of the ground floor takes longer to import than there is time here.
    """
    waiting = {"progress": 0, "estimated_seconds": None, "phase": "connecting", "retry_after": 1}
    ready = {"ready": False, "state": state, "services": {}, "startup_time_ms": None, "errors": [], "message": message}
    health = {
        "status": status,
        "model_loaded": False,
        "ready_for_requests": False,
        "gpu_available": False,
        "ready": False,
        "ready_state": state,
    }
    return {"/api/ready": {**ready, **waiting}, "/health": health, "/api/health": health}


async def _answer(send: Send, status: int, body: bytes, media_type: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", media_type), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def bind(host: str, port: int) -> socket.socket:
    """Open the listening socket, before anything slow, so that clients queue instead of being refused.

    Port 0 takes a free one.

    Raises:
        SettingsError: the port is in use, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port, or --port 0 for a free one"
        ) from error
    listener.setblocking(False)
    return listener
