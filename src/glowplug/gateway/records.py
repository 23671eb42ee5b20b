"""Records of workers, as several gateways share them: what is newer, and what is worth writing. Pure.

Announcements of one process are numbered, so their order needs no clock. Only what has no number is told apart by the
time at which the worker was last seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from glowplug.store import WorkerRecord

NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def is_news(stored: WorkerRecord, known: WorkerRecord) -> bool:
    """Say whether `stored` knows more of the worker than `known` does."""
    if stored.incarnation == known.incarnation and stored.sequence != known.sequence:
        return stored.sequence > known.sequence
    if stored.last_seen == known.last_seen:
        return shared_part(stored) != shared_part(known)
    return stored.last_seen > known.last_seen


def durable_part(record: WorkerRecord) -> WorkerRecord:
    """Return what a gateway that is alone writes when it changes: the rest is announced again after a restart."""
    return replace(record, last_seen=NEVER, snapshot={}, failed_probes=0, sequence=-1, gateway="", slots={})


def shared_part(record: WorkerRecord) -> WorkerRecord:
    """Return what other gateways must know as soon as it changes: of the picture, how each component stands.

    Whether a worker can be reached at its address is for each gateway to find out.
    """
    return replace(record, last_seen=NEVER, snapshot=_standing(record.snapshot), failed_probes=0, sequence=-1)


def _standing(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    components = snapshot.get("components", ())
    statuses = {str(one.get("name")): one.get("status") for one in components if isinstance(one, Mapping)}
    return {"state": snapshot.get("state"), "components": statuses}
