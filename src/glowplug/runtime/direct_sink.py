"""What a direct call reports while it runs, and how its end is told to the caller."""

from __future__ import annotations

from pathlib import Path

from glowplug.artifact import Artifact
from glowplug.errors import Draining, GlowplugError, ModelCrashed, TaskFailed
from glowplug.job import Note, OutcomeKind
from glowplug.process.call import CallEnd
from glowplug.runtime.asgi import EventStream, Send, answer
from glowplug.runtime.problem import problem
from glowplug.runtime.uploads import Put, Uploads


class DirectSink:
    """Files are stored and values streamed; nobody asks for the rest."""

    def __init__(self, put: Put, stream: EventStream | None) -> None:
        self.uploads = Uploads(put)
        self._stream = stream

    async def note(self, note: Note) -> None:
        """Drop it: nobody follows a direct call's progress."""

    async def saved(self, artifact: Artifact, path: Path) -> None:
        """Begin to store a file."""
        self.uploads.add(artifact, path)

    async def checkpoint(self, step: int, path: Path) -> None:
        """Drop it: a direct call is never taken up again."""

    async def chunk(self, output_json: bytes) -> None:
        """Send one value to the caller; a slow one slows the task down."""
        if self._stream is not None:
            await self._stream.event(output_json)


async def answer_end(end: CallEnd, stream: EventStream | None, send: Send) -> None:
    """Send the result of a call. Raises the error that it ended with."""
    if end.kind is not OutcomeKind.COMPLETED:
        raise error_of(end)
    if stream is None:
        await answer(send, 200, end.output_json)
    else:
        await stream.event(b"{}", b"done")
        await stream.end()


async def break_off(stream: EventStream, error: GlowplugError) -> None:
    """End a stream that has begun with the error as its last event."""
    await stream.event(problem(error), b"error")
    await stream.end()


def error_of(end: CallEnd) -> GlowplugError:
    """Return what the caller is told of a call that did not complete."""
    if end.kind is OutcomeKind.INTERRUPTED:
        return Draining("the worker is leaving; call again to reach another one", retry_after=1)
    if end.kind is OutcomeKind.DISPLACED:
        return ModelCrashed("another call ended the model's process; call again when it is ready")
    return end.error or TaskFailed(f"the call ended as {end.kind.value}")
