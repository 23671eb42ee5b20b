"""The same gateway behind a real server, for what only a socket shows: streams and broken connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp
from tests.unit.gateway.house import House, parts, policy
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from glowplug.clock import Clock, SystemClock
from glowplug.gateway.app import build_app
from glowplug.gateway.policy import GatewayPolicy


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an application and yield its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


@asynccontextmanager
async def served(
    folder: Path,
    clock: Clock | None = None,
    chosen: GatewayPolicy | None = None,
    serve: Callable[[ASGIApp], AbstractAsyncContextManager[str]] = serving,
    **more: Any,
) -> AsyncIterator[House]:
    """Yield a gateway behind a server; the client has its address."""
    async with parts(folder, clock or SystemClock(), chosen or policy(), **more) as made:
        app = build_app(made)
        async with app.state.gateway, serve(app) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
            try:
                yield House(app.state.gateway, client)
            finally:
                app.state.gateway.hang_up()


async def close_of(websocket: ClientConnection) -> tuple[int, str]:
    """Return the code and the reason with which the other side closes, without a message before."""
    with pytest.raises(ConnectionClosed) as closed:
        await websocket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


async def until(condition: Any) -> None:
    """Wait until `condition()` holds; the test's own timeout is the limit."""
    while not condition():
        await asyncio.sleep(0.005)
