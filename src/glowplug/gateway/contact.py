"""The contact to a broker that carries hints, shown on the gateway's board.

It holds nothing back, not even the gateway's start: jobs are taken in all the same, because their rows are the truth,
and they run as soon as the broker is there. What an operator sees is a component called `broker` that is not ready.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from glowplug.broker import Broker
from glowplug.errors import RemoteError
from glowplug.gateway.dispatch import Duty
from glowplug.gateway.policy import Pace
from glowplug.readiness import Component


class Contact:
    """Whether the broker answered when it was last asked; the adapter itself tells of it."""

    def __init__(self) -> None:
        self._component: Component | None = None
        self._lost: bool | None = None

    def show_on(self, component: Component) -> None:
        """Show from now on, on a component that has begun, how it is."""
        self._component, self._lost = component, None

    def heard(self, error: str | None) -> None:
        """Take in how a call to the broker ended: None if it answered, else why it did not."""
        lost = error is not None
        if lost is self._lost or self._component is None:
            return
        self._lost = lost
        if error is None:
            self._component.ready()
        else:
            self._component.fail(error, "transient")


class BrokerWatch(Duty):
    """Asks the broker how many hints of some model wait, so that an idle gateway notices too that it is away."""

    name = "broker"

    def __init__(self, broker: Broker, models: Callable[[], Iterable[str]], contact: Contact, pace: Pace) -> None:
        super().__init__(pace.reconcile_seconds, first_seconds=0.0)
        self._broker = broker
        self._models = models
        self._contact = contact

    async def turn(self) -> None:
        """Ask once."""
        model = next(iter(self._models()), None)
        if model is None:
            return
        try:
            await self._broker.waiting(model)
        except RemoteError as error:
            self._contact.heard(error.message)
        else:
            self._contact.heard(None)
