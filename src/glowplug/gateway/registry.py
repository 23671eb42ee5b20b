"""The registry: which workers there are, how they stand, and which of them may be sent what.

Memory is what is asked, at once; the store gets what is durable, so that a restarted gateway forgets nobody.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from glowplug.clock import Clock
from glowplug.errors import InvalidInput
from glowplug.events import emit
from glowplug.gateway import pictures
from glowplug.gateway.policy import GatewayPolicy
from glowplug.gateway.records import NEVER, durable_part, is_news, shared_part
from glowplug.lifecycle import Startable
from glowplug.link import Register
from glowplug.readiness import MergedBoard, Snapshot
from glowplug.store import Store, WorkerRecord

LONGEST_NAME = 200
# How often other gateways are told that a worker is still there, and how old such news may be at first sight.
SEEN_SECONDS = 10.0
FRESH_SECONDS = 2 * SEEN_SECONDS
_PROBED = {"unhealthy": "error", "error": "error", "draining": "draining"}


@dataclass(slots=True)
class Entry:
    """One worker as this gateway knows it.

    `announced`: it has registered with this very process over the link, or with another gateway on the same store and
    then called this one. `linked` says whether the picture is the worker's own or drawn from notices and probes.
    `heard` is False for what is only remembered from before a restart: it is listed, but nothing is sent to it and no
    model is ready by it.
    """

    record: WorkerRecord
    seen: float
    picture: Snapshot
    linked: bool = False
    heard: bool = False
    announced: bool = False
    outstanding: int = 0
    written: WorkerRecord | None = None
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def online(self) -> bool:
        """Say whether it is thought to be there."""
        return self.record.status != "offline"

    @property
    def takes_orders(self) -> bool:
        """Say whether an order reaches it: it is there, and has a link to this very process."""
        return self.announced and self.online

    @property
    def ready_models(self) -> frozenset[str]:
        """Return the models that it may be sent work for."""
        return pictures.ready_models(self.picture) if self.online and self.heard else frozenset()

    @property
    def models(self) -> frozenset[str]:
        """Return every model that it has, in whatever state."""
        return frozenset((*self.record.models, *(one.name for one in self.picture.components)))


class Registry(Startable):
    """All workers by instance id, and `board`, their models joined.

    `on_change` is called with the id after every change of what a worker may get. On a store that is shared, what one
    gateway hears of a worker the others know soon; `leads` says whether this one judges workers that nobody hears.
    `offers` says whether a worker asks for jobs of a model at this moment, so that a slot of it is free.
    """

    def __init__(self, store: Store, clock: Clock, policy: GatewayPolicy, name: str = "") -> None:
        self._store = store
        self._clock = clock
        self._policy = policy
        self._name = name
        self._entries: dict[str, Entry] = {}
        self.board = MergedBoard(clock)
        self.on_change: Callable[[str], None] = _ignore
        self.leads: Callable[[], bool] = lambda: True
        self.offers: Callable[[str, str], bool] = lambda instance_id, model: False

    async def _start(self) -> None:
        if self._store.shared:
            await self.refresh()
            return
        for record in await self._store.workers():
            unseen = max(0.0, (self._clock.now() - record.last_seen).total_seconds())
            picture = _remembered(record)
            # Whoever neither announces itself nor has an address cannot be asked again: its last notice stands.
            entry = self._put(record, picture, heard=not record.snapshot and record.url is None)
            entry.seen, entry.written = self._clock.monotonic() - unseen, record

    # What others ask.

    def __iter__(self) -> Iterator[Entry]:
        return iter([self._entries[name] for name in sorted(self._entries)])

    def get(self, instance_id: str) -> Entry | None:
        """Return a worker's entry, None for one never heard of."""
        return self._entries.get(instance_id)

    def knows(self, instance_id: str, incarnation: str) -> bool:
        """Say whether exactly this process has announced itself to this gateway."""
        entry = self._entries.get(instance_id)
        return entry is not None and entry.announced and entry.record.incarnation == incarnation

    def ready_models(self, instance_id: str) -> frozenset[str]:
        """Return the models that a worker may be handed jobs for: only what it announced over the link itself."""
        entry = self._entries.get(instance_id)
        return entry.ready_models if entry is not None and entry.announced else frozenset()

    def unfinished_models(self) -> frozenset[str]:
        """Return the models that some worker has or is bringing up."""
        return frozenset(name for entry in self if entry.online for name in entry.models)

    def pick(self, model: str, *, without: Iterable[str] = ()) -> Entry | None:
        """Return the ready worker with the fewest outstanding direct calls, None if there is none.

        Of equals it is one with a free slot, if any: the others run jobs, which may take long.
        """
        able = [entry for entry in self if self._takes_calls(entry, model) and entry.record.instance_id not in without]

        def load(entry: Entry) -> tuple[int, bool]:
            return entry.outstanding, not self.offers(entry.record.instance_id, model)

        return min(able, key=load, default=None)

    def _takes_calls(self, entry: Entry, model: str) -> bool:
        reachable = entry.record.failed_probes < self._policy.pace.probes_to_offline
        return bool(entry.record.url) and reachable and model in entry.ready_models

    # What workers say.

    async def register(self, message: Register) -> bool:
        """Take in an announcement; say whether it is of a new incarnation. One that is late changes nothing."""
        _check_name(message.instance_id)
        picture = Snapshot.from_dict(message.snapshot)
        await self.confirm(message.instance_id)
        known = self._entries.get(message.instance_id)
        fresh = known is None or known.record.incarnation != message.incarnation
        if known is not None and not fresh and self._is_late(message, known):
            known.announced = True
            self.seen(message.instance_id)
            return False
        record = WorkerRecord(
            instance_id=message.instance_id,
            incarnation=message.incarnation,
            status=pictures.worker_status(picture),
            last_seen=self._clock.now(),
            url=checked_url(message.url),
            model_name=pictures.leading_model(picture),
            load_time_seconds=pictures.load_seconds(picture),
            error="; ".join(picture.errors) or None,
            snapshot=message.snapshot,
            models=tuple(info.name for info in message.models),
            sequence=message.sequence,
            gateway=self._name,
            slots={} if fresh or known is None else known.record.slots,
        )
        entry = self._put(record, picture)
        entry.announced, entry.seen = True, self._clock.monotonic()
        if fresh:
            emit("worker.registered", worker=record.instance_id, models=sorted(entry.models))
        await self._told(entry)
        return fresh

    def _is_late(self, message: Register, known: Entry) -> bool:
        # What a gateway that was alone remembers from before its restart is no reason to refuse anything.
        return (known.announced or self._store.shared) and message.sequence <= known.record.sequence

    def expect(self, instance_id: str, model: str) -> None:
        """Count on a worker that has been started and will announce itself: until then its model is loading.

        Without this the whole would be called ready while a slower worker has not said a word.
        """
        if instance_id in self._entries and self._entries[instance_id].announced:
            return
        record = WorkerRecord(instance_id=instance_id, last_seen=self._clock.now(), model_name=model)
        self._put(record, None).seen = self._clock.monotonic()
        self._changed(instance_id)

    async def noticed(self, record: WorkerRecord) -> None:
        """Take in a ready or error notice, also of a service that has no link; what it leaves out stays."""
        _check_name(record.instance_id)
        known = self._entries.get(record.instance_id)
        if known is not None:
            record = replace(
                known.record,
                status=record.status,
                last_seen=record.last_seen,
                error=record.error,
                failed_probes=0,
                url=record.url or known.record.url,
                model_name=record.model_name or known.record.model_name,
                load_time_seconds=_first(record.load_time_seconds, known.record.load_time_seconds),
            )
        entry = self._put(record, known.picture if known is not None and known.linked else None)
        entry.seen = self._clock.monotonic()
        await self._told(entry)

    def offered(self, instance_id: str, slots: Mapping[str, int]) -> None:
        """Note how many jobs of each model a worker asks for; the most that it ever did is what it can run."""
        entry = self._entries.get(instance_id)
        if entry is None or all(count <= entry.record.slots.get(model, 0) for model, count in slots.items()):
            return
        entry.record = replace(entry.record, slots=dict(Counter(entry.record.slots) | Counter(slots)))
        self._changed(instance_id)

    def seen(self, instance_id: str) -> None:
        """Note a sign of life; one that was given up on comes back as what it last said it was."""
        entry = self._entries.get(instance_id)
        if entry is None:
            return
        # Age is counted on the monotonic clock; the wall time is only shown.
        entry.seen = self._clock.monotonic()
        entry.record = replace(entry.record, last_seen=self._clock.now())
        if not entry.online and entry.announced:
            self._put(replace(entry.record, status=pictures.worker_status(entry.picture)), entry.picture)
            self._changed(instance_id)

    async def probed(self, instance_id: str, found: WorkerRecord | None) -> None:
        """Take in what a probe found, None for a failed one; enough failures in a row make a worker offline."""
        entry = self._entries.get(instance_id)
        if entry is None:
            return
        if found is None:
            await self._probe_failed(entry)
            return
        if not self._may_judge(entry):
            entry.record = replace(entry.record, failed_probes=0)
            return
        self.seen(instance_id)
        # A picture that came over the link is newer than any probe's.
        if not entry.linked:
            await self._told(self._put(found, None))
            return
        remembered_right = found.status == entry.record.status
        await self._told(
            self._put(replace(entry.record, failed_probes=0), entry.picture, heard=entry.heard or remembered_right)
        )

    async def leave(self, instance_id: str, error: str) -> bool:
        """Take a worker for gone, at once: its process is known to have ended. Returns whether it had been ready."""
        entry = self._entries.get(instance_id)
        if entry is None:
            return False
        was_ready = bool(entry.ready_models)
        entry.announced = False
        await self._told(self._put(replace(entry.record, status="offline", error=error), entry.picture, heard=False))
        return was_ready

    async def age(self) -> None:
        """Make those offline that were not seen for too long, forget those long gone, and keep what was seen."""
        now, pace = self._clock.monotonic(), self._policy.pace
        for entry in self:
            unseen = now - entry.seen
            if not entry.online and unseen > self._policy.retention.workers_seconds:
                del self._entries[entry.record.instance_id]
                await self._store.forget_worker(entry.record.instance_id)
            elif entry.online and unseen > pace.max_age_seconds:
                await self._told(self._put(replace(entry.record, status="offline"), entry.picture, heard=entry.heard))
            elif not self._store.shared and _unwritten_seconds(entry) > pace.max_age_seconds / 5:
                await self._write(entry, anyhow=True)

    async def _probe_failed(self, entry: Entry) -> None:
        failed = entry.record.failed_probes + 1
        record = replace(entry.record, failed_probes=failed)
        if not self._may_judge(entry):
            entry.record = record
            return
        # A worker that is heard on the link lives, whatever its own port says; it only gets no direct calls.
        heard = entry.announced and self._clock.monotonic() - entry.seen < self._policy.pace.probe_seconds * 2
        if failed >= self._policy.pace.probes_to_offline and not heard:
            record = replace(record, status="offline")
        await self._told(self._put(record, entry.picture, heard=entry.heard))

    def _may_judge(self, entry: Entry) -> bool:
        """Say whether it is for this gateway to tell by probes how a worker is; else they only count for calls."""
        if not self._store.shared or entry.announced:
            return True
        silent = self._clock.monotonic() - entry.seen >= self._policy.pace.probe_seconds * 2
        return self.leads() and (silent or not entry.linked)

    # What other gateways on the same store hear.

    async def recognizes(self, instance_id: str, incarnation: str) -> bool:
        """Say whether exactly this process has announced itself, to this gateway or to another one on the same store.

        One that did so elsewhere is taken over with what it announced there.
        """
        if self.knows(instance_id, incarnation):
            return True
        await self.confirm(instance_id)
        entry = self._entries.get(instance_id)
        if not self._store.shared or entry is None or not entry.linked or not entry.online:
            return False
        if entry.record.incarnation != incarnation:
            return False
        entry.announced, entry.seen = True, self._clock.monotonic()
        self._put(entry.record, entry.picture)
        self._changed(instance_id)
        return True

    async def confirm(self, instance_id: str) -> None:
        """Make sure that nothing newer was said of a worker to another gateway on the same store."""
        if not self._store.shared:
            return
        entry = self._entries.get(instance_id)
        # Not while this gateway writes: what it has heard itself would look older than what is there.
        async with entry.writing if entry is not None else nullcontext():
            stored = await self._store.worker(instance_id)
        if stored is not None:
            self._take_in(stored)

    async def refresh(self) -> None:
        """Take in what other gateways wrote, and write what they may not know yet."""
        stored = await self._store.workers()
        names = {record.instance_id for record in stored}
        for record in stored:
            self._take_in(record)
        for entry in self:
            if entry.announced and entry.online:
                await self._keep(entry)
            elif entry.written is not None and entry.record.instance_id not in names:
                self._forget(entry.record.instance_id)

    def _take_in(self, stored: WorkerRecord) -> None:
        entry = self._entries.get(stored.instance_id)
        if entry is None:
            self._meet(stored)
            return
        if entry.written == stored:
            return
        entry.written = stored
        if not is_news(stored, entry.record):
            return
        entry.announced = entry.announced and stored.incarnation == entry.record.incarnation
        known = replace(stored, failed_probes=entry.record.failed_probes)
        self._put(known, _remembered(stored))
        entry.seen = self._clock.monotonic()
        self._changed(stored.instance_id)

    def _meet(self, stored: WorkerRecord) -> None:
        unseen = max(0.0, (self._clock.now() - stored.last_seen).total_seconds())
        # What is old may be from before everybody was restarted. It is believed once somebody has heard of it again.
        heard = unseen < FRESH_SECONDS or (not stored.snapshot and stored.url is None)
        entry = self._put(stored, _remembered(stored), heard=heard)
        entry.seen, entry.written = self._clock.monotonic() - unseen, stored
        self._changed(stored.instance_id)

    async def _keep(self, entry: Entry) -> None:
        written = entry.written
        moves = not entry.ready_models and written is not None and written.snapshot != entry.record.snapshot
        anyhow = moves or _unwritten_seconds(entry) >= SEEN_SECONDS
        if anyhow or written is None or shared_part(written) != shared_part(entry.record):
            # Else what was said to another gateway a moment ago would be overwritten with what it was before.
            await self.confirm(entry.record.instance_id)
            await self._write(entry, anyhow=anyhow and entry.announced)

    def _forget(self, instance_id: str) -> None:
        del self._entries[instance_id]
        self.board.forget(instance_id)
        self._changed(instance_id)

    # How it is kept.

    def _put(self, record: WorkerRecord, picture: Snapshot | None, *, heard: bool = True) -> Entry:
        shown = picture or pictures.noticed(record, self._clock.now())
        entry = self._entries.get(record.instance_id)
        previous = entry.record.status if entry else ""
        if entry is None:
            entry = self._entries[record.instance_id] = Entry(record, self._clock.monotonic(), shown)
        entry.record, entry.picture, entry.linked, entry.heard = record, shown, picture is not None, heard
        if entry.online and heard:
            self.board.report(record.instance_id, shown)
        else:
            self.board.forget(record.instance_id)
        if previous != record.status:
            emit("worker.status", worker=record.instance_id, status=record.status, previous=previous)
        return entry

    async def _told(self, entry: Entry) -> None:
        # Heard first, written after: a model that turned ready must not wait for a disk.
        self._changed(entry.record.instance_id)
        await self._write(entry)

    def _changed(self, instance_id: str) -> None:
        self.on_change(instance_id)

    async def _write(self, entry: Entry, *, anyhow: bool = False) -> None:
        part = shared_part if self._store.shared else durable_part
        # One write at a time and always of the newest: an older one that is slow cannot come last.
        async with entry.writing:
            record = entry.record
            if anyhow or entry.written is None or part(entry.written) != part(record):
                await self._store.save_worker(record)
                entry.written = record


