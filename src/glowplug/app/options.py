"""What a developer may say of a `Readiness` and of each component, checked where it is said."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

from glowplug.app.performing import Function
from glowplug.clock import Clock, SystemClock
from glowplug.errors import SettingsError
from glowplug.readiness.deadlines import DEFAULT_DEADLINES, Deadlines
from glowplug.readiness.state import Gates

Made = TypeVar("Made")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RESERVED = frozenset(("stream", "retry"))
"""Names of routes that stand where a component's name may stand."""
CHECK_SECONDS = 10.0
EARLY_STATUSES = (425, 503)


class ReadinessWords(TypedDict, total=False):
    """The keywords of `Readiness`; see `ReadinessOptions`."""

    early_status: int
    token: str | None
    auto_warmup: bool
    warmup_timeout: float
    startup_timeout: float
    stall_timeout: float
    webhook: str | None
    webhook_secret: str | None
    cache: str | Path | None
    data: str | Path | None
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessOptions:
    """How an application becomes ready; times are in seconds.

    `early_status` (425 or 503) is the answer while something required loads; probes always say 503. Without
    `auto_warmup` a load ends before its warm-up, but for isolated models, which always warm up. `token` opens the
    routes that cost something to other machines. `webhook` hears of each change of state, signed with
    `webhook_secret`. `cache` and `data` are folders; None takes `GLOWPLUG_CACHE` and `GLOWPLUG_DATA`, else the
    platform's own.
    """

    early_status: int = 425
    token: str | None = field(default=None, repr=False)
    auto_warmup: bool = True
    warmup_timeout: float = DEFAULT_DEADLINES.warm_up_seconds
    startup_timeout: float = DEFAULT_DEADLINES.startup_seconds
    stall_timeout: float = DEFAULT_DEADLINES.stall_seconds
    webhook: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    cache: str | Path | None = None
    data: str | Path | None = None
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        if self.early_status not in EARLY_STATUSES:
            raise SettingsError(f"Readiness: early_status is 425 or 503, not {self.early_status!r}")
        for name in ("warmup_timeout", "startup_timeout", "stall_timeout"):
            _check_seconds("Readiness", name, getattr(self, name))


class ComponentWords(TypedDict, total=False):
    """The keywords of `Readiness.component` and `Readiness.add`; see `ComponentOptions`."""

    required: bool
    model: str | None
    device: str | None
    label: str
    gates: Literal["always", "start"]
    warm_up: Callable[..., Any] | None
    isolate: bool
    weights: Mapping[str, str]
    options: Mapping[str, str]
    retries: int
    startup_timeout: float
    warmup_timeout: float
    stall_timeout: float
    check: Callable[..., Any] | None
    check_every: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentOptions:
    """What is known of a component besides its loader; times are in seconds, None takes those of the `Readiness`.

    `required`: the application is not ready without it; `gates` says for how long ("start": until it was ready once,
    which is the default where there is a `check`). `warm_up` gets the loaded value, or nothing. `isolate` loads a
    `Model` in a process of its own. `weights` are fetched or read before the load, which finds their paths in
    `ctx.weights`. `retries` is how often a load that failed for a passing reason is tried again by itself. `check` is
    called every `check_every` seconds once ready: raising, or returning False, makes the component not ready until a
    later call goes well.
    """

    required: bool = True
    model: str | None = None
    device: str | None = None
    label: str = ""
    gates: str | None = None
    warm_up: Callable[..., Any] | None = None
    isolate: bool = False
    weights: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    retries: int = 0
    startup_timeout: float | None = None
    warmup_timeout: float | None = None
    stall_timeout: float | None = None
    check: Callable[..., Any] | None = None
    check_every: float = CHECK_SECONDS

    def __post_init__(self) -> None:
        for name in ("startup_timeout", "warmup_timeout", "stall_timeout", "check_every"):
            value = getattr(self, name)
            if value is not None:
                _check_seconds("component", name, value)
        for name in ("warm_up", "check"):
            value = getattr(self, name)
            if value is not None:
                Function.of(value, f"component: {name}")
        if self.gates is not None and self.gates not in tuple(Gates):
            raise SettingsError(f"component: gates is 'always' or 'start', not {self.gates!r}")
        retries: Any = self.retries
        if not isinstance(retries, int) or retries < 0:
            raise SettingsError(f"component: retries is a number of further tries, not {retries!r}")
        weights: Any = self.weights
        if not isinstance(weights, Mapping):
            raise SettingsError('component: weights is a mapping, such as {"net": "s3://bucket/net"}')

    @property
    def chosen_gates(self) -> Gates:
        """Return how long the whole waits for it: what can be checked is usually far away, and gates the start."""
        if self.gates is not None:
            return Gates(self.gates)
        return Gates.START if self.check is not None else Gates.ALWAYS

    def deadlines(self, whole: ReadinessOptions) -> Deadlines:
        """Return the deadlines of its loads, as said here or for the whole application."""
        return Deadlines(
            self.startup_timeout or whole.startup_timeout,
            self.warmup_timeout or whole.warmup_timeout,
            self.stall_timeout or whole.stall_timeout,
        )


def read_options(kind: type[Made], words: Mapping[str, Any], where: str) -> Made:
    """Return the options that keywords stand for. Raises `SettingsError` for one that does not exist."""
    known = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    if unknown := [word for word in words if word not in known]:
        raise SettingsError(f"{where}: there is no option {unknown[0]!r}; there are: {', '.join(known)}")
    try:
        return kind(**words)
    except TypeError as error:
        raise SettingsError(f"{where}: {str(error).partition('() ')[2] or error}") from error


def checked_name(name: Any) -> str:
    """Return the name of a component if it can stand in an address. Raises `SettingsError`."""
    if callable(name):
        word = getattr(name, "__name__", "name")
        raise SettingsError(f'component: it wants a name first: @ready.component("{word}")')
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in RESERVED:
        raise SettingsError(
            f"component: {name!r} cannot be a name; use letters, digits, '.', '_' and '-', and not "
            f"{' or '.join(sorted(RESERVED))}"
        )
    return name


def _check_seconds(where: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise SettingsError(f"{where}: {name} is a number of seconds above 0, not {value!r}")
