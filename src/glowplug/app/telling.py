"""Who is told what happens to the components: the log, the metrics, and a webhook if one is named."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from glowplug.app.options import ReadinessOptions
from glowplug.lifecycle import Startable
from glowplug.readiness.board import Board
from glowplug.telemetry.standard import LibraryTelemetry

if TYPE_CHECKING:
    from glowplug.doors.webhook import Webhook
    from glowplug.telemetry.readings import Reading


class Telling(Startable):
    """Tells the outside of a board. The libraries for it are imported when they are first used."""

    def __init__(self, board: Board, options: ReadinessOptions) -> None:
        secrets = [one for one in (options.token, options.webhook, options.webhook_secret) if one]
        self._board = board
        self._options = options
        self._telemetry = LibraryTelemetry(secrets=secrets)
        self._telemetry.add_source(self._readings)
        self._webhook = _webhook(options)
        self._alerts: Startable | None = None

    async def metrics(self) -> tuple[bytes, str]:
        """Return the body and the media type of `/metrics`."""
        return await asyncio.to_thread(self._telemetry.metrics)

    def _readings(self) -> Iterable[Reading]:
        from glowplug.telemetry.readings import component_readings

        return component_readings(self._board.snapshot())

    async def _start(self) -> None:
        self._telemetry.install()
        if self._webhook is not None:
            from glowplug.web.alerts import Alerts

            await self._webhook.start()
            self._alerts = Alerts(self._board, self._webhook.send, self._options.clock)
            await self._alerts.start()

    async def _stop(self) -> None:
        for part in (self._alerts, self._webhook):
            if part is not None:
                await part.stop()
        self._telemetry.close()


def _webhook(options: ReadinessOptions) -> Webhook | None:
    if options.webhook is None:
        return None
    from glowplug.doors.webhook import Webhook

    return Webhook(options.webhook, options.webhook_secret or (), clock=options.clock)
