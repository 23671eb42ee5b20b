"""The gateway as one thing with a life: its parts wired together, apart from HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from glowplug.errors import NotFound
from glowplug.gateway.caller import Caller
from glowplug.gateway.catalog import Catalog
from glowplug.gateway.desk import Desk
from glowplug.gateway.direct import DirectCalls
from glowplug.gateway.dispatch import Ageing, DiskWatch, Duty, Prober, Queues, Reaper, Reconciler, Rota
from glowplug.gateway.doorway import Doorway
from glowplug.gateway.feed import Feed
from glowplug.gateway.jobs import Jobs
from glowplug.gateway.ledger import Ledger
from glowplug.gateway.parts import GatewayParts
from glowplug.gateway.reception import Deliveries, FrontDesk
from glowplug.gateway.registry import Registry
from glowplug.gateway.retention import Cleaner
from glowplug.gateway.room import Room
from glowplug.gateway.shelf import Shelf
from glowplug.gateway.upkeep import Upkeep
from glowplug.lifecycle import Startable, stop_all
from glowplug.readiness import Component
from glowplug.store import Report

COMPONENT = "gateway"


class Gateway(Startable):
    """Everything behind the routes. Start it once the store, the broker and the artifacts are started."""

    def __init__(self, parts: GatewayParts) -> None:
        store, broker, clock, policy = parts.store, parts.broker, parts.clock, parts.policy
        self.parts = parts
        self.policy = policy
        self.feed = Feed(store, clock, heartbeat_seconds=policy.pace.heartbeat_seconds)
        self.ledger = Ledger(store, broker, self.feed, clock)
        self.registry = Registry(store, clock, policy)
        self.catalog = Catalog(store, self.registry.unfinished_models)
        self.desk = Desk(store, broker, self.ledger, self.registry, self.catalog, clock, policy)
        self.room = Room(policy.data_folder, policy.min_free_bytes, parts.free_bytes)
        self.shelf = Shelf(store, parts.artifacts, self.room, policy.limits.artifact_bytes)
        self.jobs = Jobs(store, self.ledger, self.catalog, self.shelf, self.registry.board, clock, policy)
        self.caller = Caller(
            policy.access.worker_token,
            call_seconds=policy.limits.call_seconds,
            warm_up_seconds=policy.limits.warm_up_seconds,
        )
        self.direct = DirectCalls(self.registry, self.catalog, self.caller, clock)
        self.upkeep = Upkeep(self.registry, self.desk, self.catalog, self.caller, clock)
        self.queues = Queues(self.registry)
        self.doorway = Doorway(parts.doors, store, clock)
        self.deliveries = Deliveries(store, clock)
        self.front_desk = FrontDesk(store, self.jobs, self.ledger, self.catalog, self.registry, self.deliveries)
        self.doorway.welcome(self.front_desk)
        self._rota: Rota | None = None

    async def _start(self) -> None:
        own = self.parts.board.add(COMPONENT)
        own.begin()
        self._connect()
        self.feed.open()
        self.room.look()
        self._rota = Rota(self._duties(own), self.parts.clock)
        for part in (self.registry, self.catalog, self.caller, self.desk, self._rota, self.doorway):
            await part.start()
        own.ready()

    async def _stop(self) -> None:
        self.hang_up()
        with suppress(NotFound):
            self.parts.board.remove(COMPONENT)
        await stop_all(
            [self.doorway, *([self._rota] if self._rota else []), self.desk, self.caller, self.catalog, self.registry]
        )

    def hang_up(self) -> None:
        """End streams and waiting claims, so that a server that is told to stop need not wait for them."""
        self.feed.close()
        self.desk.close()
        self.parts.board.hang_up()
        self.registry.board.hang_up()

    def expect(self, instance_id: str, model: str) -> None:
        """Show a model as loading whose worker has been started and has not announced itself yet."""
        self.registry.expect(instance_id, model)

    async def worker_died(self, instance_id: str) -> bool:
        """Take back, at once, all that a worker held whose process has ended; return whether it had been ready."""
        return await self.desk.worker_died(instance_id)

    def _duties(self, own: Component) -> list[Duty]:
        parts, pace = self.parts, self.policy.pace
        return [
            Reaper(self.desk, parts.store, pace, self.policy.lease_seconds),
            Reconciler(parts.store, parts.broker, self.desk, self.queues, own, pace),
            Ageing(self.registry, pace),
            Prober(self.registry, self.caller, parts.clock, pace),
            Cleaner(parts.store, parts.artifacts, parts.clock, self.policy.retention, pace),
            DiskWatch(self.room, pace),
        ]

    def _connect(self) -> None:
        self.registry.on_change = self._worker_changed
        self.ledger.on_cancel = self.desk.cancel_running
        self.ledger.on_settle = self.jobs.run_times.learn
        self.ledger.on_notes = self._noted
        self.ledger.on_written = self.doorway.written
        self.deliveries.on_due = self.doorway.wake
        self.jobs.followers = self.doorway.followers
        self.jobs.free_slots = self.desk.free_slots
        self.jobs.has_room = self.room.enough
        self.jobs.wanted = self.desk.want_loaded
        self.desk.intake_open = self.room.enough
        self.room.on_change = self.desk.wake_all

    def _worker_changed(self, instance_id: str) -> None:
        self.desk.wake(instance_id)
        self.queues.resume()
        self.front_desk.worker_changed(instance_id)

    def _noted(self, reports: Sequence[Report]) -> None:
        self.shelf.remember(reports)
        self.doorway.wake_all()
