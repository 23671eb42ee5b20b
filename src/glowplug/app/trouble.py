"""What a failed load means: to be told as an error, as "cannot exist here", or to be tried again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from glowplug.errors import MissingExtra, Unavailable
from glowplug.process.faults import load_class, load_message, story
from glowplug.readiness.component import Component
from glowplug.readiness.component_snapshot import ErrorClass

_OURS = str(Path(__file__).parent)
NOT_INSTALLED = "not_installed"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a load failed, without the exception: its traceback would keep half a model in memory.

    `reason` is set where the component cannot exist here, `story` is the traceback for the log.
    """

    message: str
    error_class: ErrorClass
    reason: str | None = None
    story: str = ""

    @classmethod
    def of(cls, error: BaseException, *, required: bool) -> Trouble:
        """Judge what a load raised."""
        if isinstance(error, Unavailable):
            return cls(error.message, ErrorClass.PERMANENT, error.message)
        if isinstance(error, (ImportError, MissingExtra)) and not required:
            return cls(load_message(error), ErrorClass.PERMANENT, NOT_INSTALLED)
        error.__traceback__ = _from_theirs(error.__traceback__)
        message = load_message(error)
        if isinstance(error, ModuleNotFoundError) and error.name:
            message += f"; install what provides {error.name.partition('.')[0]!r}, or give the component required=False"
        return cls(message, load_class(error), story=story(error))

    @property
    def may_pass(self) -> bool:
        """Say whether the same load may well succeed if it is tried again by itself."""
        return self.reason is None and self.error_class is ErrorClass.TRANSIENT

    def tell(self, component: Component, attempt: int) -> None:
        """Say it of `component`."""
        if self.reason is None:
            component.fail(self.message, self.error_class, attempt=attempt)
        elif component.attempt == attempt:
            component.unavailable(self.reason)


def _from_theirs(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback from where the developer's own code begins."""
    first = frames
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_OURS):
        first = first.tb_next
    return first or frames
