"""A component: one named thing that must become ready. The only place where its state is set."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

from glowplug.errors import Draining
from glowplug.readiness.attempt import NEARLY_PERCENT, Attempt
from glowplug.readiness.component_snapshot import NOT_LOADED, ComponentSnapshot, ErrorClass, Failure, Timings
from glowplug.readiness.estimate import Estimate, estimate
from glowplug.readiness.history import Load
from glowplug.readiness.plan import Plan
from glowplug.readiness.progress import LONGEST_WORDS, Stage, status_of
from glowplug.readiness.spec import Spec, Surroundings, Transition
from glowplug.readiness.state import Gates, Status, route

LONGEST_ERROR = 500
PROGRESS_SECONDS = 0.25
"""A counter that moves within one percent is told of this often at most."""


class Component:
    """One named thing: a model, a server it depends on, a connection.

    Its methods say what happened; they may be called from any thread and never wait. A report that comes too late is
    ignored: of an attempt that is not the running one (pass `attempt` to have that checked), or from a component that
    is draining.
    """

    def __init__(self, spec: Spec, surroundings: Surroundings) -> None:
        self.spec = spec
        # Kept through a change of name: its past loads were made under the first one.
        self._key = spec.key
        self._around = surroundings
        self._status = Status.PENDING
        self._since = surroundings.clock.monotonic()
        self._plan = self._learned()
        self._attempt = Attempt.begun(0, self._plan, self._since)
        self._over = True
        self._timings = NOT_LOADED
        self._was_ready = False
        self._reason: str | None = None
        self._failure: Failure | None = None
        self._told: tuple[int, float] = (-1, -math.inf)

    @property
    def name(self) -> str:
        """Return the name, unique on its board."""
        return self.spec.name

    @property
    def required(self) -> bool:
        """Say whether the whole waits for it."""
        return self.spec.required

    @property
    def gates(self) -> Gates:
        """Return how long the whole waits for it."""
        return self.spec.gates

    @property
    def was_ready(self) -> bool:
        """Say whether it has ever been ready."""
        return self._was_ready

    @property
    def status(self) -> Status:
        """Return how it stands."""
        return self._status

    @property
    def attempt(self) -> int:
        """Return the number of the running or last attempt, 0 before the first."""
        return self._attempt.number

    def begin(self, attempt: int | None = None) -> int:
        """Start an attempt to become ready, the first or a new one, and return its number.

        Everything known of the one before is forgotten. Raises `Draining` when it is too late to load anything.
        """
        with self._around.lock:
            if self._status is Status.DRAINING:
                raise Draining(f"{self.name} is draining: nothing is loaded any more", component=self.name)
            passed = self._begin(attempt)
            number = self.attempt
        self._tell(passed)
        return number

    def stage(self, name: str, *, attempt: int | None = None) -> None:
        """Say that the load went on to the stage `name` (see `Stage`; own names are welcome)."""
        with self._around.lock:
            if not self._listens(attempt):
                return
            passed = self._begin() if self._status is Status.PENDING else []
            self._attempt = self._attempt.entered(str(name)[:LONGEST_WORDS], self._now())
            if self._status is not Status.ERROR:
                passed += self._go(status_of(name))
        self._tell(passed)

    def advance(
        self,
        *,
        done: float | None = None,
        total: float | None = None,
        unit: str | None = None,
        note: str | None = None,
        attempt: int | None = None,
    ) -> None:
        """Say how far the running stage is; called as often as one likes. `done` is a total, not a step."""
        with self._around.lock:
            if not self._listens(attempt) or self._status is Status.PENDING:
                return
            before, now = self._attempt.progress, self._now()
            after = before.advanced(done, total, unit, note)
            self._attempt = self._attempt.advanced(now, after)
            percent, (told_percent, told_at) = int(self._attempt.percent), self._told
            # A loader may report each of a million tensors; every watcher would be woken for each.
            if after.counts_like(before) and percent == told_percent and now - told_at < PROGRESS_SECONDS:
                return
            self._told = (percent, now)
        self._tell([])

    def alive(self, *, attempt: int | None = None) -> None:
        """Give a sign of life without news: the stall deadline moves, nobody is told."""
        with self._around.lock:
            if self._listens(attempt):
                self._attempt = self._attempt.alive(self._now())

    def warming(self, *, attempt: int | None = None) -> None:
        """Say that the model is loaded and its warm-up begins."""
        self.stage(Stage.WARM_UP, attempt=attempt)

    def ready(self, *, attempt: int | None = None) -> None:
        """Say that work may come. After `fail` too: a load that was given up on may finish late."""
        with self._around.lock:
            if self._is_stale(attempt) or self._status in (Status.READY, Status.DRAINING):
                return
            # A server that was lost and is back was not loaded again: its time away teaches nothing.
            measured = not self._over and self._status is not Status.PENDING
            passed = [] if measured else self._begin()
            load = self._attempt.load(self._now())
            self._attempt = replace(self._attempt, percent=NEARLY_PERCENT)
            self._over = True
            self._timings = self._timed(load)
            self._was_ready = True
            self._reason = self._failure = None
            passed += self._go(Status.READY)
            if measured:
                passed[-1] = replace(passed[-1], load=load)
        self._tell(passed)
        if measured:
            # Last, because it may touch a disk: work can come already.
            self._around.histories.record(self._key, load)
            self._plan = self._learned()

    def rewarmed(self, seconds: float) -> None:
        """Say that a component that stayed ready was warmed again, and how long that took."""
        with self._around.lock:
            if self._status is not Status.READY:
                return
            self._timings = replace(self._timings, warmup_time_ms=_milliseconds(seconds))
        self._tell([])

    def fail(
        self,
        error: str,
        error_class: ErrorClass | str = ErrorClass.PERMANENT,
        retryable: bool | None = None,
        *,
        attempt: int | None = None,
    ) -> None:
        """Say that it is not ready and nobody mends that by itself.

        `retryable` says whether trying again may help; by default that follows from the class.
        """
        kind = ErrorClass.of(error_class)
        failure = Failure(_sentence(error), kind, kind.retryable if retryable is None else retryable)
        self._settle(Status.ERROR, failure=failure, attempt=attempt)

    def postpone(self, reason: str, error: str = "", error_class: ErrorClass | str = ErrorClass.TRANSIENT) -> None:
        """Say that it is not ready and that a new attempt comes by itself: "in 8 s (2 of 5)".

        `error` is what ended the attempt before, or the model's life.
        """
        failure = Failure(_sentence(error), ErrorClass.of(error_class), retryable=True) if error else None
        self._settle(Status.PENDING, reason=reason, failure=failure)

    def unavailable(self, reason: str = "not_installed") -> None:
        """Say that it cannot exist here."""
        self._settle(Status.UNAVAILABLE, reason=reason)

    def sleep(self, reason: str | None = None) -> None:
        """Say that it was unloaded, or not loaded at all, until work for it comes."""
        self._settle(Status.SLEEPING, reason=reason)

    def drain(self) -> None:
        """Say that it finishes what it has and takes nothing new; what failed stays as it is."""
        if not self._status.is_failed:
            self._settle(Status.DRAINING)

    def deadline(self) -> float | None:
        """Return the monotonic moment at which the running attempt is overdue if nothing is heard, else None."""
        with self._around.lock:
            return self.spec.deadlines.of(self._attempt)[0] if self._status.is_running else None

    def stalled(self, now: float | None = None) -> bool:
        """Say whether the running attempt has shown no sign of life for too long."""
        now = self._now() if now is None else now
        return self._status.is_running and now - self._attempt.active >= self.spec.deadlines.stall_seconds

    def expire(self, now: float | None = None) -> Failure | None:
        """Fail the running attempt if it is overdue, and return why; None while it is in time."""
        with self._around.lock:
            moment, why = self.spec.deadlines.of(self._attempt)
            if not self._status.is_running or (self._now() if now is None else now) < moment:
                return None
            failure = Failure(why, ErrorClass.STALLED, retryable=True)
            passed = self._set(Status.ERROR, failure=failure)
        self._tell(passed)
        return failure

    def snapshot(self) -> ComponentSnapshot:
        """Return the picture of this moment."""
        with self._around.lock:
            now, spec, status, attempt = self._now(), self.spec, self._status, self._attempt
            running = status.is_running
            return ComponentSnapshot(
                name=spec.name,
                label=spec.shown_name,
                status=status,
                required=spec.required,
                gates=spec.gates,
                model=spec.model,
                device=spec.device,
                attempt=attempt.number,
                was_ready=self._was_ready,
                percent=self._percent(),
                weight_seconds=self._plan.seconds,
                progress=attempt.progress if running else None,
                estimate=self._estimate(now),
                loading_seconds=now - attempt.began if running else None,
                timings=self._timings,
                reason=self._reason,
                failure=self._failure,
            )

    def _settle(
        self,
        status: Status,
        reason: str | None = None,
        failure: Failure | None = None,
        attempt: int | None = None,
    ) -> None:
        with self._around.lock:
            late = self._status is Status.DRAINING and status is not Status.SLEEPING
            known = (self._status, self._reason, self._failure) == (status, reason, failure)
            if late or known or self._is_stale(attempt):
                return
            passed = self._set(status, reason, failure)
        self._tell(passed)

    def _set(self, status: Status, reason: str | None = None, failure: Failure | None = None) -> list[Transition]:
        self._reason, self._failure = reason, failure
        return self._go(status)

    def _begin(self, attempt: int | None = None) -> list[Transition]:
        number = self.attempt + 1 if attempt is None else attempt
        self._attempt = Attempt.begun(number, self._plan, self._now())
        self._over = False
        self._timings = NOT_LOADED
        self._reason = self._failure = None
        self._told = (-1, -math.inf)
        return self._go(Status.LOADING)

    def _go(self, status: Status) -> list[Transition]:
        passed = []
        for step in route(self._status, status):
            now = self._now()
            passed.append(Transition(self.name, self._status, step, now - self._since, self.attempt, self._failure))
            self._status, self._since = step, now
            self._around.version += 1
        return passed

    def _tell(self, passed: list[Transition]) -> None:
        try:
            for transition in passed:
                self._around.transitioned(transition)
        finally:
            self._around.changed()

    def _is_stale(self, attempt: int | None) -> bool:
        return attempt is not None and attempt != self.attempt

    def _listens(self, attempt: int | None) -> bool:
        # After an error the load may still be at work in its thread: its stages are followed, the verdict stands.
        given_up = self._status is Status.ERROR and not self._over
        return not self._is_stale(attempt) and (self._status.is_loading or given_up)

    def _now(self) -> float:
        return self._around.clock.monotonic()

    def _learned(self) -> Plan:
        return Plan.of(self._around.histories.past(self._key))

    def _timed(self, load: Load) -> Timings:
        warm = dict(load.stages).get(Stage.WARM_UP)
        loaded_at = self._around.clock.now() - timedelta(seconds=warm or 0.0)
        warm_ms = None if warm is None else _milliseconds(warm)
        return Timings(loaded_at, _milliseconds(load.seconds - (warm or 0.0)), warm_ms)

    def _percent(self) -> float:
        if self._status.can_serve:
            return 100.0
        return 0.0 if self._status is Status.PENDING else self._attempt.percent

    def _estimate(self, now: float) -> Estimate | None:
        if self._status is Status.PENDING:
            return estimate(self._plan)
        return self._attempt.estimate(now) if self._status.is_running else None


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _sentence(error: str) -> str:
    """Return an error as one line of bounded length: it is shown on open routes."""
    return " ".join(error.split())[:LONGEST_ERROR] or "unknown error"
