"""The whole at one moment: frozen, derived from its components alone, with every documented body as a view of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from glowplug.errors import InvalidInput, NotFound
from glowplug.readiness.component_snapshot import ComponentSnapshot
from glowplug.readiness.estimate import Estimate, together
from glowplug.readiness.state import State, holds_back, verdict
from glowplug.readiness.wire import Reader, present, written

RETRY_AFTER_UNKNOWN_SECONDS = 2
LONGEST_RETRY_AFTER_SECONDS = 30
TOO_EARLY = 425
UNAVAILABLE = 503
_ACCELERATORS = ("cuda", "gpu", "mps", "neuron", "rocm", "tpu", "xpu")

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The picture behind every readiness route.

    `version` grows with every change. `progress` is 0 to 100, and 100 only when ready. `startup_time_ms` is None
    until the first time ready.
    """

    version: int
    taken_at: datetime
    components: tuple[ComponentSnapshot, ...] = ()
    state: State = State.INITIALIZING
    progress: int = 0
    estimate: Estimate | None = None
    startup_time_ms: float | None = None
    gpu_available: bool = False

    @staticmethod
    def of(
        components: Iterable[ComponentSnapshot],
        *,
        version: int = 0,
        taken_at: datetime,
        draining: bool = False,
        startup_time_ms: float | None = None,
        gpu_available: bool | None = None,
    ) -> Snapshot:
        """Judge the components: the only way from them to a state, a progress and an estimate."""
        known = tuple(components)
        state = State.DRAINING if draining else verdict(known)
        return Snapshot(
            version=version,
            taken_at=taken_at,
            components=known,
            state=state,
            progress=_progress(known, state),
            estimate=_estimate(known, state),
            startup_time_ms=startup_time_ms,
            gpu_available=_has_accelerator(known) if gpu_available is None else gpu_available,
        )

    @property
    def ready(self) -> bool:
        """Say whether work may be sent now."""
        return self.state.can_serve

    @property
    def errors(self) -> tuple[str, ...]:
        """Return a sentence for each component that failed."""
        return tuple(sentence for one in self.components if (sentence := one.error_sentence))

    @property
    def estimated_seconds(self) -> int | None:
        """Return the median of the time left in whole seconds, None until it is earned."""
        return None if self.estimate is None else self.estimate.seconds

    @property
    def loading_seconds(self) -> float | None:
        """Return how long the longest of the loads that are waited for has run, None while none runs."""
        running = [one.loading_seconds for one in self.components if holds_back(one)]
        return max((round(seconds, 1) for seconds in running if seconds is not None), default=None)

    @property
    def retry_after(self) -> int:
        """Return when to ask again, in whole seconds from 1 to 30; 2 while nobody knows."""
        return min(LONGEST_RETRY_AFTER_SECONDS, self.estimated_seconds or RETRY_AFTER_UNKNOWN_SECONDS)

    @property
    def message(self) -> str:
        """Return one sentence for people."""
        if self.state is State.ERROR:
            failed = [one.error_sentence for one in self.components if holds_back(one)]
            return "; ".join(sentence for sentence in failed if sentence) or _MESSAGES[self.state]
        if self.estimate and self.estimate.overrun:
            return self.estimate.overrun
        return _MESSAGES[self.state]

    def find(self, name: str) -> ComponentSnapshot | None:
        """Return the component called `name`."""
        return next((one for one in self.components if one.name == name), None)

    def only(self, names: Collection[str]) -> Snapshot:
        """Return the picture as if these components alone were required, each whenever it is not ready.

        Raises `NotFound` for a name that no component has: a typing error would else never become ready.
        """
        known = {one.name for one in self.components}
        if unknown := [name for name in names if name not in known]:
            listed = ", ".join(sorted(known)) or "none"
            raise NotFound(f"no component named {unknown[0]!r}; there are: {listed}")
        # Never ready before: so that a server which died after the start is not let through as it is for the whole.
        chosen = [replace(one, required=True, was_ready=False) for one in self.components if one.name in set(names)]
        return Snapshot.of(
            chosen,
            version=self.version,
            taken_at=self.taken_at,
            draining=self.state is State.DRAINING,
            gpu_available=self.gpu_available,
        )

    def health(self) -> Body:
        """Return the body of `/health`: how the process is, answered with 200 while it lives."""
        first = next((one for one in self.components if one.required and one.model), None)
        is_loading = _HEALTH[self.state] == "loading"
        return {
            # First, so that no component's name can hide a fact of the process.
            **{f"{one.name}_available": not one.status.is_failed for one in self.components},
            "status": _HEALTH[self.state],
            "model_loaded": self.ready,
            "ready_for_requests": self.ready,
            "gpu_available": self.gpu_available,
            "ready": self.ready,
            "ready_state": self.state.value,
            **present(
                model_name=first and first.model,
                device=first and first.device,
                loading_time=f"{self.loading_seconds or 0.0:.1f}s" if is_loading else None,
                error=self.message if self.state is State.ERROR else None,
            ),
        }

    def ready_probe(self) -> tuple[int, Body]:
        """Return status and body of `/ready`."""
        if self.ready:
            return 200, {"ready": True}
        return UNAVAILABLE, {
            "ready": False,
            "detail": "Service not ready",
            "state": self.state.value,
            **self._wait(),
        }

    def api_ready(self, links: Mapping[str, str] | None = None) -> Body:
        """Return the body of `/api/ready` and of each event of its stream; answered with 200 always.

        `links` are the addresses of the other routes, relative to this one's.
        """
        return {
            "ready": self.ready,
            "state": self.state.value,
            "progress": self.progress,
            "services": self.services(),
            "startup_time_ms": self.startup_time_ms,
            "errors": list(self.errors),
            "taken_at": written(self.taken_at),
            **({} if self.ready else {"message": self.message, **self._wait()}),
            **present(loading_seconds=self.loading_seconds, links=links and dict(links)),
        }

    def admin_ready(self, early_status: int = TOO_EARLY) -> tuple[int, Body]:
        """Return status and flat body of `/api/v1/admin/ready`; while loading the status is `early_status`."""
        if self.ready:
            return 200, {"status": "ready", "message": self.message, "ready": True, "models_loaded": True}
        status, kind, http_status = _NOT_READY.get(self.state, ("initializing", "initialization", early_status))
        # Clients compare this text, so it stays the same through all of loading.
        message = _MESSAGES[State.LOADING_MODELS] if kind == "initialization" else self.message
        return http_status, {
            "status": status,
            "message": message,
            "ready": False,
            **self._wait(),
            "type": kind,
        }

    def require(self, names: Collection[str], early_status: int = TOO_EARLY) -> tuple[int, Body]:
        """Return status and flat body for work that needs the components `names`, or all required ones if empty.

        Unlike the whole, a server that was ready once and died is not ready here. Raises `NotFound`.
        """
        return (self.only(names) if names else self).admin_ready(early_status)

    def ws_init(self) -> Body:
        """Return the message of `/ws/init/{client_id}`."""
        return {
            "phase": self.state.phase.value,
            "progress": self.progress,
            "estimated_seconds": self.estimated_seconds,
            "message": self.message,
            "services": self.services(),
        }

    def services(self) -> dict[str, Body]:
        """Return the entry of each component."""
        return {one.name: one.service() for one in self.components}

    def _wait(self) -> Body:
        """Return what somebody who waits wants to know."""
        return {
            "progress": self.progress,
            "estimated_seconds": self.estimated_seconds,
            **present(estimated_seconds_p90=self.estimate and self.estimate.seconds_p90),
            "phase": self.state.phase.value,
            "retry_after": self.retry_after,
        }

    def aged(self, seconds: float) -> Snapshot:
        """Return the picture as it is to be expected `seconds` later, without news."""
        if self.state.is_settled or seconds <= 0:
            return self
        components = tuple(one.aged(seconds) for one in self.components)
        return replace(self, components=components, estimate=_estimate(components, self.state))

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for JSON, as workers report it; `from_dict` reads it back."""
        return {
            "version": self.version,
            "taken_at": written(self.taken_at),
            "state": self.state.value,
            "progress": self.progress,
            "gpu_available": self.gpu_available,
            **present(startup_time_ms=self.startup_time_ms, estimate=self.estimate and self.estimate.to_dict()),
            "components": [one.to_dict() for one in self.components],
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Snapshot:
        """Rebuild a picture from its plain form; unknown fields are ignored. Raises `InvalidInput`."""
        fields = Reader(data, "snapshot")
        taken_at = fields.moment("taken_at")
        if taken_at is None:
            raise InvalidInput("snapshot: taken_at is missing", fields=["taken_at"])
        return Snapshot(
            version=int(fields.number("version") or 0),
            taken_at=taken_at,
            components=fields.parts("components", ComponentSnapshot.read),
            state=fields.word("state", State, State.INITIALIZING),
            progress=min(100, max(0, int(fields.number("progress") or 0))),
            estimate=fields.part("estimate", Estimate.read),
            startup_time_ms=fields.number("startup_time_ms"),
            gpu_available=fields.flag("gpu_available"),
        )


_MESSAGES = {
    State.INITIALIZING: "Starting up",
    State.LOADING_MODELS: "AI models are still loading",
    State.WARMING_UP: "AI models are warming up",
    State.READY: "All systems ready",
    State.ERROR: "Initialization failed",
    State.DRAINING: "Shutting down: no new work is taken",
}
_HEALTH = {
    State.INITIALIZING: "initializing",
    State.LOADING_MODELS: "loading",
    State.WARMING_UP: "loading",
    State.READY: "healthy",
    State.ERROR: "unhealthy",
    State.DRAINING: "draining",
}
_NOT_READY = {
    State.ERROR: ("error", "error", UNAVAILABLE),
    State.DRAINING: ("draining", "draining", UNAVAILABLE),
}


def _progress(components: Collection[ComponentSnapshot], state: State) -> int:
    """Return the percentage of the whole: required components, each weighing what its load usually takes."""
    if state.can_serve:
        return 100
    required = [one for one in components if one.required]
    whole = sum(one.weight_seconds for one in required)
    done = sum(one.weight_seconds * (one.percent if holds_back(one) else 100.0) for one in required)
    return min(99, int(done / whole)) if whole > 0 else 0


def _estimate(components: Collection[ComponentSnapshot], state: State) -> Estimate | None:
    if not state.is_loading:
        return None
    missing = [one for one in components if holds_back(one)]
    waiting = [one.estimate for one in missing if not one.status.is_running]
    return together([one.estimate for one in missing if one.status.is_running], waiting)


def _has_accelerator(components: Iterable[ComponentSnapshot]) -> bool:
    return any((one.device or "").lower().startswith(_ACCELERATORS) for one in components)
