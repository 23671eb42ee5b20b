"""What brokers that carry hints send: the body of a hint, and the letter that tells of a failed job. Pure."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from glowplug.broker import Hint
from glowplug.errors import InvalidInput
from glowplug.job import Attempt, Job

SCHEMA_VERSION = 1
LONGEST_ID = 512
# SQS takes 1 MiB, but what speaks like it, and SQS not long ago, a quarter of that.
LETTER_BYTES = 200_000


def body_of(hint: Hint) -> str:
    """Return the message that carries a hint."""
    said = {"job_id": hint.job_id, "task": hint.task, "priority": hint.priority, "owner": hint.owner}
    return json.dumps({**said, "schema_version": SCHEMA_VERSION}, separators=(",", ":"))


def hint_of(body: str | bytes, model: str) -> Hint:
    """Read a message of the queue of `model`. Raises `InvalidInput` with the reason."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"not JSON: {error}") from error
    if not isinstance(said, dict):
        raise InvalidInput("not a JSON object")
    if said.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise InvalidInput(f"its schema_version is not {SCHEMA_VERSION}, the one that this release reads")
    job_id, task, priority = said.get("job_id"), said.get("task"), said.get("priority", 0)
    for name, value in (("job_id", job_id), ("task", task)):
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID:
            raise InvalidInput(f"{name} is missing, or no text of at most {LONGEST_ID} characters")
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise InvalidInput("priority is no whole number")
    owner = said.get("owner", "")
    hint = Hint(str(job_id), str(task), priority, owner if isinstance(owner, str) else "")
    if hint.model != model:
        raise InvalidInput(f"task {hint.task[:80]!r} is of another model than this queue")
    return hint


def letter(job: Job) -> str:
    """Return the dead letter of a failed job: what was asked, and each attempt at it."""
    said: dict[str, Any] = {
        "job_id": job.id,
        "task": job.task,
        "owner": job.owner,
        "state": job.state.value,
        "created_at": _time(job.created_at),
        "finished_at": _time(job.finished_at),
        "failure": {"code": job.failure.code, "message": job.failure.message} if job.failure else None,
        "attempts": [_told(attempt) for attempt in job.attempts],
        "metadata": job.metadata,
        "input": job.input,
    }
    # The row has them still; a letter that no queue takes would be told to nobody.
    for spared in ("input", "metadata", "attempts"):
        if len(text := json.dumps(said, default=str)) <= LETTER_BYTES:
            return text
        said |= {spared: None, "left_out": [*said.get("left_out", []), spared]}
    return json.dumps(said, default=str)


def _told(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "worker": attempt.worker_id,
        "started_at": _time(attempt.started_at),
        "ended_at": _time(attempt.ended_at),
        "outcome": attempt.outcome.value if attempt.outcome else None,
        "error": f"{attempt.failure.code}: {attempt.failure.message}" if attempt.failure else None,
    }


def _time(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
