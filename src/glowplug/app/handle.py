"""Calling the tasks of a model in its own process, from the application's code."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import threading
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glowplug.app.home import at_home
from glowplug.artifact import SCHEME, Artifact
from glowplug.errors import Draining, GlowplugError, InvalidInput, ModelCrashed, TaskFailed
from glowplug.job import Note, OutcomeKind
from glowplug.lifecycle import in_thread
from glowplug.process.call import Call, CallEnd
from glowplug.process.host import Host

KEPT_CALLS = 64
KEPT_BYTES = 1 << 30


class Handle:
    """The tasks of one isolated model: `await ready["digits"].run("generate", prompt="7")`.

    A `pathlib.Path` in the input is sent as a file, `bytes` as a file's content; a file that the task saved is a `Path`
    in the output. Saved files stay in a folder of the application until newer ones take their room: those of the last
    64 calls with files, and a gigabyte in all.
    """

    def __init__(self, host: Host, files: Path) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._shelf = Shelf(files)
        self._count = itertools.count(1)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the names of the tasks."""
        return tuple(self._host.options)

    async def run(self, task: str, /, **values: Any) -> Any:
        """Run a task, called "task" or "model.task", and return its output; of one that streams, a list.

        Canceling the call stops the task.

        Raises:
            NotReady: the model is not ready.
            UnknownTask: the model has no such task.
            InvalidInput: the values do not fit; `fields` names the places.
            RemoteError: the task failed (`TaskFailed`), or its process died (`ModelCrashed`).
        """
        return await at_home(self._loop, self._collect(task, values))

    async def stream(self, task: str, /, **values: Any) -> AsyncGenerator[Any, None]:
        """Yield the values of a task that streams as they come; leaving the loop early stops the task.

        Only on the event loop of the application. Raises as `run` does.
        """
        sink = _Sink(asyncio.Queue(maxsize=1))
        work = asyncio.create_task(self._perform(task, values, sink), name=f"stream of {task}")
        work.add_done_callback(lambda _: sink.done.set())
        try:
            async with aclosing(sink.values()) as found:
                async for value in found:
                    yield value
            await work
        finally:
            sink.close()
            work.cancel()
            await asyncio.wait({work})

    async def _collect(self, task: str, values: Mapping[str, Any]) -> Any:
        sink = _Sink()
        end = await self._perform(task, values, sink)
        return sink.chunks if self._streams(task) else _with_paths(json.loads(end.output_json), sink.paths)

    async def _perform(self, task: str, values: Mapping[str, Any], sink: _Sink) -> CallEnd:
        number = next(self._count)
        folder = self._shelf.root / str(number)
        sent = Sent()
        call = Call(
            id=f"call-{number}",
            task=self._full_name(task),
            input_json=sent.encoded(values),
            files=sent.files,
            scratch=folder,
            prefix=f"calls/{number}",
        )
        try:
            end = await self._host.run(call, sink)
        finally:
            if folder.exists():
                await in_thread(None, self._shelf.keep, folder, list(sink.paths.values()))
        if end.kind is not OutcomeKind.COMPLETED:
            raise _error_of(end)
        return end

    def _streams(self, task: str) -> bool:
        known = self._host.info.tasks if self._host.info else ()
        return any(one.streams for one in known if one.name == self._full_name(task))

    def _full_name(self, task: str) -> str:
        info = self._host.info
        return task if "." in task or info is None else f"{info.name}.{task}"


@dataclass
class Sent:
    """Input on its way to the process: what is a file there is a reference in the JSON."""

    files: dict[str, str] = field(default_factory=dict)

    def encoded(self, values: Mapping[str, Any]) -> bytes:
        """Return the values as JSON. Raises `InvalidInput` for what JSON has no word for."""
        try:
            return json.dumps(values, default=self._plain).encode()
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"the input cannot be sent: {error}") from error

    def _plain(self, value: Any) -> str:
        if isinstance(value, (bytes, bytearray)):
            return f"data:application/octet-stream;base64,{base64.b64encode(value).decode()}"
        if not isinstance(value, Path):
            raise TypeError(f"a {type(value).__name__} is neither JSON nor a Path nor bytes")
        reference = f"{SCHEME}sent/{len(self.files)}"
        self.files[reference] = str(value.absolute())
        return reference


class Shelf:
    """The files of the last calls, in folders below `root`; used from any thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._kept: deque[tuple[Path, int]] = deque()
        self._lock = threading.Lock()

    def keep(self, folder: Path, files: Sequence[Path]) -> None:
        """Keep the folder of a call if it has saved files, and let the oldest go that are too many."""
        if not files:
            shutil.rmtree(folder, ignore_errors=True)
            return
        size = sum(file.stat().st_size for file in files if file.exists())
        with self._lock:
            self._kept.append((folder, size))
            while len(self._kept) > 1 and self._is_full():
                shutil.rmtree(self._kept.popleft()[0], ignore_errors=True)

    def _is_full(self) -> bool:
        return len(self._kept) > KEPT_CALLS or sum(size for _, size in self._kept) > KEPT_BYTES


class _Sink:
    """What a call reports: its files, and its values if it streams."""

    def __init__(self, queue: asyncio.Queue[Any] | None = None) -> None:
        self.paths: dict[str, Path] = {}
        self.chunks: list[Any] = []
        self.done = asyncio.Event()
        self._queue = queue
        self._closed = False

    async def note(self, note: Note) -> None:
        """Drop it."""

    async def saved(self, artifact: Artifact, path: Path) -> None:
        """Remember where a file is, under a name that ends as the task called it."""
        named = path.with_name(f"{path.name}-{artifact.name}")
        self.paths[artifact.uri] = path.rename(named)  # noqa: ASYNC240 - quicker than handing it to a thread

    async def checkpoint(self, step: int, path: Path) -> None:
        """Drop it: such a call is never taken up again."""

    async def chunk(self, output_json: bytes) -> None:
        """Take a value; a slow reader slows the task down."""
        value = _with_paths(json.loads(output_json), self.paths)
        if self._queue is None:
            self.chunks.append(value)
        elif not self._closed:
            await self._queue.put(value)

    def close(self) -> None:
        """Take no more values: nobody reads, and the task must not wait for that."""
        self._closed = True
        while self._queue is not None and not self._queue.empty():
            self._queue.get_nowait()

    async def values(self) -> AsyncGenerator[Any, None]:
        """Yield the values of a stream until its call is over."""
        assert self._queue is not None
        over, value = asyncio.create_task(self.done.wait()), None
        try:
            while not (self.done.is_set() and self._queue.empty()):
                value = asyncio.create_task(self._queue.get())
                await asyncio.wait({value, over}, return_when=asyncio.FIRST_COMPLETED)
                if value.done():
                    yield value.result()
        finally:
            over.cancel()
            if value is not None:
                value.cancel()


def _with_paths(output: Any, paths: Mapping[str, Path]) -> Any:
    """Return an output with paths in place of the references to files of its call."""
    if isinstance(output, str):
        return paths.get(output, output)
    if isinstance(output, list):
        return [_with_paths(one, paths) for one in output]
    if isinstance(output, dict):
        return {name: _with_paths(one, paths) for name, one in output.items()}
    return output


def _error_of(end: CallEnd) -> GlowplugError:
    if end.kind is OutcomeKind.INTERRUPTED:
        return Draining("the application leaves")
    if end.kind is OutcomeKind.DISPLACED:
        return ModelCrashed("another call ended the model's process; call again when it is ready")
    return end.error or TaskFailed(f"the call ended as {end.kind.value}")
