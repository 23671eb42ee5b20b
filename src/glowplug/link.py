"""The link between a worker and the gateway: frozen messages, versioned, and the calls that carry them.

Workers hold no database credentials: everything they know and do goes through these calls. Each is batched, and each
answer brings orders back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from glowplug.job import Checkpoint
from glowplug.lifecycle import Startable
from glowplug.store import Hold, ModelInfo, Renewal, Report, Settlement, Want

PROTOCOL = 1


class OrderKind(StrEnum):
    """What the gateway may ask of a worker."""

    CANCEL = "cancel"
    DRAIN = "drain"
    LOAD = "load"
    RETRY = "retry"
    REGISTER = "register"


@dataclass(frozen=True, slots=True)
class Order:
    """An order: `target` is a job id for `cancel`, a model name for `load` and `retry`, else empty."""

    kind: OrderKind
    target: str = ""


@dataclass(frozen=True, slots=True)
class Register:
    """A worker announces itself, again after each reconnect and whenever its readiness changes.

    `snapshot` is its readiness picture (`Snapshot.to_dict`); `sequence` grows with each announcement of an
    incarnation, so that a late one cannot overwrite a newer one.
    """

    instance_id: str
    incarnation: str
    sequence: int
    snapshot: Mapping[str, Any]
    models: tuple[ModelInfo, ...] = ()
    url: str | None = None
    pid: int | None = None
    host: str = ""
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class Registered:
    """The gateway's answer: how long leases last, and what it wants done."""

    lease_seconds: float
    orders: tuple[Order, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """Ask for work, waiting up to `wait_seconds` for it or for orders. A newer claim of the same worker ends this one.

    With no `wants` it waits for orders alone. `known` is sent by the first claim after one whose answer may have been
    lost: every hold that the worker knows of. Whatever else the gateway has granted to this incarnation never arrived
    and is released as interrupted, before the claim looks for work.
    """

    instance_id: str
    incarnation: str
    wants: tuple[Want, ...]
    wait_seconds: float = 20.0
    known: tuple[Hold, ...] | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """A job handed to a worker: what to run, and where an earlier attempt came to."""

    hold: Hold
    task: str
    input: Mapping[str, Any]
    attempt: int
    lease_until: datetime
    owner: str = "local"
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to a claim."""

    grants: tuple[Grant, ...] = ()
    orders: tuple[Order, ...] = ()


@dataclass(frozen=True, slots=True)
class Renew:
    """Keep the leases of all jobs that the worker runs."""

    instance_id: str
    incarnation: str
    holds: tuple[Hold, ...]


@dataclass(frozen=True, slots=True)
class Renewed:
    """The answer to a renewal, one entry for each hold, and orders."""

    renewals: tuple[Renewal, ...]
    orders: tuple[Order, ...] = ()


@dataclass(frozen=True, slots=True)
class Events:
    """What running attempts report."""

    instance_id: str
    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """Ends of attempts, whether final or released for another try."""

    instance_id: str
    settlements: tuple[Settlement, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """One answer for each report or settlement sent: False means that the lease is lost."""

    accepted: tuple[bool, ...] = field(default=())


class Link(Startable, ABC):
    """Contract of the link. Each call raises `Unreachable`, `DeadlineExceeded` or `Unauthorized`."""

    @abstractmethod
    async def register(self, message: Register) -> Registered:
        """Announce the worker."""

    @abstractmethod
    async def claim(self, message: Claim) -> Claimed:
        """Wait for work or orders."""

    @abstractmethod
    async def renew(self, message: Renew) -> Renewed:
        """Keep leases."""

    @abstractmethod
    async def events(self, message: Events) -> Accepted:
        """Report notes of running attempts."""

    @abstractmethod
    async def finish(self, message: Finish) -> Accepted:
        """End attempts; also how leases are released."""
