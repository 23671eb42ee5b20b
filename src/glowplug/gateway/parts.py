"""What a gateway is made of, handed in by the assembly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.routing import BaseRoute

from glowplug.artifact import ArtifactStore
from glowplug.broker import Broker
from glowplug.clock import Clock
from glowplug.door import Door
from glowplug.gateway.policy import GatewayPolicy
from glowplug.gateway.room import free_bytes
from glowplug.gateway.talk import Talks
from glowplug.gateway.upkeep import Upkeep
from glowplug.readiness import Board, MergedBoard
from glowplug.store import Store

Metrics = Callable[[], tuple[bytes, str]]


@dataclass(frozen=True, slots=True)
class ReadinessRoutes:
    """The readiness routes: `served` are bare, because pages that wait ask them again and again.

    `described` are the same for the OpenAPI document.
    """

    served: Sequence[BaseRoute] = ()
    described: Sequence[BaseRoute] = ()


Probes = Callable[[Board, MergedBoard, Upkeep], ReadinessRoutes]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """Started parts; the gateway stops none of them, but for the `doors`, which it starts and stops itself.

    `board` is the gateway's own readiness. `probes` makes the readiness routes from it, from the models over all
    workers, and from what an operator may ask of those. `conversations` makes the routes of talks.
    `metrics` returns the body and the media type of `/metrics`. `free_bytes` measures the room on a disk.
    """

    store: Store
    broker: Broker
    artifacts: ArtifactStore
    board: Board
    clock: Clock
    policy: GatewayPolicy
    doors: Sequence[Door] = ()
    probes: Probes = lambda own, models, upkeep: ReadinessRoutes()
    conversations: Callable[[Talks], Sequence[BaseRoute]] = lambda begin: ()
    metrics: Metrics | None = None
    free_bytes: Callable[[Path], int] = free_bytes
