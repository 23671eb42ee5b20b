"""HTTP servers that answer as a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Backend:
    """What a server was asked, and how it answers: `answers` one after the other, the last one for ever."""

    url: str = ""
    answers: list[tuple[int, bytes]] = field(default_factory=lambda: [(200, b"{}")])
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    callers: set[Any] = field(default_factory=set)
    silent: asyncio.Event = field(default_factory=asyncio.Event)
    hangs: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        self.callers.add(request.transport.get_extra_info("peername"))
        self.asked.append((request.path, dict(request.headers), json.loads(await request.read())))
        if self.hangs:
            await self.silent.wait()
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=status, body=body, content_type="application/json")


@asynccontextmanager
async def backend() -> AsyncIterator[Backend]:
    """Serve a backend on a free port of this machine."""
    made = Backend()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    made.url = f"http://{host}:{port}"
    try:
        yield made
    finally:
        made.silent.set()
        await runner.cleanup()
