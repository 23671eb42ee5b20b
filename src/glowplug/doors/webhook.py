"""A webhook: events as signed JSON to one URL of somebody else's, in order, until they are taken or too old."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from glowplug.clock import Clock, SystemClock
from glowplug.doors.signatures import keys_of, new_id, signed
from glowplug.errors import GlowplugError, SettingsError
from glowplug.events import emit
from glowplug.lifecycle import Startable, cancel

if TYPE_CHECKING:
    from glowplug.doors.posting import HttpPost

_GONE = 410


@dataclass(frozen=True, slots=True)
class WebhookPolicy:
    """How long is tried, and how often.

    The n-th pause is between half of and the whole `min(cap, base · 2^(n-1))`; `Retry-After` can make it longer, up to
    the cap. An event is given up `patience_seconds` after it happened. `max_queued` events wait at most: of more, the
    newest. `leave_seconds` is what `stop` gives to those that still wait. `random` returns a number from 0 to 1.
    """

    timeout_seconds: float = 15.0
    base_seconds: float = 1.0
    cap_seconds: float = 300.0
    patience_seconds: float = 3600.0
    max_queued: int = 100
    leave_seconds: float = 3.0
    random: Callable[[], float] = field(default=random.random)

    def pause_seconds(self, failures: int) -> float:
        """Return the pause after the `failures`-th failure in a row, the first being 1."""
        ceiling = min(self.cap_seconds, self.base_seconds * 2.0 ** min(failures - 1, 30))
        return ceiling * (0.5 + self.random() / 2)


DEFAULT_POLICY = WebhookPolicy()


@dataclass(frozen=True, slots=True)
class _Message:
    id: str
    type: str
    body: bytes
    since: float


class Webhook(Startable):
    """Delivers events to `url`, one after the other, signed with `secret` as Standard Webhooks says.

    `secret` is `whsec_` and base64, or several of them while one is being replaced; without any nothing is signed.
    Any 2xx is success, 410 ends it all, everything else is tried again: a receiver must expect to see an id twice.
    Belongs to the event loop in which it is started. Raises `SettingsError` for a URL or a secret that is none.
    """

    def __init__(
        self,
        url: str,
        secret: str | Sequence[str] = (),
        *,
        policy: WebhookPolicy = DEFAULT_POLICY,
        clock: Clock | None = None,
    ) -> None:
        self._url = url
        self.target = shown(url)
        self._keys = keys_of(secret)
        self._policy = policy
        self._clock = clock or SystemClock()
        self._queue: deque[_Message] = deque()
        self._current: _Message | None = None
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._leaving = False
        self._disabled = False
        self._failing_since: float | None = None
        self._pause: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Webhook({self.target!r})"

    def send(self, event: Mapping[str, Any]) -> None:
        """Put an event with a `type` in the queue and return at once; the oldest gives way when too many wait."""
        # An error may quote the name of a broken file, which UTF-8 cannot hold.
        body = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
        message = _Message(new_id(), str(event["type"]), body, self._clock.monotonic())
        if self._disabled:
            self._drop(message, "disabled")
            return
        self._queue.append(message)
        if len(self._queue) > self._policy.max_queued:
            self._drop(self._queue.popleft(), "queue_full")
        self._news.set()

    async def delivered(self) -> None:
        """Wait until nothing is left to deliver, be it taken or given up."""
        while self._queue or self._current is not None:
            self._idle.clear()
            await self._idle.wait()

    async def _start(self) -> None:
        # In a thread, and only where there is a webhook: the library behind it takes its time.
        posting = await asyncio.to_thread(_import_posting)
        self._leaving = False
        # New ones, because those of a former life may belong to another loop.
        self._news, self._idle = asyncio.Event(), asyncio.Event()
        post = posting(self._url, self.target, self._policy.timeout_seconds)
        self._task = asyncio.create_task(self._deliver(post), name="webhook")

    async def _stop(self) -> None:
        self._leaving = True
        self._news.set()
        if self._pause is not None:
            self._pause.cancel()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=self._policy.leave_seconds)
            await cancel(self._task)
            self._task = None
        self._drop_all("shutdown")

    async def _deliver(self, post: HttpPost) -> None:
        failures = 0
        async with post:
            while (message := await self._next()) is not None:
                wanted_pause = await self._attempt(post, message)
                if self._current is None:
                    failures = 0
                    continue
                if self._leaving:
                    return
                failures += 1
                await self._rest(max(wanted_pause, self._policy.pause_seconds(failures)))

    async def _next(self) -> _Message | None:
        """Return the oldest event that is not too old, once there is one; None when leaving without any."""
        while True:
            if self._current is None and self._queue:
                self._current = self._queue.popleft()
            if self._current is None:
                self._idle.set()
                if self._leaving:
                    return None
                self._news.clear()
                await self._news.wait()
            elif self._clock.monotonic() - self._current.since >= self._policy.patience_seconds:
                self._drop(self._current, "too_old")
                self._current = None
            else:
                return self._current

    async def _attempt(self, post: HttpPost, message: _Message) -> float:
        """Post once; return the pause that the receiver wants, in seconds. What is over is no longer current."""
        try:
            await post(message.body, signed(message.id, self._now(), message.body, self._keys))
        except GlowplugError as error:
            if error.data.get("status") == _GONE:
                self._disable()
            elif self._failing_since is None:
                self._failing_since = self._clock.monotonic()
                emit("webhook.failed", target=self.target, error=error.message)
            return float(error.data.get("retry_after", 0.0))
        emit("webhook.delivered", target=self.target, type=message.type)
        if self._failing_since is not None:
            seconds = round(self._clock.monotonic() - self._failing_since, 3)
            emit("webhook.restored", target=self.target, seconds=seconds)
        self._failing_since = self._current = None
        return 0.0

    async def _rest(self, seconds: float) -> None:
        # A task of its own, so that `stop` can cut it short.
        self._pause = asyncio.create_task(self._clock.sleep(min(seconds, self._policy.cap_seconds)))
        try:
            await asyncio.wait([self._pause])
        finally:
            self._pause.cancel()
            self._pause = None

    def _disable(self) -> None:
        self._disabled = True
        emit("webhook.disabled", target=self.target)
        self._drop_all("disabled")

    def _drop_all(self, reason: str) -> None:
        waiting = [*([self._current] if self._current else []), *self._queue]
        self._current = None
        self._queue.clear()
        for message in waiting:
            self._drop(message, reason)
        self._idle.set()

    def _drop(self, message: _Message, reason: str) -> None:
        emit("webhook.dropped", target=self.target, type=message.type, reason=reason)

    def _now(self) -> int:
        return int(self._clock.now().timestamp())


def shown(url: str) -> str:
    """Return a URL as it may be seen: scheme, host and port, for path and query often are the secret.

    Raises `SettingsError` for what is no `http` or `https` URL.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError("the webhook's URL is none") from error
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError("the webhook's URL must start with http:// or https:// and name a host")
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}{f':{port}' if port else ''}"


def _import_posting() -> type[HttpPost]:
    from glowplug.doors.posting import HttpPost

    return HttpPost
