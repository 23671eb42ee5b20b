"""A call of a task as the host's users see it: what is asked, what it reports, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from glowplug.artifact import Artifact
from glowplug.errors import GlowplugError
from glowplug.job import Note, OutcomeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a task. `id` is unique among the running ones.

    `input_json` is the JSON object of parameters, unparsed: the model's process validates it. `files` are local paths
    by reference, for file parameters. `scratch` is the call's own folder, made when it is first used; without one the
    host gives and removes it. `prefix` is where the keys of saved artifacts begin, `resumed` the step and the file of
    a checkpoint to go on from.
    """

    id: str
    task: str
    input_json: bytes
    files: Mapping[str, str] = field(default_factory=dict)
    scratch: Path | None = None
    prefix: str = ""
    resumed: tuple[int, str] | None = None
    timeout_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended; `output_json` is the result of a completed one."""

    kind: OutcomeKind
    output_json: bytes = b"null"
    artifacts: tuple[Artifact, ...] = ()
    error: GlowplugError | None = None


class CallSink(Protocol):
    """What a running call reports. Called in order, one at a time, on the event loop, and done with before its end.

    An error that a method raises stops the call, which then ends in it.
    """

    async def note(self, note: Note) -> None:
        """Take progress (throttled), metrics, or lines of log."""

    async def saved(self, artifact: Artifact, path: Path) -> None:
        """Take a file; the task goes on. The file stays until the call's scratch folder goes."""

    async def checkpoint(self, step: int, path: Path) -> None:
        """Make a checkpoint durable; the task waits. `LeaseLost` ends the call as canceled."""

    async def chunk(self, output_json: bytes) -> None:
        """Take one value of a task that streams."""


class Quiet:
    """A sink for nobody."""

    async def note(self, note: Note) -> None:
        """Drop it."""

    async def saved(self, artifact: Artifact, path: Path) -> None:
        """Drop it."""

    async def checkpoint(self, step: int, path: Path) -> None:
        """Call it durable."""

    async def chunk(self, output_json: bytes) -> None:
        """Drop it."""
