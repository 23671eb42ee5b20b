"""The gateway as one thing with a life: its parts wired together, apart from HTTP."""

from __future__ import annotations

from glowplug.gateway.catalog import Catalog
from glowplug.gateway.desk import Desk
from glowplug.gateway.feed import Feed
from glowplug.gateway.jobs import Jobs
from glowplug.gateway.ledger import Ledger
from glowplug.gateway.parts import GatewayParts
from glowplug.gateway.registry import Registry
from glowplug.job import Job
from glowplug.lifecycle import Startable


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
        self.jobs = Jobs(store, self.ledger, self.catalog, parts.artifacts, self.registry.board, clock, policy)

    async def _start(self) -> None:
        self._connect()
        for part in (self.registry, self.catalog, self.desk):
            await part.start()

    async def _stop(self) -> None:
        self.hang_up()
        for part in (self.desk, self.catalog, self.registry):
            await part.stop()

    def hang_up(self) -> None:
        """End streams and waiting claims, so that a server that is told to stop need not wait for them."""
        self.feed.close()
        self.desk.close()

    async def worker_died(self, instance_id: str) -> None:
        """Take back, at once, all that a worker held whose process is known to have ended."""
        await self.desk.worker_died(instance_id)

    def _connect(self) -> None:
        self.registry.on_change = self.desk.wake
        self.ledger.on_cancel = self.desk.cancel_running
        self.ledger.on_settle = self._learn
        self.jobs.free_slots = self.desk.free_slots

    def _learn(self, job: Job) -> None:
        self.jobs.run_times.learn(job)
