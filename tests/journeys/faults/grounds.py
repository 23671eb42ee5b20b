"""What a Glowplug under test stands on: a store and a broker, either of which can be killed and come back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Server(Protocol):
    """A server that a fixture has started."""

    def kill9(self) -> None:
        """End it as a power cut would."""

    def start(self) -> None:
        """Start it on the data it left."""


@dataclass
class Leg:
    """One of the two: the settings that lead to it, and the server behind it, if there is one."""

    environment: Mapping[str, str] = field(default_factory=dict)
    server: Any = None
    down: bool = False

    def kill(self) -> None:
        """End the server without a word."""
        if self.server is not None and not self.down:
            self.server.kill9()
            self.down = True

    def mend(self) -> None:
        """Bring the server back, if it is down."""
        if self.down:
            self.server.start()
            self.down = False


class Store(Leg):
    """Where the rows are."""


class Broker(Leg, ABC):
    """Where the hints are. Those of `rows` are nowhere: the store is the queue."""

    @abstractmethod
    def repeat(self, jobs: list[tuple[str, str]], times: int) -> None:
        """Publish the hints of these (id, task) so many times more, in disorder."""

    @abstractmethod
    def steal(self, every: int) -> int:
        """Take what waits now and lose every n-th hint of it; return how many were lost."""


@dataclass
class Ground:
    """A pair of store and broker."""

    name: str
    store: Store
    broker: Broker

    @property
    def environment(self) -> dict[str, str]:
        """Return the settings that lead a gateway to this ground."""
        return {**self.store.environment, **self.broker.environment}

    def mend(self) -> None:
        """Bring back whatever is down."""
        self.store.mend()
        self.broker.mend()
