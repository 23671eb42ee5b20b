"""From an answer that is an error to our own exception; and whether to ask again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glowplug.errors import GlowplugError, NotReady, Unreachable
from glowplug.problem import told_error
from glowplug.runtime.backoff import Backoff

LONGEST_DETAIL = 500


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> GlowplugError:
    """Rebuild the error of an answer; a body that is no problem+json is judged by its status."""
    problem = _json_object(body) or {"detail": _plain(body)}
    if (wait := _seconds(headers.get("retry-after"))) is not None:
        problem.setdefault("retry_after", wait)
    return told_error({"status": status, **problem})


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
