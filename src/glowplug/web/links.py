"""Where each route is: the documented paths, what a prefix makes of them, and how one finds the others."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

LIVE, READY, STARTED = "/livez", "/readyz", "/startupz"
HEALTH, API_HEALTH = "/health", "/api/health"
PROBE, API_READY, ADMIN_READY = "/ready", "/api/ready", "/api/v1/admin/ready"
PROBE_OF, READY_OF = "/ready/{component}", "/readyz/{component}"
STREAM, SOCKET = "/api/ready/stream", "/ws/init/{client_id}"
WARM_UP, RETRY, RETRY_OF = "/api/warmup", "/api/ready/retry", "/api/ready/retry/{component}"
SERVER_LIVE, SERVER_READY, MODEL_READY = "/v2/health/live", "/v2/health/ready", "/v2/models/{name}/ready"
OVERLAY = "/glowplug/overlay.js"


def below(prefix: str, path: str) -> str:
    """Return where `path` is served under `prefix`; what lies below the prefix already stays where it is."""
    return path if not prefix or path.startswith(f"{prefix}/") else prefix + path


def links(prefix: str = "", *, actions: bool = True) -> Mapping[str, str]:
    """Return the addresses of the routes, relative to that of `/api/ready`, so that any proxy may add to the front."""
    routes = {"self": API_READY, "stream": STREAM, "socket": SOCKET, "overlay": OVERLAY}
    routes |= {"retry": RETRY, "warm_up": WARM_UP} if actions else {}
    folder = posixpath.dirname(below(prefix, API_READY))
    return {name: posixpath.relpath(below(prefix, path), folder) for name, path in routes.items()}
