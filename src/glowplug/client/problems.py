"""From an answer that is an error to our own exception; and whether to ask again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glowplug.errors import (
    Forbidden,
    GlowplugError,
    NotFound,
    NotReady,
    RemoteError,
    TooLarge,
    Unauthorized,
    Unreachable,
    UserError,
    error_classes,
)
from glowplug.runtime.backoff import Backoff

LONGEST_DETAIL = 500
_BY_STATUS: Mapping[int, type[GlowplugError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    413: TooLarge,
    425: NotReady,
    503: NotReady,
}
_ENVELOPE = frozenset({"type", "title", "status", "detail", "code", "instance", "retryable", "message"})


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> GlowplugError:
    """Rebuild the error of an answer; a body that is no problem+json is judged by its status."""
    problem = _json_object(body) or {"detail": _plain(body)}
    if (wait := _seconds(headers.get("retry-after"))) is not None:
        problem.setdefault("retry_after", wait)
    return told_error({"status": status, **problem})


def told_error(problem: Mapping[str, Any]) -> GlowplugError:
    """Rebuild the error that a problem+json object tells."""
    said = problem.get("status")
    status = said if isinstance(said, int) else 500
    detail = str(problem.get("detail") or problem.get("title") or f"the gateway answered {status}")
    data = {key: value for key, value in problem.items() if key not in _ENVELOPE}
    fallback = _BY_STATUS.get(status, RemoteError if status >= 500 else UserError)
    kind = error_classes().get(str(problem.get("code")), fallback)
    error = kind(detail)
    # Not as keywords: what a gateway calls its data must not meet the names of parameters.
    error.data.update(data)
    return error


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request that is safe to repeat is sent again: at most `attempts` times in all."""

    attempts: int = 5
    backoff: Backoff = Backoff(base_seconds=0.2, cap_seconds=5.0)
    longest_wait_seconds: float = 30.0

    def pause_seconds(self, error: GlowplugError, failures: int) -> float | None:
        """Return how long to wait before asking again after the `failures`-th failure, None to give up."""
        temporary = isinstance(error, Unreachable) or (isinstance(error, NotReady) and error.retryable)
        if not temporary or failures >= self.attempts:
            return None
        asked = error.data.get("retry_after")
        pause = self.backoff.delay_seconds(failures)
        return min(self.longest_wait_seconds, max(pause, float(asked))) if isinstance(asked, (int, float)) else pause


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        read = json.loads(body)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _plain(body: bytes) -> str:
    text = body.decode(errors="replace").strip()
    return "" if text.startswith(("<", "{", "[")) else text[:LONGEST_DETAIL]


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isascii() and header.isdigit() else None
