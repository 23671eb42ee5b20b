"""Pretending, for an application's own tests: components are as the test says, and nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from glowplug.app import Life, Loader, Place, Readiness
from glowplug.errors import Conflict, InvalidInput
from glowplug.readiness.component_snapshot import ComponentSnapshot, ErrorClass
from glowplug.readiness.estimate import Estimate
from glowplug.readiness.history_file import HistoryFile

NOBODY = object()
"""Stands for a value that was not given."""


@contextmanager
def pretend(readiness: Readiness) -> Iterator[Pretence]:
    """Keep every component of `readiness` from loading; each is pending until the test says how it stands.

        with pretend(ready) as models, TestClient(app) as client:
            models.slow("tts", percent=40, seconds_left=12)
            assert client.post("/speak").status_code == 425
            models.ready("tts", value=FakeVoice())
            assert client.post("/speak").status_code == 200

    At the end everything is as before. What is said may be said from any thread, before the application starts too,
    and holds when it is started again. Raises `Conflict` if the application runs already.
    """
    if readiness.started:
        raise Conflict("this application runs already; pretend before it starts")
    with ExitStack() as undo:
        # No pretended load is a lesson for the estimates of real ones.
        undo.enter_context(patch.object(HistoryFile, "record", _forget))
        models = Pretence(readiness, undo)
        undo.enter_context(patch.dict(readiness.loaders, models.loaders))
        yield models


class Pretence:
    """The components of one application as a test wants them. Each method raises `NotFound` for an unknown name."""

    def __init__(self, readiness: Readiness, undo: ExitStack) -> None:
        self._readiness = readiness
        self.loaders = {name: _Pretended(undo) for name in readiness.loaders}

    def ready(self, *names: str, value: Any = NOBODY) -> None:
        """Make components ready, all of them without a name; `value` is what `ready["tts"]` then gives."""
        for name in names or tuple(self.loaders):
            loader = self._named(name)
            if value is not NOBODY:
                loader.value = value
            loader.say(_Ready())

    def slow(self, name: str, *, percent: float = 0.0, seconds_left: float | None = None) -> None:
        """Have a component load, this far; without `seconds_left` nobody can tell how long it will take.

        Raises:
            InvalidInput: `percent` is not from 0 to 99, or the time is negative.
        """
        if not 0 <= percent < 100 or (seconds_left or 0.0) < 0:
            raise InvalidInput(f"slow: percent is from 0 to 99 and seconds_left from 0, not {percent}, {seconds_left}")
        self._named(name).say(_Slow(percent, seconds_left))

    def fail(self, name: str, error: str = "Out of memory", error_class: ErrorClass | str = "permanent") -> None:
        """Have a component's load end in an error; a retry makes it load until the test says more."""
        self._named(name).say(_Failed(error, ErrorClass.of(error_class)))

    def unavailable(self, name: str, reason: str = "not_installed") -> None:
        """Make a component one that cannot exist here."""
        self._named(name).say(_Unavailable(reason))

    def _named(self, name: str) -> _Pretended:
        return self.loaders[self._readiness.board.component(name).name]


class _Pretended(Loader):
    """Stands in for the loader of one component; remembers what was said last."""

    def __init__(self, undo: ExitStack) -> None:
        self.value: Any = None
        self._undo = undo
        self._said: _Said | None = None
        self._life: _PretendedLife | None = None

    def life(self, place: Place) -> _PretendedLife:
        self._life = _PretendedLife(place, self)
        self._undo.enter_context(patch.object(place.component, "snapshot", self._life.picture))
        return self._life

    def say(self, said: _Said) -> None:
        self._said = said
        self.repeat()

    def repeat(self) -> None:
        if self._said is not None and self._life is not None and self._life.started:
            self._said.tell(self._life)


class _PretendedLife(Life):
    def __init__(self, place: Place, loader: _Pretended) -> None:
        super().__init__(place)
        self.percent = 0.0
        self.seconds_left: float | None = None
        self._loader = loader
        self._real_picture = place.component.snapshot

    @property
    def value(self) -> Any:
        return self._loader.value

    async def start(self) -> None:
        await super().start()
        self._loader.repeat()

    async def retry(self) -> None:
        self.begin()

    async def warm_up(self) -> float:
        self.component.rewarmed(0.0)
        return 0.0

    def begin(self) -> None:
        self.percent, self.seconds_left = 0.0, None
        self.component.begin()
        self.component.stage("load")

    def picture(self) -> ComponentSnapshot:
        """Return the component as it stands, with the progress and the time that the test named."""
        seen = self._real_picture()
        left = self.seconds_left if seen.status.is_running else None
        return replace(
            seen,
            weight_seconds=1.0,
            percent=self.percent if seen.status.is_running else seen.percent,
            estimate=None if left is None else Estimate(left, left, left),
        )


class _Said:
    """What a test said of a component."""

    def tell(self, life: _PretendedLife) -> None:
        """Make it so."""


class _Ready(_Said):
    def tell(self, life: _PretendedLife) -> None:
        life.component.ready()


@dataclass(frozen=True, slots=True)
class _Slow(_Said):
    percent: float
    seconds_left: float | None

    def tell(self, life: _PretendedLife) -> None:
        # Progress never goes back within an attempt, so further back is another one.
        if not life.component.status.is_running or self.percent < life.percent:
            life.begin()
        life.percent, life.seconds_left = self.percent, self.seconds_left
        note = "" if self.seconds_left is None else f"{self.seconds_left:g} s left"
        life.component.advance(done=self.percent, total=100, unit="%", note=note)


@dataclass(frozen=True, slots=True)
class _Failed(_Said):
    error: str
    error_class: ErrorClass

    def tell(self, life: _PretendedLife) -> None:
        life.component.fail(self.error, self.error_class)


@dataclass(frozen=True, slots=True)
class _Unavailable(_Said):
    reason: str

    def tell(self, life: _PretendedLife) -> None:
        life.component.unavailable(self.reason)


def _forget(*_: object) -> None:
    """Record nothing."""
