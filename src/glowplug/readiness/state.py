"""States: the overall ones, those of a component, and the one table of which may follow which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from glowplug.errors import BugError


class Phase(StrEnum):
    """The word that older clients know for an overall state."""

    CONNECTING = "connecting"
    LOADING = "loading"
    FINALIZING = "finalizing"
    READY = "ready"
    ERROR = "error"


class State(StrEnum):
    """How a whole process stands, judged from its required components."""

    INITIALIZING = "INITIALIZING"
    LOADING_MODELS = "LOADING_MODELS"
    WARMING_UP = "WARMING_UP"
    READY = "READY"
    ERROR = "ERROR"
    DRAINING = "DRAINING"

    @property
    def can_serve(self) -> bool:
        """Say whether work may be sent now."""
        return self is State.READY

    @property
    def is_loading(self) -> bool:
        """Say whether something is under way that ends in READY or ERROR."""
        return self in _LOADING_STATES

    @property
    def is_settled(self) -> bool:
        """Say whether nothing changes by itself any more, so that a stream may end."""
        return self in (State.READY, State.ERROR)

    @property
    def phase(self) -> Phase:
        """Return the older word; a draining process sends its clients to connect elsewhere."""
        return _PHASES[self]


_LOADING_STATES = frozenset((State.INITIALIZING, State.LOADING_MODELS, State.WARMING_UP))
_PHASES = MappingProxyType(
    {
        State.INITIALIZING: Phase.CONNECTING,
        State.LOADING_MODELS: Phase.LOADING,
        State.WARMING_UP: Phase.FINALIZING,
        State.READY: Phase.READY,
        State.ERROR: Phase.ERROR,
        State.DRAINING: Phase.CONNECTING,
    }
)


class Status(StrEnum):
    """How one component stands."""

    PENDING = "pending"
    FETCHING = "fetching"
    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    ERROR = "error"
    UNAVAILABLE = "unavailable"
    SLEEPING = "sleeping"
    DRAINING = "draining"

    @property
    def can_serve(self) -> bool:
        """Say whether work may be sent now."""
        return self is Status.READY

    @property
    def is_loading(self) -> bool:
        """Say whether it waits for, or is in, an attempt to become ready."""
        return self in _LOADING

    @property
    def is_running(self) -> bool:
        """Say whether an attempt is under way."""
        return self.is_loading and self is not Status.PENDING

    @property
    def is_settled(self) -> bool:
        """Say whether it stays as it is until somebody acts."""
        return not self.is_loading and self is not Status.DRAINING

    @property
    def is_failed(self) -> bool:
        """Say whether it cannot become ready without somebody's help."""
        return self in (Status.ERROR, Status.UNAVAILABLE)

    @property
    def old_name(self) -> str:
        """Return the word for places that know only `loading` for everything before ready."""
        return Status.LOADING.value if self.is_loading else self.value


_LOADING = frozenset((Status.PENDING, Status.FETCHING, Status.LOADING, Status.WARMING))
_LEAVING = frozenset((Status.SLEEPING, Status.DRAINING, Status.UNAVAILABLE))
_BEGIN = frozenset((Status.PENDING, Status.FETCHING, Status.LOADING))

TRANSITIONS: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        Status.PENDING: _BEGIN | _LEAVING | {Status.ERROR},
        Status.FETCHING: _BEGIN | _LEAVING | {Status.WARMING, Status.ERROR},
        Status.LOADING: _BEGIN | _LEAVING | {Status.WARMING, Status.READY, Status.ERROR},
        Status.WARMING: _BEGIN | _LEAVING | {Status.READY, Status.ERROR},
        Status.READY: _BEGIN | _LEAVING | {Status.ERROR},
        Status.ERROR: _BEGIN | _LEAVING,
        Status.UNAVAILABLE: _BEGIN | {Status.DRAINING},
        Status.SLEEPING: _BEGIN | {Status.ERROR, Status.DRAINING, Status.UNAVAILABLE},
        Status.DRAINING: frozenset((Status.SLEEPING,)),
    }
)


def allowed(old: Status, new: Status) -> bool:
    """Say whether `new` may follow `old` directly."""
    return new in TRANSITIONS[old] and new is not old


def route(old: Status, new: Status) -> tuple[Status, ...]:
    """Return the states to pass through from `old` to `new`, empty when they are the same.

    Where the table knows no direct way, it leads over LOADING: this is how a load that was given up on and then
    finishes after all goes from ERROR to READY. Raises `BugError` where there is no way.
    """
    if old is new:
        return ()
    if allowed(old, new):
        return (new,)
    if allowed(old, Status.LOADING) and allowed(Status.LOADING, new):
        return (Status.LOADING, new)
    raise BugError(f"a component cannot go from {old} to {new}", old=old.value, new=new.value)


class Gates(StrEnum):
    """How long a required component holds back the whole."""

    START = "start"
    """Until it was ready once: an external server that dies later is shown, and the process stays ready."""
    ALWAYS = "always"
    """Whenever it is not ready: a local model."""


class Part(Protocol):
    """What the verdict needs to know of a component."""

    @property
    def status(self) -> Status:
        """Return how it stands."""

    @property
    def required(self) -> bool:
        """Say whether the whole waits for it."""

    @property
    def gates(self) -> Gates:
        """Return how long the whole waits for it."""

    @property
    def attempt(self) -> int:
        """Return how many loads were begun."""

    @property
    def was_ready(self) -> bool:
        """Say whether it has ever been ready."""


def holds_back(part: Part) -> bool:
    """Say whether this component keeps the whole from being ready."""
    opened = part.gates is Gates.START and part.was_ready
    return part.required and not part.status.can_serve and not opened


def verdict(parts: Iterable[Part]) -> State:
    """Judge the whole from its components.

    Ready when every required component is; without any component at all it is not ready but INITIALIZING.
    """
    known = list(parts)
    missing = [part for part in known if holds_back(part)]
    statuses = {part.status for part in missing}
    if any(status.is_failed for status in statuses):
        return State.ERROR
    if Status.DRAINING in statuses:
        return State.DRAINING
    if known and not missing:
        return State.READY
    if statuses == {Status.WARMING}:
        return State.WARMING_UP
    return State.LOADING_MODELS if _has_begun(known, missing) else State.INITIALIZING


def _has_begun(known: list[Part], missing: list[Part]) -> bool:
    loading = [part for part in missing if part.status.is_loading]
    served = any(part.required and part.status.can_serve for part in known)
    return any(part.attempt for part in loading) or (served and bool(loading))
