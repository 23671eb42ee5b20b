"""The door of webhooks: each job's events as signed JSON to the URL that came with the job, in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, ClassVar
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver

from glowplug.artifact import Artifact
from glowplug.clock import Clock
from glowplug.door import Door, Reception, Told
from glowplug.doors.outbound import Answer, Outbound
from glowplug.doors.signatures import keys_of, signed
from glowplug.drivers.addresses import checked_url
from glowplug.errors import InvalidInput
from glowplug.job import EVENT_TYPES, TERMINAL_TYPES, Follower, Job, JobEvent, JobRequest

DEFAULT_TYPES = ("started", "completed", "failed", "canceled")
EVERY_TYPE = "*"
LONGEST_URL = 2000
_GONE = 410
# What the job's state is after an event; after all others it runs.
_STATES = {"queued": "queued", "requeued": "queued", **{name: name for name in TERMINAL_TYPES}}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWebhookOptions:
    """How webhooks are sent. `secret` is `whsec_` and base64, several of them with spaces between, or empty.

    `allow_private` lets them go to addresses inside the network. `artifact_url` returns where an artifact's bytes are,
    by its key. A tell ends after `events_at_once` events or `budget_seconds`, so that others have their turn.
    """

    secret: str = field(default="", repr=False)
    allow_private: bool = False
    artifact_url: Callable[[str], str] = str
    timeout_seconds: float = 15.0
    events_at_once: int = 20
    budget_seconds: float = 10.0


class JobWebhooks(Door):
    """Posts events to the jobs' own URLs as Standard Webhooks says; `webhook-id` is `{job_id}:{seq}`, always.

    2xx is taken, 410 ends it, everything else is tried again for a day. A URL that leads into a private network is
    refused: at once where it says so itself, else when its name is looked up.
    """

    name: ClassVar[str] = "webhook"
    longest_pause_seconds: ClassVar[float] = 900.0

    def __init__(
        self, options: JobWebhookOptions | None = None, *, clock: Clock, resolver: AbstractResolver | None = None
    ) -> None:
        self._options = options or JobWebhookOptions()
        self._keys = keys_of(self._options.secret)
        self._clock = clock
        self._outbound = Outbound(
            allow_private=self._options.allow_private,
            timeout_seconds=self._options.timeout_seconds,
            resolver=resolver,
        )

    async def _start(self) -> None:
        await self._outbound.start()

    async def _stop(self) -> None:
        await self._outbound.stop()

    def welcome(self, reception: Reception) -> None:
        """Do nothing: nobody comes in here."""

    def follower(self, request: JobRequest) -> Follower | None:
        """Return the job's wish for a webhook. Raises `InvalidInput` for a URL or a type that cannot be."""
        if request.webhook is None:
            if request.webhook_events:
                raise _wrong("webhook_events", "webhook_events needs a webhook")
            return None
        if len(request.webhook) > LONGEST_URL:
            raise _wrong("webhook", f"webhook takes at most {LONGEST_URL} characters")
        checked_url(request.webhook, allow_private=self._options.allow_private)
        types = request.webhook_events
        for one in types:
            if one not in EVENT_TYPES and one != EVERY_TYPE:
                known = ", ".join(sorted(EVENT_TYPES))
                raise _wrong("webhook_events", f"no event {one[:40]!r}; there are {known}, and {EVERY_TYPE} for all")
        return Follower(self.name, () if EVERY_TYPE in types else types or DEFAULT_TYPES)

    def target(self, job: Job) -> str:
        """Return the host and port that the job's webhook goes to."""
        return urlsplit(job.webhook or "").netloc.rpartition("@")[2].lower()

    async def tell(self, job: Job, events: Sequence[JobEvent]) -> Told:
        """Post the events one after the other, up to the first that is not taken."""
        began, taken, status = self._clock.monotonic(), 0, None
        for event in events[: self._options.events_at_once]:
            answer = await self._post(job, event)
            if answer.error:
                return _not_taken(taken, answer)
            taken, status = event.seq, answer.status
            if self._clock.monotonic() - began >= self._options.budget_seconds:
                break
        return Told(taken, status=status)

    async def _post(self, job: Job, event: JobEvent) -> Answer:
        url, now = job.webhook or "", self._clock.now()
        try:
            # Again, because the operator may have changed his mind since.
            checked_url(url, allow_private=self._options.allow_private)
        except InvalidInput as error:
            return Answer(error=error.message, refused=True)
        message = webhook_event(job, event, self._options.artifact_url)
        # An error may quote the name of a broken file, which UTF-8 cannot hold.
        body = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
        headers = signed(f"{job.id}:{event.seq}", int(now.timestamp()), body, self._keys)
        return await self._outbound.post(url, body, headers, now)


def webhook_event(job: Job, event: JobEvent, artifact_url: Callable[[str], str]) -> dict[str, Any]:
    """Return the body of a webhook: `type`, `timestamp` and `data`.

    `data` says where the job stood after the event, not where it is now: a repeated message says the same.
    """
    data: dict[str, Any] = {
        "job_id": job.id,
        "seq": event.seq,
        "task": job.task,
        "state": _STATES.get(event.type, "running"),
        "done": event.type in TERMINAL_TYPES,
        "owner": job.owner,
        "batch_id": job.batch_id,
        "metadata": dict(job.metadata),
        "event": dict(event.data),
    }
    if event.type in TERMINAL_TYPES:
        completed = event.type == "completed"
        data["result"] = event.data.get("result") if completed else None
        data["error"] = _error(event) if event.type == "failed" else None
        data["artifacts"] = [_artifact(one, artifact_url) for one in job.artifacts] if completed else []
        del data["event"]
    at = event.at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return {"type": f"job.{event.type}", "timestamp": at, "data": data}


def _error(event: JobEvent) -> dict[str, Any]:
    return {"code": event.data.get("code", "failed"), "message": event.data.get("message", "")}


def _artifact(artifact: Artifact, artifact_url: Callable[[str], str]) -> dict[str, Any]:
    return {
        "uri": artifact.uri,
        "name": artifact.name,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "media_type": artifact.media_type,
        "url": artifact_url(artifact.key),
    }


def _not_taken(taken: int, answer: Answer) -> Told:
    gone = answer.status == _GONE or answer.refused
    error = "answered 410: it wants nothing more" if answer.status == _GONE else answer.error
    return Told(taken, error, answer.status, answer.retry_after_seconds, gone)


def _wrong(path: str, message: str) -> InvalidInput:
    return InvalidInput(message, fields=[{"path": path, "message": message}])
