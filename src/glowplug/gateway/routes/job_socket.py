"""The events of a job by WebSocket: what `/v1/jobs/{id}/events` streams, a message each."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing, suppress

import msgspec
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from glowplug.errors import GlowplugError, UserError
from glowplug.gateway.routes.events import seq_asked
from glowplug.gateway.schemas import event_view
from glowplug.gateway.service import Gateway
from glowplug.gateway.subjects import job_for, subject_of
from glowplug.gateway.waits import first_of
from glowplug.job import TERMINAL_TYPES

ENDED, LEAVING, REFUSED, TRY_AGAIN = 1000, 1001, 1008, 1013
"""How it closes: the job is done; the gateway leaves, so come back with `after`; there is no such job for you; the
store does not answer, so come back too."""
_encoder = msgspec.json.Encoder()


def job_socket_routes(gateway: Gateway) -> Sequence[BaseRoute]:
    """Return the route."""
    return (WebSocketRoute("/ws/jobs/{job_id}", JobSockets(gateway).follow, name="job"),)


class JobSockets:
    """Follows jobs for whoever connects. What a client sends is not read for its sense."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def follow(self, websocket: WebSocket) -> None:
        """Send the job's events from after the query's `after` up to the terminal one, and close."""
        # Whoever has gone needs no answer.
        with suppress(WebSocketDisconnect, OSError):
            await websocket.accept()
            await first_of(self._tell(websocket), _until_gone(websocket))

    async def _tell(self, websocket: WebSocket) -> None:
        try:
            after = seq_asked(websocket.query_params.get("after"))
            store = self._gateway.parts.store
            job = await job_for(store, subject_of(websocket), websocket.path_params["job_id"])
            ended = job.done and after >= job.last_seq
            ended = ended or await self._sent_to_the_end(websocket, job.id, after)
        except GlowplugError as error:
            # Left to itself the server would close as after the last event.
            await websocket.close(REFUSED if isinstance(error, UserError) else TRY_AGAIN, error.code)
        else:
            await websocket.close(ENDED if ended else LEAVING)

    async def _sent_to_the_end(self, websocket: WebSocket, job_id: str, after: int) -> bool:
        """Send events as they come, and say whether the terminal one was among them; else the gateway leaves."""
        newest = ""
        async with aclosing(self._gateway.feed.events(job_id, after=after)) as events:
            async for event in events:
                # The server's own pings are the heartbeat.
                if event is not None:
                    await websocket.send_text(_encoder.encode(event_view(event)).decode())
                    newest = event.type
        return newest in TERMINAL_TYPES


async def _until_gone(websocket: WebSocket) -> None:
    while (await websocket.receive())["type"] != "websocket.disconnect":
        continue
