"""A receiver of webhooks on this machine, that answers as a test says and checks signatures as anybody would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook as Verifier


@dataclass
class Receiver:
    """What was received, and how it is answered: `answers` one after the other, the last one for ever."""

    url: str = ""
    port: int = 0
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(204, {})])
    asked: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    heard: asyncio.Condition = field(default_factory=asyncio.Condition)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    hangs: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        """Take a request down and answer it."""
        body = await request.read()
        async with self.heard:
            self.asked.append((dict(request.headers), body))
            self.heard.notify_all()
        if self.hangs:
            await self.release.wait()
        status, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=status, headers=headers)

    async def times(self, number: int) -> None:
        """Wait until it was asked so often."""
        async with self.heard:
            await self.heard.wait_for(lambda: len(self.asked) >= number)

    def verified(self, secret: str) -> list[Any]:
        """Return the bodies of all requests, each checked by the official library."""
        return [Verifier(secret).verify(body, headers) for headers, body in self.asked]


@asynccontextmanager
async def receiver(port: int = 0) -> AsyncIterator[Receiver]:
    """Serve a receiver on a port of this machine."""
    made = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    made.port = runner.addresses[0][1]
    made.url = f"http://127.0.0.1:{made.port}"
    try:
        yield made
    finally:
        made.release.set()
        await runner.cleanup()
