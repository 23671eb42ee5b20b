"""The link suite on every link: in one process, and over HTTP through the gateway's own routes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from glowplug.artifacts.disk import DiskArtifacts
from glowplug.brokers.rows import RowsBroker
from glowplug.clock import SystemClock
from glowplug.gateway.app import build_app
from glowplug.gateway.parts import GatewayParts
from glowplug.gateway.policy import Access, GatewayPolicy
from glowplug.gateway.service import Gateway
from glowplug.lifecycle import running
from glowplug.link import Link
from glowplug.links.http import HttpLink
from glowplug.links.memory import MemoryLink
from glowplug.readiness import Board
from glowplug.stores.memory import MemoryStore
from glowplug.testing.links import FarEnd, LinkSuite

TOKEN = "secret of the workers"
LEASE_SECONDS = 45.0


def parts(folder: Path) -> GatewayParts:
    clock = SystemClock()
    policy = GatewayPolicy(access=Access(worker_token=TOKEN), lease_seconds=LEASE_SECONDS)
    return GatewayParts(
        store=MemoryStore(clock=clock),
        broker=RowsBroker(clock=clock),
        artifacts=DiskArtifacts(folder),
        board=Board(clock),
        clock=clock,
        policy=policy,
    )


def far_end(link: Link, gateway: Gateway) -> FarEnd:
    made = gateway.parts
    return FarEnd(link, made.store, made.broker, gateway.desk.order, LEASE_SECONDS)


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Serve an application on a free port of this machine and yield its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        app.state.gateway.hang_up()
        server.should_exit = True
        await serving
        listener.close()


class TestMemoryLink(LinkSuite):
    @pytest.fixture
    async def far(self, tmp_path: Path) -> AsyncIterator[FarEnd]:
        gateway = Gateway(parts(tmp_path))
        link = MemoryLink(gateway.desk)
        made = gateway.parts
        async with running([made.store, made.broker, made.artifacts, gateway, link]):
            yield far_end(link, gateway)


class TestHttpLink(LinkSuite):
    @pytest.fixture
    async def far(self, tmp_path: Path) -> AsyncIterator[FarEnd]:
        made = parts(tmp_path)
        app = build_app(made)
        async with running([made.store, made.broker, made.artifacts]), served(app) as url, HttpLink(url, TOKEN) as link:
            assert isinstance(link, Link)
            yield far_end(link, app.state.gateway)
