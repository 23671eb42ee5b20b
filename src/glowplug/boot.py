"""The first second of a server: a port that answers before the application behind it has been imported.

`Doorman` is a bare ASGI app. It answers the liveness probe itself for as long as it lives, and everything else as an
application would that is not ready; it steps aside once `open` hands it the application, until `shut`.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from glowplug.clock import Clock, SystemClock
from glowplug.errors import Draining, NotReady, SettingsError
from glowplug.gateway import dialects
from glowplug.problem import problem_body
from glowplug.readiness.snapshot import TOO_EARLY, Body, Snapshot
from glowplug.readiness.state import State

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

EARLY = "The server has just started and is still opening; ask again in a second."
LATE = "The server is leaving; ask again in a second, when another one may be here."
RETRY_AFTER_SECONDS = 1
TRY_AGAIN_LATER = 1013
_JSON, _EVENTS = "application/json", "text/event-stream; charset=utf-8"
_LIVE = b'{"status":"alive"}'
_METRICS = b"# HELP glowplug_up The process answers.\n# TYPE glowplug_up gauge\nglowplug_up 1.0\n"
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FRESH = {"cache-control": "no-store"}
_OPEN = {**_FRESH, "access-control-allow-origin": "*", "access-control-expose-headers": "Retry-After"}
_RETRY_AFTER = {"retry-after": str(RETRY_AFTER_SECONDS)}
_COME_BACK = b"retry: %d\n\n" % (RETRY_AFTER_SECONDS * 1000)
_COMPONENT = re.compile(r"/readyz?/[^/]+")
_MODEL = re.compile(r"/v2/models/([^/]+)/ready")
_FOLLOWED = re.compile(r"/v1/jobs/[^/]+/events")
_INIT = re.compile(r"/ws/init/[^/]+")


class Doorman:
    """Answers at once, and passes requests on when there is somebody behind the door.

    `early_status` is what `/api/v1/admin/ready` says of models that load, as the application will.
    """

    def __init__(self, early_status: int = TOO_EARLY, clock: Clock | None = None) -> None:
        self._early_status = early_status
        self._clock = clock or SystemClock()
        self._application: Application | None = None
        self._leaving = False

    def open(self, application: Application) -> None:
        """Pass every request but the liveness probe to `application` from now on."""
        self._application = application

    def shut(self) -> None:
        """Let nobody in any more: what is behind the door is about to go. Requests that are inside go on."""
        self._application = None
        self._leaving = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] == "http" and scope["path"] == "/livez":
            await _answer(send, 200, _LIVE, _JSON)
        elif self._application is not None:
            await self._application(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._turn_away(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD") or not await self._tell(scope, send):
            await self._refuse(scope["path"], send)

    async def _tell(self, scope: Scope, send: Send) -> bool:
        """Answer what is known already: how ready the server is. Return False for every other path."""
        path, now = scope["path"], self._now()
        if path == "/metrics":
            await _answer(send, 200, _METRICS, _METRICS_TYPE)
        elif path == "/api/ready/stream":
            event = b"data: %b\n\n" % _encoded(_soon(now.api_ready()))
            await _answer(send, 200, _COME_BACK + event, _EVENTS, _OPEN)
        elif _FOLLOWED.fullmatch(path) and _accepts_events(scope):
            # Every other answer than a stream that ends would keep a browser from ever connecting again.
            await _answer(send, 200, _COME_BACK, _EVENTS, _FRESH)
        elif (told := readiness(path, now, self._early_status)) is not None:
            status, body = told
            await _answer(send, status, _encoded(_soon(body)), _JSON, _OPEN | (_RETRY_AFTER if status != 200 else {}))
        else:
            return False
        return True

    async def _refuse(self, path: str, send: Send) -> None:
        said = dialects.said(path, problem_body(self._why()))
        headers = {**_FRESH, **_RETRY_AFTER, **said.headers}
        await _answer(send, said.status, _encoded(said.body), said.media_type, headers)

    async def _turn_away(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept a WebSocket, for what is refused before that is a bare 403, and close it with the reason."""
        await receive()
        # A browser that offered protocols fails, and tells its page nothing, unless one is chosen.
        protocol = next(iter(scope.get("subprotocols", ())), None)
        # Whoever has left meanwhile needs no answer.
        with suppress(OSError):
            await send({"type": "websocket.accept", "subprotocol": protocol})
            if _INIT.fullmatch(scope["path"]):
                await send({"type": "websocket.send", "text": _encoded(self._now().ws_init()).decode()})
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": self._why().message})

    def _now(self) -> Snapshot:
        return Snapshot.of((), taken_at=self._clock.now(), draining=self._leaving)

    def _why(self) -> NotReady:
        kind, said, state = (Draining, LATE, "draining") if self._leaving else (NotReady, EARLY, "pending")
        return kind(said, ready=False, state=state, retry_after=RETRY_AFTER_SECONDS)


def readiness(path: str, now: Snapshot, early_status: int = TOO_EARLY) -> tuple[int, Body] | None:
    """Return status and body of the readiness route at `path`, None if it is none."""
    status, probe = now.ready_probe()
    said = {**probe, "error": probe["detail"]}
    if model := _MODEL.fullmatch(path):
        return status, {"name": model[1], **said}
    if _COMPONENT.fullmatch(path):
        return status, probe
    # Who leaves had started.
    has_started = now.state is State.DRAINING
    return {
        "/health": (200, now.health()),
        "/api/health": (200, now.health()),
        "/api/ready": (200, now.api_ready()),
        "/api/v1/admin/ready": now.admin_ready(early_status),
        "/ready": (status, probe),
        "/readyz": (status, probe),
        "/startupz": (200, {"started": True}) if has_started else (status, {"started": False, **probe}),
        "/v2/health/live": (200, {"live": True}),
        "/v2/health/ready": (status, said),
    }.get(path)


def _soon(body: Body) -> Body:
    """Return the body with when to ask again: this moment is shorter than a load."""
    return {**body, "retry_after": RETRY_AFTER_SECONDS} if "retry_after" in body else body


def _accepts_events(scope: Scope) -> bool:
    return any(name == b"accept" and b"text/event-stream" in value for name, value in scope["headers"])


def _encoded(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


async def _answer(send: Send, status: int, body: bytes, media_type: str, more: dict[str, str] = _FRESH) -> None:
    fields = {"content-type": media_type, "content-length": str(len(body)), **more}
    headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
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
