"""The door to an MQTT broker: jobs, workers and readiness, for pages and programs that subscribe to topics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote

from glowplug.clock import Clock
from glowplug.door import DAY_SECONDS, Door, Reception, Told
from glowplug.doors.job_events import HOME, encoded
from glowplug.drivers.mqtt import MqttConnection
from glowplug.drivers.mqtt_address import MqttAddress
from glowplug.errors import SettingsError, Unreachable
from glowplug.events import emit
from glowplug.job import NOTE_TYPES, TERMINAL_TYPES, Follower, Job, JobEvent, JobRequest
from glowplug.lifecycle import cancel
from glowplug.readiness.feed import Feed
from glowplug.store import WorkerRecord

# What the brokers in the clouds take at most.
LARGEST_BYTES = 128 * 1024
KEPT_SECONDS = int(DAY_SECONDS)
LONGEST_PREFIX = 200


@dataclass(frozen=True, kw_only=True)
class MqttOptions:
    """Where the broker is, below which topic it is told, and the `source` of the events.

    `readiness` finds what shows how ready all workers are, once the door is started; None: that is not told.
    """

    address: MqttAddress
    prefix: str = "glowplug"
    source: str = HOME
    readiness: Callable[[], Feed] | None = None

    @classmethod
    def from_url(cls, url: str, *, ca_file: Path | None = None, **more: Any) -> Self:
        """Return the options with the address of `mqtt://…` or `mqtts://…`. Raises `SettingsError`."""
        return cls(address=MqttAddress.parse(url, ca_file=ca_file), **more)

    def check(self) -> None:
        """Raise `SettingsError` for a prefix that no topic can begin with."""
        parts = self.prefix.split("/")
        wrong = len(self.prefix.encode(errors="replace")) > LONGEST_PREFIX or not self.prefix.isprintable()
        if wrong or "" in parts or any(sign in self.prefix for sign in "+#") or self.prefix.startswith("$"):
            raise SettingsError(f"mqtt.prefix is a topic such as glowplug or plant/glowplug, not {self.prefix[:80]!r}")


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics below a prefix. What stands for an id is escaped, so that it is one level and no wildcard."""

    prefix: str

    @property
    def gateway(self) -> str:
        """Where it is said whether a gateway is there: `online` or `offline`."""
        return f"{self.prefix}/gateway/state"

    @property
    def readiness(self) -> str:
        """Where it is said how ready the models of all workers are."""
        return f"{self.prefix}/readiness"

    def job(self, event: JobEvent) -> str:
        """Return where an event of a job goes: what it reports while it runs is its progress, the rest its state."""
        return f"{self.prefix}/jobs/{_level(event.job_id)}/{'progress' if event.type in NOTE_TYPES else 'state'}"

    def worker(self, instance_id: str) -> str:
        """Return where a worker's state is told."""
        return f"{self.prefix}/workers/{_level(instance_id)}/state"


@dataclass(frozen=True, slots=True)
class Picture:
    """What a retained topic shows at the moment."""

    body: bytes
    expiry_seconds: int | None = None


class MqttDoor(Door):
    """Tells every event of every job, and keeps pictures of the workers and of readiness up to date."""

    name: ClassVar[str] = "mqtt"
    longest_pause_seconds: ClassVar[float] = 5.0

    def __init__(self, options: MqttOptions, *, clock: Clock) -> None:
        self._options = options
        self._topics = Topics(options.prefix)
        self._connection = MqttConnection(
            options.address, presence=self._topics.gateway, clock=clock, on_change=self._changed
        )
        self._reception: Reception | None = None
        self._pictures: dict[str, Picture] = {}
        self._stale: set[str] = set()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def welcome(self, reception: Reception) -> None:
        """Hand the door what it may ask of the gateway."""
        self._reception = reception
        reception.follow_workers(self._show_worker)

    def follower(self, request: JobRequest) -> Follower | None:
        """Follow every job, whoever asked for it."""
        del request
        return Follower(self.name)

    async def tell(self, job: Job, events: Sequence[JobEvent]) -> Told:
        """Publish the events, each acknowledged by the broker before the next."""
        told = events[0].seq - 1
        try:
            for event in events:
                await self._publish(job, event)
                told = event.seq
        except Unreachable as error:
            return Told(told, error.message)
        return Told(told)

    async def _publish(self, job: Job, event: JobEvent) -> None:
        is_state = event.type not in NOTE_TYPES
        await self._connection.publish(
            self._topics.job(event),
            encoded(job, event, self._options.source, LARGEST_BYTES),
            retain=is_state,
            # Else a broker would keep the states of all jobs that there ever were.
            expiry_seconds=KEPT_SECONDS if event.type in TERMINAL_TYPES else None,
        )

    async def _start(self) -> None:
        self._options.check()
        for record in self._reception.workers() if self._reception is not None else ():
            self._show_worker(record)
        await self._connection.start()
        self._tasks = [asyncio.create_task(self._keep_pictures(), name="mqtt pictures")]
        if self._options.readiness is not None:
            self._tasks.append(asyncio.create_task(self._watch(self._options.readiness()), name="mqtt readiness"))

    async def _stop(self) -> None:
        for task in self._tasks:
            await cancel(task)
        self._tasks = []
        await self._connection.stop()

    async def _watch(self, feed: Feed) -> None:
        async for snapshot in feed.watch():
            self._show(self._topics.readiness, snapshot.api_ready())

    def _show_worker(self, record: WorkerRecord) -> None:
        body = {
            "instance_id": record.instance_id,
            "status": record.status,
            "models": list(record.models),
            "error": record.error,
        }
        gone = record.status == "offline"
        self._show(self._topics.worker(record.instance_id), body, KEPT_SECONDS if gone else None)

    def _show(self, topic: str, body: Mapping[str, Any], expiry_seconds: int | None = None) -> None:
        picture = Picture(json.dumps(body, separators=(",", ":")).encode(), expiry_seconds)
        if picture != self._pictures.get(topic):
            self._pictures[topic] = picture
            self._stale.add(topic)
            self._news.set()

    async def _keep_pictures(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._stale and self._connection.connected:
                await self._refresh(self._stale.pop())

    async def _refresh(self, topic: str) -> None:
        picture = self._pictures[topic]
        try:
            await self._connection.publish(topic, picture.body, retain=True, expiry_seconds=picture.expiry_seconds)
        except Unreachable:
            # All are shown again once the connection is back.
            return

    def _changed(self, why: str | None) -> None:
        target = self._options.address.shown
        if why is not None:
            emit("door.lost", door=self.name, target=target, error=why)
            return
        emit("door.connected", door=self.name, target=target)
        self._stale |= set(self._pictures)
        self._news.set()


def _level(text: str) -> str:
    # quote() leaves dots and letters as they are, and nothing that has a meaning in a topic.
    return quote(text, safe="")
