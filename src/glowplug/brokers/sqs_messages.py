"""What is sent over SQS and to where: addresses, names of queues, bodies of messages. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from glowplug.broker import Hint
from glowplug.drivers.aws import checked_endpoint
from glowplug.errors import InvalidInput, SettingsError
from glowplug.job import Attempt, Job

LONGEST_QUEUE_NAME = 80
LONGEST_GROUP = 128
LONGEST_ID = 512
LONGEST_REASON = 1000
BATCH = 10
# SQS takes 1 MiB, but what speaks like it, and SQS not long ago, a quarter of that.
LETTER_BYTES = 200_000
HINT_ATTRIBUTES = {"VisibilityTimeout": "60", "ReceiveMessageWaitTimeSeconds": "20"}
DEAD_SECONDS = 14 * 86_400
# Hints go back often while models come and go, and that says nothing against them.
MAX_RECEIVES = 100
FIFO_ATTRIBUTES = {
    "FifoQueue": "true",
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
}
_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,40}")
_REGION = re.compile(r"[a-z0-9-]{2,40}")
_ODD = re.compile(r"[^A-Za-z0-9_-]")
_GROUP = re.compile(r"[A-Za-z0-9!-/:-@\[-`{-~]{1,128}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SqsAddress:
    """Where the queues are: `sqs://region/prefix?endpoint=http://host:port&fifo=true`."""

    region: str
    prefix: str = "glowplug"
    endpoint: str | None = None
    fifo: bool = False

    @classmethod
    def parse(cls, url: str) -> SqsAddress:
        """Read a URL. Raises `SettingsError`, which never repeats what could be a secret."""
        parts = urlsplit(url)
        said = dict(parse_qsl(parts.query, keep_blank_values=True))
        prefix = parts.path.strip("/") or "glowplug"
        if "@" in parts.netloc:
            raise SettingsError("keys do not belong into a broker's URL; set AWS_ACCESS_KEY_ID and its secret")
        if parts.scheme != "sqs" or not _REGION.fullmatch(parts.netloc) or not _PREFIX.fullmatch(prefix):
            raise SettingsError("a broker on SQS is written like sqs://eu-central-1/glowplug, the region first")
        if unknown := sorted(said.keys() - {"endpoint", "fifo"}):
            raise SettingsError(f"a broker on SQS has no option {unknown[0][:40]!r}; there are endpoint and fifo")
        if (fifo := said.get("fifo", "false").lower()) not in ("true", "false"):
            raise SettingsError("fifo is true or false")
        endpoint = checked_endpoint(said["endpoint"]) if "endpoint" in said else None
        return cls(parts.netloc, prefix, endpoint, fifo == "true")

    def queue(self, model: str) -> str:
        """Return the name of a model's queue."""
        return self._named(model, "")

    def dead_letters(self, model: str) -> str:
        """Return the name of the queue for what could not be used."""
        return self._named(model, "-dlq")

    def _named(self, model: str, suffix: str) -> str:
        ending = f"{suffix}.fifo" if self.fifo else suffix
        room = LONGEST_QUEUE_NAME - len(self.prefix) - 1 - len("-dlq.fifo")
        plain = _ODD.sub("_", model)
        if plain != model or len(plain) > room:
            plain = f"{plain[: room - 9]}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"
        return f"{self.prefix}-{plain}{ending}"


def body_of(hint: Hint) -> str:
    """Return the message that carries a hint."""
    return json.dumps({"job_id": hint.job_id, "task": hint.task, "priority": hint.priority, "owner": hint.owner})


def hint_of(body: str, model: str) -> Hint:
    """Read a message of the queue of `model`. Raises `InvalidInput` with the reason."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"not JSON: {error}") from error
    if not isinstance(said, dict):
        raise InvalidInput("not a JSON object")
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


def group_of(hint: Hint, *, fifo: bool) -> str | None:
    """Return the message group: the owner, so that one who sends much does not hold up the rest.

    A FIFO queue has to have one; there, a hint without an owner is a group of its own.
    """
    group = hint.owner or (hint.job_id if fifo else "")
    if not group:
        return None
    return group if _GROUP.fullmatch(group) else hashlib.sha256(group.encode()).hexdigest()


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
    for spared in ("input", "metadata", "attempts", None):
        text = json.dumps(said, default=str)
        if len(text) <= LETTER_BYTES or spared is None:
            break
        said |= {spared: None, "left_out": [*said.get("left_out", []), spared]}
    return text


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


def reason_attributes(reason: str) -> Mapping[str, Any]:
    """Return the message attributes that say why something is a dead letter."""
    plain = "".join(sign if sign.isprintable() else " " for sign in reason)[:LONGEST_REASON]
    return {"reason": {"DataType": "String", "StringValue": plain or "unknown"}}


def by_tens(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut into batches of the size that SQS takes."""
    for begin in range(0, len(items), BATCH):
        yield items[begin : begin + BATCH]