def probe_record(record: WorkerRecord, health: Mapping[str, Any], now: datetime) -> WorkerRecord:
    """Return a worker's record after its `/health` has answered."""
    said = str(health.get("status", ""))
    ready = bool(health.get("ready_for_requests", said == "healthy"))
    status = "ready" if ready else _PROBED.get(said, "loading")
    model, error = health.get("model_name"), health.get("error")
    return replace(
        record,
        status=status,
        last_seen=now,
        failed_probes=0,
        model_name=model if isinstance(model, str) else record.model_name,
        error=str(error)[:500] if error and status == "error" else None,
    )


def checked_url(url: str | None) -> str | None:
    """Return a worker's address without a final slash. Raises `InvalidInput` if it is not one we would call."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput(f"not a worker's address: {url[:80]!r}: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or port == 0:
        raise InvalidInput(f"not a worker's address: {url[:80]!r}; it looks like http://host:port")
    return url.rstrip("/")


def status_body(registry: Registry) -> dict[str, Any]:
    """Return the body of `/api/internal/ai-services/status`."""
    services = [
        {
            "instanceId": record.instance_id,
            "status": record.status,
            "lastSeen": iso_z(record.last_seen),
            "modelName": record.model_name,
            "loadTime": record.load_time_seconds,
            "error": record.error,
            "url": record.url,
        }
        for record in (entry.record for entry in registry)
    ]
    return {"services": services, "ready_count": sum(service["status"] == "ready" for service in services)}


def iso_z(moment: datetime) -> str:
    """Return a moment as browsers write it: UTC, milliseconds, a final Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _remembered(record: WorkerRecord) -> Snapshot | None:
    # A picture from another release may not be readable: its worker announces itself again anyway.
    with suppress(InvalidInput):
        return Snapshot.from_dict(record.snapshot) if record.snapshot else None
    return None


def _check_name(instance_id: str) -> None:
    if not 0 < len(instance_id) <= LONGEST_NAME or not instance_id.isprintable():
        raise InvalidInput(f"an instance_id has 1 to {LONGEST_NAME} printable characters")


def _unwritten_seconds(entry: Entry) -> float:
    """Return how long the worker has been seen since that was last written."""
    written_at = entry.written.last_seen if entry.written is not None else NEVER
    return (entry.record.last_seen - written_at).total_seconds()


def _first(new: float | None, old: float | None) -> float | None:
    return old if new is None else new


def _ignore(instance_id: str) -> None:
    del instance_id
