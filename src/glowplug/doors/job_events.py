"""Job events as bytes for those who listen: CloudEvents in their structured JSON form."""

from __future__ import annotations

import json
from typing import Any

from glowplug.door import cloud_event
from glowplug.job import Job, JobEvent

STRUCTURED = "application/cloudevents+json"
HOME = "/glowplug"
ALWAYS_TOLD = ("job_id", "task", "owner", "seq")


def encoded(job: Job, event: JobEvent, source: str, limit_bytes: int) -> bytes:
    """Return an event as JSON; one above the limit names in `left_out` what is to be read from the job itself."""
    made = cloud_event(job, event, source)
    body = _json(made)
    if len(body) <= limit_bytes:
        return body
    data = made["data"]
    left_out = sorted(set(data) - set(ALWAYS_TOLD))
    return _json({**made, "data": {**{name: data[name] for name in ALWAYS_TOLD}, "left_out": left_out}})


def _json(value: Any) -> bytes:
    # An error may quote the name of a broken file, which UTF-8 cannot hold.
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
