"""Everything behind the gateway's door: store, broker, artifacts, readiness, metrics and the application."""

from __future__ import annotations

from contextlib import AsyncExitStack

from glowplug import __version__
from glowplug.assembly.adapters import open_artifacts, open_broker, open_store
from glowplug.assembly.alerts import alerts_of
from glowplug.assembly.conversations import conversations_of
from glowplug.assembly.doors import open_doors
from glowplug.assembly.users import rates_of, users_of
from glowplug.clock import Clock
from glowplug.data_folder import DataFolder
from glowplug.gateway.app import build_app
from glowplug.gateway.parts import GatewayParts, Probes, ReadinessRoutes
from glowplug.gateway.policy import Access, GatewayPolicy, Limits, Pace, Retention
from glowplug.gateway.service import Gateway
from glowplug.gateway.upkeep import Upkeep
from glowplug.lifecycle import Startable
from glowplug.readiness import Board, MergedBoard
from glowplug.settings import Settings, is_loopback
from glowplug.telemetry import (
    BoardEvents,
    Reading,
    Sampler,
    Telemetry,
    component_readings,
    queue_readings,
    worker_readings,
)
from glowplug.web.parts import ReadinessParts
from glowplug.web.permission import anyone
from glowplug.web.router import readiness_router
from glowplug.web.routes import readiness_routes

# What a worker that is busy may let a warm-up wait.
WARM_UP_MARGIN_SECONDS = 30.0


class Interior(Startable):
    """The gateway without its port. `drain` comes before `stop`: it tells the probes and whoever follows readiness."""

    def __init__(self, settings: Settings, clock: Clock, worker_token: str, telemetry: Telemetry) -> None:
        self._store = open_store(settings.store_url, clock)
        self._broker = open_broker(settings.broker_url, clock)
        self._artifacts = open_artifacts(settings.artifacts_url)
        self._board = Board(clock, on_transition=BoardEvents())
        self._component = self._board.add("store", model=settings.store_url.partition(":")[0])
        self._telemetry = telemetry
        self._sampler = Sampler(self._read, clock)
        self.application = build_app(
            GatewayParts(
                store=self._store,
                broker=self._broker,
                artifacts=self._artifacts,
                board=self._board,
                clock=clock,
                policy=gateway_policy(settings, worker_token, _link_secret(settings)),
                doors=open_doors(settings, clock, lambda: self.gateway.registry.board),
                probes=readiness_of(settings, clock),
                conversations=conversations_of(settings.gateway.max_conversations, clock),
                metrics=self._telemetry.metrics,
            )
        )
        self._alerts = alerts_of(settings, self.gateway.registry.board, clock, settings.gateway_url)
        self._life = AsyncExitStack()

    @property
    def gateway(self) -> Gateway:
        """Return the gateway that the application serves."""
        gateway = self.application.state.gateway
        assert isinstance(gateway, Gateway)
        return gateway

    def drain(self) -> None:
        """Say not ready from now on, which also ends the streams of how ready the models are."""
        self._board.drain()

    async def _start(self) -> None:
        self._component.begin()
        self._telemetry.add_source(self._sampler)
        parts: tuple[Startable, ...] = (self._telemetry, *self._alerts, self._store, self._broker, self._artifacts)
        for part in parts:
            await self._life.enter_async_context(part)
        await self._life.enter_async_context(self.application.router.lifespan_context(self.application))
        await self._life.enter_async_context(self._sampler)
        self._component.ready()

    async def _read(self) -> list[Reading]:
        registry = self.gateway.registry
        return [
            *component_readings(registry.board.snapshot()),
            *queue_readings(await self._store.depths()),
            *worker_readings(record.status for record in await self._store.workers()),
        ]

    async def _stop(self) -> None:
        self.gateway.hang_up()
        await self._life.aclose()


def readiness_of(settings: Settings, clock: Clock) -> Probes:
    """Return what makes the gateway's readiness routes."""

    def make(own: Board, models: MergedBoard, upkeep: Upkeep) -> ReadinessRoutes:
        parts = ReadinessParts(
            own=own,
            models=models,
            actions=upkeep,
            # Whoever comes as far as the routes has passed the gateway's own guard.
            permit=anyone(),
            early_status=settings.not_ready_status,
            clock=clock,
        )
        return ReadinessRoutes(readiness_routes(parts), readiness_router(parts).routes)

    return make


def gateway_policy(settings: Settings, worker_token: str, link_secret: str = "") -> GatewayPolicy:
    """Translate the settings into what the gateway wants to know."""
    gateway, retention = settings.gateway, settings.retention
    return GatewayPolicy(
        access=Access(
            worker_token=worker_token,
            api_token=gateway.token.reveal() if gateway.token else None,
            users=users_of(settings),
            loopback=is_loopback(gateway.host),
            allowed_hosts=gateway.allowed_hosts,
            link_secret=link_secret,
            link_seconds=gateway.link_seconds,
        ),
        limits=Limits(
            input_bytes=gateway.max_input_bytes,
            artifact_bytes=gateway.max_upload_bytes,
            warm_up_seconds=settings.worker.warm_up_seconds + WARM_UP_MARGIN_SECONDS,
        ),
        rates=rates_of(settings.limits),
        retention=Retention(
            jobs_seconds=retention.jobs_seconds,
            inputs_seconds=retention.inputs_seconds,
            stale_seconds=retention.orphans_seconds,
        ),
        pace=Pace(
            max_age_seconds=gateway.service_max_age_seconds,
            probe_seconds=gateway.service_probe_seconds,
            redispatch_seconds=gateway.redispatch_seconds,
            # Who wants lost workers noticed soon wants the same of a gateway whose duty it is to notice them.
            term_seconds=min(Pace().term_seconds, gateway.lease_seconds),
        ),
        lease_seconds=gateway.lease_seconds,
        data_folder=settings.data,
        min_free_bytes=retention.min_free_bytes,
        public_url=settings.gateway.url or "",
        direct_links=gateway.direct_links,
        version=__version__,
    )


def _link_secret(settings: Settings) -> str:
    if settings.gateway.link_secret is not None:
        return settings.gateway.link_secret.reveal()
    # Without a token, links need no signature.
    return DataFolder(settings.data).read_link_secret() if settings.gateway.token or settings.users else ""
