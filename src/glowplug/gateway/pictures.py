"""Readiness as the gateway sees it: the workers' pictures, read by pure functions."""

from __future__ import annotations

from datetime import datetime

from glowplug.errors import NotReady
from glowplug.readiness import ComponentSnapshot, ErrorClass, Failure, Snapshot, State, Status
from glowplug.readiness.component_snapshot import Timings
from glowplug.readiness.refusal import why_not_ready
from glowplug.store import WorkerRecord

_WORDS = {State.READY: "ready", State.ERROR: "error", State.DRAINING: "draining"}
_STATUSES = {"ready": Status.READY, "error": Status.ERROR, "draining": Status.DRAINING}


def worker_status(picture: Snapshot) -> str:
    """Return the registry's word for a worker that looks like this."""
    return _WORDS.get(picture.state, "loading")


def ready_models(picture: Snapshot) -> frozenset[str]:
    """Return the models that may be sent work now; none while the worker drains."""
    if picture.state is State.DRAINING:
        return frozenset()
    return frozenset(one.name for one in picture.components if one.status.can_serve)


def sleeping_models(picture: Snapshot) -> frozenset[str]:
    """Return the models that nobody has begun to load, or that were put to sleep: they wait for an order."""
    return frozenset(one.name for one in picture.components if _sleeps(one))


def asleep(picture: Snapshot) -> frozenset[str]:
    """Return the models that sleep, in contrast to those that have not been imported yet."""
    return frozenset(one.name for one in picture.components if one.status is Status.SLEEPING)


def failed_models(picture: Snapshot) -> frozenset[str]:
    """Return the models whose load ended in an error."""
    return frozenset(one.name for one in picture.components if one.status.is_failed)


def refusal(picture: Snapshot, model: str) -> NotReady:
    """Return why nobody can be sent work for a model that is not ready."""
    one = picture.find(model)
    if one is None:
        said = f"no worker has {model} at the moment: start one with glowplug worker TARGET"
        return NotReady(said, model=model, state="offline", estimated_seconds=None)
    error = why_not_ready(one)
    error.data["model"] = model
    return error


def _sleeps(one: ComponentSnapshot) -> bool:
    never_begun = one.status is Status.PENDING and one.attempt == 0
    return never_begun or one.status is Status.SLEEPING


def load_seconds(picture: Snapshot) -> float | None:
    """Return how long the slowest model took to load, None until one has."""
    spent = [one.timings.load_time_ms for one in picture.components if one.timings.load_time_ms is not None]
    return round(max(spent) / 1000, 3) if spent else None


def leading_model(picture: Snapshot) -> str | None:
    """Return the model that a worker is named after: the first required one, else the first."""
    ordered = sorted(picture.components, key=lambda one: not one.required)
    return ordered[0].name if ordered else None


def noticed(record: WorkerRecord, taken_at: datetime) -> Snapshot:
    """Return the picture of a service without a link, as its notices and probes draw it."""
    if not record.model_name:
        return Snapshot.of((), taken_at=taken_at)
    load_seconds = record.load_time_seconds
    component = ComponentSnapshot(
        name=record.model_name,
        status=_STATUSES.get(record.status, Status.LOADING),
        model=record.model_name,
        attempt=1,
        percent=100.0 if record.status == "ready" else 0.0,
        timings=Timings(load_time_ms=None if load_seconds is None else load_seconds * 1000),
        failure=Failure(record.error, ErrorClass.PERMANENT) if record.error else None,
    )
    return Snapshot.of((component,), taken_at=taken_at)
