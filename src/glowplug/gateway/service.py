"""The gateway as one thing with a life: its parts wired together, apart from HTTP."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import timedelta

from glowplug.errors import NotFound
from glowplug.gateway.arrivals import Arrivals
from glowplug.gateway.caller import Caller
from glowplug.gateway.catalog import Catalog, model_of
from glowplug.gateway.contact import BrokerWatch, Contact
from glowplug.gateway.dead_letters import DeadLetters
from glowplug.gateway.desk import Desk
from glowplug.gateway.direct import DirectCalls
from glowplug.gateway.dispatch import Ageing, DiskWatch, Duty, Expiry, Prober, Queues, Reaper, Reconciler, Rota
from glowplug.gateway.doorway import Doorway
from glowplug.gateway.feed import Feed
from glowplug.gateway.intake import Intake
from glowplug.gateway.jobs import Jobs
from glowplug.gateway.leadership import Leadership, Led
from glowplug.gateway.ledger import Ledger
from glowplug.gateway.newsroom import Newsroom, Sharing
from glowplug.gateway.overtime import Overtime
from glowplug.gateway.parts import GatewayParts
from glowplug.gateway.reception import Deliveries, FrontDesk
from glowplug.gateway.redispatch import Redispatch
from glowplug.gateway.registry import Registry
from glowplug.gateway.relay import Relay, windows
from glowplug.gateway.retention import Cleaner
from glowplug.gateway.room import Room
from glowplug.gateway.shelf import Shelf
from glowplug.gateway.upkeep import Upkeep
from glowplug.job import Job
from glowplug.lifecycle import Startable, stop_all
from glowplug.readiness import Component
from glowplug.store import Report

COMPONENT = "gateway"
BROKER = "broker"
LED = ("reaper", "expiry", "overtime", "redispatch", "relay", "ageing", "retention")


class Gateway(Startable):
    """Everything behind the routes. Start it once the store, the broker and the artifacts are started."""

    def __init__(self, parts: GatewayParts) -> None:
        store, broker, clock, policy = parts.store, parts.broker, parts.clock, parts.policy
        self.parts = parts
        self.policy = policy
        self.feed = Feed(store, clock, heartbeat_seconds=policy.pace.heartbeat_seconds)
        self.ledger = Ledger(store, broker, self.feed, clock)
        name = f"gateway-{secrets.token_hex(6)}"
        self.registry = Registry(store, clock, policy, name)
        self.catalog = Catalog(store, self.registry.unfinished_models)
        self.intake = self._make_intake()
        self.desk = Desk(store, self.intake, self.ledger, self.registry, self.catalog, clock, policy)
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
        self.contact = Contact()
        self.relay = Relay(
            store,
            broker,
            clock,
            windows=lambda: windows(self.registry, self.catalog.tasks),
            leads=lambda: self.leadership.leads("relay"),
        )
        letters = [DeadLetters(broker)] if broker.carries else []
        self.doorway = Doorway([*parts.doors, *letters], store, clock)
        self.newsroom = Newsroom(store, clock)
        # Here, because the store wants to know before it is started.
        store.follow(self.newsroom.heard)
        self.leadership = Leadership(store, clock, name, [*LED, *self.doorway.duties], policy.pace.term_seconds)
        self.deliveries = Deliveries(store, clock)
        self.front_desk = FrontDesk(store, self.jobs, self.ledger, self.catalog, self.registry, self.deliveries)
        self.doorway.welcome(self.front_desk)
        self._rota: Rota | None = None

    async def _start(self) -> None:
        own = self.parts.board.add(COMPONENT)
        own.begin()
        self._connect()
        self._show_broker()
        self.feed.open()
        self.room.look()
        self._rota = Rota(self._duties(own), self.parts.clock)
        for part in self._living():
            await part.start()
        own.ready()

    async def _stop(self) -> None:
        self.hang_up()
        for name in (COMPONENT, BROKER):
            with suppress(NotFound):
                self.parts.board.remove(name)
        await stop_all(reversed(self._living()))

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

    def _make_intake(self) -> Intake:
        parts, lease = self.parts, timedelta(seconds=self.policy.lease_seconds)
        if parts.broker.carries:
            tasks = self.catalog.tasks
            return Arrivals(parts.store, parts.broker, self.ledger, lease, parts.clock, lambda: tasks)
        return Intake(parts.store, parts.broker, self.ledger, lease)

    def _living(self) -> list[Startable]:
        relay = [self.relay] if self.parts.broker.carries else []
        rota = [self._rota] if self._rota else []
        desks = [self.registry, self.catalog, self.caller, self.intake, self.desk]
        news = [self.newsroom] if self.parts.store.shared else []
        return [*desks, self.leadership, *relay, *rota, self.doorway, *news]

    def _duties(self, own: Component) -> list[Duty]:
        parts, pace = self.parts, self.policy.pace
        led: list[Duty] = [
            Reaper(self.desk, parts.store, pace, self.policy.lease_seconds),
            Expiry(self.ledger, pace),
            Overtime(parts.store, self.ledger, parts.clock, lambda: self.catalog.tasks, pace),
            Ageing(self.registry, pace),
            Cleaner(parts.store, parts.artifacts, parts.clock, self.policy.retention, pace),
        ]
        each: list[Duty] = [
            Reconciler(parts.store, parts.broker, self.desk, self.queues, own, pace),
            Prober(self.registry, self.caller, parts.clock, pace),
            DiskWatch(self.room, pace),
        ]
        if parts.broker.carries:
            lost, heard = self.relay.poke, self.contact.heard
            led.append(Redispatch(parts.store, parts.broker, parts.clock, pace, on_lost=lost, on_contact=heard))
            each.append(BrokerWatch(parts.broker, lambda: self.catalog.models, self.contact, pace))
        if parts.store.shared:
            each.append(Sharing(self.registry, self.catalog, pace))
        return [*(Led(duty, self.leadership.leads) for duty in led), *each]

    def _show_broker(self) -> None:
        if self.parts.broker.carries:
            component = self.parts.board.add(BROKER, required=False)
            component.begin()
            self.contact.show_on(component)

    def _connect(self) -> None:
        self.registry.on_change = self._worker_changed
        self.registry.offers = self.desk.offers
        self.registry.leads = lambda: self.leadership.leads("ageing")
        self.newsroom.on_news = self._heard
        self.newsroom.on_cancel = self.desk.cancel_running
        self.desk.on_renewed = self.newsroom.renewed
        self.ledger.on_cancel = self.desk.cancel_running
        self.ledger.on_queued = self._queued
        self.ledger.on_claim = self._claimed
        self.leadership.on_change = self._duty_changed
        self.doorway.leads = self.leadership.leads
        self.relay.on_contact = self.contact.heard
        self.ledger.on_settle = self.jobs.run_times.learn
        self.ledger.on_notes = self._noted
        self.ledger.on_written = self._written
        self.deliveries.on_due = self.doorway.wake
        self.jobs.followers = self.doorway.followers
        self.jobs.free_slots = self.desk.free_slots
        self.jobs.has_room = self.room.enough
        self.direct.wanted = self.desk.want_loaded
        self.direct.refused = self.desk.rouse
        self.desk.intake_open = self.room.enough
        self.room.on_change = self.desk.wake_all

    def _worker_changed(self, instance_id: str) -> None:
        self.desk.wake(instance_id)
        self.queues.resume()
        self.relay.poke()
        self.front_desk.worker_changed(instance_id)

    def _queued(self, jobs: Sequence[Job]) -> None:
        self.relay.poke()
        for model in {job.model for job in jobs}:
            self.desk.want_loaded(model)

    def _claimed(self, jobs: Sequence[Job]) -> None:
        self.newsroom.claimed(jobs)
        self.relay.claimed(jobs)

    def _written(self, jobs: Sequence[Job]) -> None:
        self.newsroom.written(jobs)
        self.doorway.written(jobs)

    async def _heard(self, jobs: Collection[str], tasks: Collection[str]) -> None:
        for job_id in jobs:
            self.feed.heard(job_id)
        for model in {model_of(task) for task in tasks}:
            self.desk.want_loaded(model)
        self.doorway.wake_all()
        self.relay.poke()
        await self.intake.wake(tasks)

    def _duty_changed(self, duty: str) -> None:
        del duty
        self.relay.poke()
        self.doorway.wake_all()

    def _noted(self, reports: Sequence[Report]) -> None:
        self.shelf.remember(reports)
        self.doorway.wake_all()
