"""What is sent over SQS and to where: addresses, names of queues, groups of messages. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from glowplug.broker import Hint
from glowplug.drivers.aws import checked_endpoint
from glowplug.errors import SettingsError

LONGEST_QUEUE_NAME = 80
LONGEST_REASON = 1000
BATCH = 10
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


def group_of(hint: Hint, *, fifo: bool) -> str | None:
    """Return the message group: the owner, so that one who sends much does not hold up the rest.

    A FIFO queue has to have one; there, a hint without an owner is a group of its own.
    """
    group = hint.owner or (hint.job_id if fifo else "")
    if not group:
        return None
    return group if _GROUP.fullmatch(group) else hashlib.sha256(group.encode()).hexdigest()


def reason_attributes(reason: str) -> Mapping[str, Any]:
    """Return the message attributes that say why something is a dead letter."""
    plain = "".join(sign if sign.isprintable() else " " for sign in reason)[:LONGEST_REASON]
    return {"reason": {"DataType": "String", "StringValue": plain or "unknown"}}


def by_tens(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut into batches of the size that SQS takes."""
    for begin in range(0, len(items), BATCH):
        yield items[begin : begin + BATCH]
