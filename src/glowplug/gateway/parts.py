"""What a gateway is made of, handed in by the assembly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.routing import BaseRoute

from glowplug.artifact import ArtifactStore
from glowplug.broker import Broker
from glowplug.clock import Clock
from glowplug.gateway.policy import GatewayPolicy
from glowplug.gateway.room import free_bytes
from glowplug.readiness import Board, MergedBoard
from glowplug.store import Store

Probes = Callable[[Board, MergedBoard], Sequence[BaseRoute]]
Metrics = Callable[[], tuple[bytes, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """Started parts; the gateway stops none of them.

    `board` is the gateway's own readiness. `probes` makes the readiness routes from it and from the models over all
    workers. `metrics` returns the body and the media type of `/metrics`. `free_bytes` measures the room on a disk.
    """

    store: Store
    broker: Broker
    artifacts: ArtifactStore
    board: Board
    clock: Clock
    policy: GatewayPolicy
    probes: Probes = lambda own, models: ()
    metrics: Metrics | None = None
    free_bytes: Callable[[Path], int] = free_bytes
