"""Who may call: tokens, allowed host names, and the kinds of body that a web page cannot send by itself."""

from __future__ import annotations

import hmac
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from glowplug.errors import Forbidden, GlowplugError, Unauthorized, UnsupportedMediaType
from glowplug.gateway.policy import Access
from glowplug.gateway.problems import problem
from glowplug.gateway.signing import LinkSigner
from glowplug.gateway.subjects import NOBODY, SAFE_METHODS, Subject, check_reach, remember, subject_of_token

INTERNAL = "/api/internal/"
ARTIFACTS = "/v1/artifacts/"
UPLOADS = "/v1/uploads/"
WEBSOCKET = "WEBSOCKET"
# What the clients of other protocols send there is no JSON.
FORMS = frozenset({"/v1/images/edits", "/v1/audio/transcriptions"})
_INFER = re.compile(r"/v2/models/[^/]+(?:/versions/[^/]+)?/infer")
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?:(?P<name>[\w.-]+)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::\d{1,5})?", re.ASCII)
# Readiness is for everybody: load balancers and waiting pages have no token.
OPEN_PATHS = frozenset(
    {
        "/livez",
        "/readyz",
        "/startupz",
        "/health",
        "/api/health",
        "/ready",
        "/api/ready",
        "/api/ready/stream",
        "/api/v1/admin/ready",
        "/v2/health/live",
        "/v2/health/ready",
        "/glowplug/overlay.js",
        "/metrics",
        "/openapi.json",
        "/",
        "/docs",
    }
)
# Of one component each; what costs compute (a warm-up, a retry) is none of them.
_OPEN_PATH = re.compile(r"/(?:readyz?|ws/init)/[^/]+|/v2/models/[^/]+(?:/versions/[^/]+)?/ready")


def allow(
    access: Access, method: str, path: str, headers: Headers, *, signed: bool = False, operator: str = "local"
) -> Subject:
    """Return who asks if the request may pass; `signed` says that a signature in its address stands for the token.

    Jobs of the `operator` are theirs by that name.

    Raises:
        Forbidden: the host name or the page that sent it is not allowed, or it takes the operator's token.
        Unauthorized: the token is missing or wrong.
        UnsupportedMediaType: a body that is not JSON.
    """
    if access.loopback:
        _check_host(access, headers)
    subject = Subject(operator, sees_all=True) if signed else _subject(access, method, path, headers, operator)
    if method not in SAFE_METHODS and not (method == WEBSOCKET and _tells_readiness(path)):
        _check_origin(access, headers)
    if method not in SAFE_METHODS and method != WEBSOCKET:
        _check_media_type(method, path, headers)
    return subject


def bearer(headers: Headers) -> str:
    """Return the bearer token, or the empty string."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def same(given: str, expected: str) -> bool:
    """Compare two secrets in a time that tells nothing."""
    return hmac.compare_digest(given.encode(), expected.encode())


def _check_host(access: Access, headers: Headers) -> None:
    hosts = headers.getlist("host")
    host = _host_name(hosts[0]) if len(hosts) == 1 else ""
    if host not in LOOPBACK_HOSTS and host not in access.allowed_hosts:
        raise Forbidden(f"the host name {host[:80]!r} is not allowed here; add it to the allowed hosts")


def _subject(access: Access, method: str, path: str, headers: Headers, operator: str) -> Subject:
    token = bearer(headers)
    # Internal routes never rest on loopback: other users of the machine are there too.
    if path.startswith(INTERNAL):
        if not access.worker_token or not same(token, access.worker_token):
            if access.users and subject_of_token(access, token, operator) is not None:
                raise Forbidden("internal routes are for workers: they need the worker token")
            raise Unauthorized("internal routes need the worker token")
        return NOBODY
    subject = subject_of_token(access, token, operator)
    if _is_open(access, path):
        return subject or NOBODY
    if subject is None:
        raise Unauthorized("a token is needed: Authorization: Bearer TOKEN")
    check_reach(subject, method, path)
    return subject


def _is_open(access: Access, path: str) -> bool:
    return _tells_readiness(path) or path.startswith(access.open_paths)


def _tells_readiness(path: str) -> bool:
    return path in OPEN_PATHS or _OPEN_PATH.fullmatch(path) is not None


def _check_origin(access: Access, headers: Headers) -> None:
    origin = headers.get("origin")
    if origin is None or origin in access.allowed_origins:
        return
    # Browsers send it with every request that changes something, forms included, and pages cannot forge it.
    page = origin.partition("://")[2]
    if not page or page != headers.get("host"):
        raise Forbidden(f"pages of {origin[:80]!r} may not change anything here; add it to the allowed origins")


def _check_media_type(method: str, path: str, headers: Headers) -> None:
    if path.startswith((ARTIFACTS, INTERNAL)) or method == "DELETE":
        return
    if method == "PUT" and path.startswith(UPLOADS):
        return
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if _speaks_otherwise(path, media_type):
        _check_site(headers)
        return
    # A form can send text or form data across sites without asking; JSON it cannot.
    empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
    if media_type != "application/json" and not (empty and not media_type):
        raise UnsupportedMediaType("send JSON with Content-Type: application/json")


def _speaks_otherwise(path: str, media_type: str) -> bool:
    if _INFER.fullmatch(path):
        return media_type in ("", "application/octet-stream")
    return path in FORMS and media_type == "multipart/form-data"


def _check_site(headers: Headers) -> None:
    """Refuse what a page can send without asking first: its origin was judged already, if the browser told it."""
    if "origin" not in headers and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Forbidden("pages of other sites may not send this; send it with the origin of an allowed page")


def _host_name(host: str) -> str:
    match = _HOST.fullmatch(host)
    return (match["name"] or match["ipv6"]).lower() if match else ""


class Guard:
    """ASGI middleware that turns away what `allow` refuses."""

    def __init__(self, app: ASGIApp, access: Access, signer: LinkSigner | None = None, operator: str = "local") -> None:
        self._app = app
        self._access = access
        self._signer = signer
        self._operator = operator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with the refusal."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            method, headers = scope.get("method", WEBSOCKET), Headers(scope=scope)
            signed = self._is_signed(method, scope)
            subject = allow(self._access, method, scope["path"], headers, signed=signed, operator=self._operator)
            remember(scope, subject)
        except GlowplugError as error:
            await _refuse(error, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_signed(self, method: str, scope: Scope) -> bool:
        if self._signer is None or method not in ("GET", "HEAD") or not scope["path"].startswith(ARTIFACTS):
            return False
        return self._signer.admits(scope["path"].removeprefix(ARTIFACTS), scope["query_string"].decode("latin-1"))


async def _refuse(error: GlowplugError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": error.code})
        return
    await problem(error, scope["path"])(scope, receive, send)
