"""Why a component cannot take work now, as the error that callers get: one decision for every route. Pure."""

from __future__ import annotations

from typing import Any

from glowplug.errors import Draining, LoadFailed, NotReady
from glowplug.readiness.component_snapshot import ComponentSnapshot
from glowplug.readiness.state import Gates, Status

UNKNOWN_SECONDS = 2
LONGEST_SECONDS = 30


def why_not_ready(one: ComponentSnapshot) -> NotReady:
    """Return the error for a component that does not serve; `data["retry_after"]` is there only if asking again helps.

    `LoadFailed` is for what stays so until somebody acts. One that was ready, and of which only what it leans on is
    gone, comes back by itself.
    """
    name, seconds = one.name, one.estimated_seconds
    why = one.failure.error if one.failure else one.reason or "no reason was told"
    known: dict[str, Any] = {"component": name, "state": one.status.value, "estimated_seconds": seconds}
    if one.status is Status.DRAINING:
        return Draining(f"the worker of {name} is leaving; call again to reach another one", retry_after=1, **known)
    if one.status.is_failed and one.gates is Gates.START and one.was_ready:
        return NotReady(f"{name} does not work at the moment: {why}", retry_after=UNKNOWN_SECONDS, **known)
    if one.status.is_failed:
        return LoadFailed(f"{name} could not be loaded: {why}", **known)
    wait = UNKNOWN_SECONDS if seconds is None else min(LONGEST_SECONDS, seconds)
    last = f"{why}; " if one.failure else ""
    said = f"{name} is not ready yet ({one.status}): {last}ask again"
    return NotReady(said, retry_after=wait, progress=int(one.percent), **known)
