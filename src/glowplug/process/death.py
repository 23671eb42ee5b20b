"""How the process of a model ended, and what is to be done about it: pure decisions."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace

from glowplug.readiness.component_snapshot import ErrorClass

LONGEST_DELAY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a process.

    `why` is for people, `exit` is the signal's name or the status. `blameless` means that we ended it for a reason
    that lies in no running call. `was_ready` says whether it had come so far as to serve.
    """

    why: str
    error_class: ErrorClass
    exit: str = ""
    was_ready: bool = False
    blameless: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do: load again after `delay_seconds`, for the `number`-th time of `most`; None gives up."""

    delay_seconds: float | None
    number: int = 0
    most: int = 0


@dataclass(frozen=True, slots=True)
class Restarts:
    """What has gone wrong so far. The first load counts failures that may pass; once it was ready, deaths in a row."""

    load_attempts: int
    max_restarts: int
    was_ready: bool = False
    count: int = 0

    def after(self, death: Death) -> tuple[Restarts, Verdict]:
        """Count a death and decide.

        A first load is tried again only if what stopped it may pass. What was ready once is worth more: it is loaded
        again, at first without delay, unless the load itself says that it never will succeed. A death for which
        nobody is to blame counts for nothing.
        """
        if death.blameless and death.was_ready:
            return replace(self, was_ready=True), Verdict(0.0, self.count, self.max_restarts)
        ready = self.was_ready or death.was_ready
        count = self.count + 1 if ready == self.was_ready else 1
        counted = replace(self, was_ready=ready, count=count)
        if not ready:
            passes = death.error_class is ErrorClass.TRANSIENT and count < self.load_attempts
            return counted, Verdict(_delay(count), count + 1, self.load_attempts) if passes else Verdict(None)
        hopeless = not death.was_ready and death.error_class is ErrorClass.PERMANENT
        if hopeless or count > self.max_restarts:
            return counted, Verdict(None)
        return counted, Verdict(_delay(count - 2) if count > 1 else 0.0, count, self.max_restarts)

    def after_good_work(self) -> Restarts:
        """Return the count after a call ended well or got as far as a checkpoint."""
        return self if self.count == 0 else replace(self, count=0)

    def afresh(self) -> Restarts:
        """Return the count after somebody asked for another try."""
        return Restarts(self.load_attempts, self.max_restarts)


def _delay(failures: int) -> float:
    return min(LONGEST_DELAY_SECONDS, 2.0 ** (failures - 1))


def exit_name(status: int) -> str:
    """Return the name of an exit status as Python's `subprocess` gives it: SIGSEGV, or `status 3`."""
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def crash(status: int, *, was_ready: bool, out_of_memory: bool) -> Death:
    """Describe the end of a process that nobody asked to end."""
    name = exit_name(status)
    if out_of_memory:
        return Death(f"Out of memory: the kernel killed it ({name})", ErrorClass.OUT_OF_MEMORY, name, was_ready)
    return Death(f"its process died with {name}", ErrorClass.TRANSIENT, name, was_ready)
