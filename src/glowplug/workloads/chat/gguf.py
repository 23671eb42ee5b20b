"""A GGUF model in this process, by llama.cpp (the package xllamacpp)."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glowplug.errors import MissingExtra, SettingsError, TaskFailed
from glowplug.workloads.chat.engine import Chunk, Told
from glowplug.workloads.chat.reply import shown
from glowplug.workloads.chat.values import Message, Order

try:
    import xllamacpp
except ModuleNotFoundError as error:
    if error.name != "xllamacpp":
        raise
    raise MissingExtra.of("chat-gguf", "option gguf of the chat model") from error

MAGIC = b"GGUF"
ERRORS_ONLY = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is opened: `context` in tokens, shared by `slots` conversations; so many `layers` on the `card`."""

    path: Path
    context: int
    threads: int
    layers: int
    card: int
    slots: int


class GgufEngine:
    """llama.cpp's own server without its door: calls reach it from this process alone."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._server: Any = None
        self._replies: set[_Answer] = set()

    @property
    def name(self) -> str:
        """Return what to call the model in messages."""
        return f"the model {self._plan.path.name}"

    def open(self) -> None:
        """Read the file.

        Raises:
            SettingsError: it is no GGUF, damaged, or of an architecture that is not known.
        """
        _check_magic(self._plan.path)
        folder = tempfile.mkdtemp(prefix="glowplug-chat-")
        try:
            self._server = xllamacpp.Server(_parameters(self._plan, Path(folder) / "door"))
        except RuntimeError as error:
            raise SettingsError(
                f"{self._plan.path} cannot be opened: damaged or cut short, too large for the memory, or of an "
                f"architecture that xllamacpp {xllamacpp.__version__} does not know; the model's log has the reason"
            ) from error
        finally:
            # The server insists on listening; at a socket without a name nobody finds it.
            shutil.rmtree(folder)
        self._wake()

    def begin(self, order: Order, tell: Callable[[Told], None]) -> Callable[[], object]:
        """Begin to answer; after the stop no further token is computed."""
        answer = _Answer(self._server, order, tell)
        self._replies = {one for one in self._replies if one.is_alive()} | {answer}
        answer.start()
        return answer.stopped.set

    def check(self) -> None:
        """Nothing outside this process is leaned on."""

    def close(self) -> None:
        """Stop what is under way and free the model."""
        for answer in self._replies:
            answer.stopped.set()
            answer.join()
        self._server = None

    def _wake(self) -> None:
        # A server that is closed before it has answered once never ends.
        body = Order([Message("user", "Hello")], 1).body("local")
        told: list[Chunk] = []
        self._server.handle_chat_completions(body, told.append)
        if not told or "error" in told[0]:
            why = shown(str(told[0]["error"])) if told else "no reason given"
            raise SettingsError(f"{self._plan.path} gives no reply to a first word: {why}")


class _Answer(threading.Thread):
    def __init__(self, server: Any, order: Order, tell: Callable[[Told], None]) -> None:
        super().__init__(name="glowplug-chat", daemon=True)
        self._server = server
        self._order = order
        self._tell = tell
        self.stopped = threading.Event()

    def run(self) -> None:
        try:
            self._server.handle_chat_completions(self._order.body("local"), self._take)
        except Exception as error:  # noqa: BLE001 - the thread that waits must hear of it
            self._tell(TaskFailed(f"llama.cpp failed: {error}", error_class=type(error).__name__))
        else:
            self._tell(None)
        finally:
            del self._server

    def _take(self, chunk: Chunk) -> bool:
        self._tell(chunk)
        return self.stopped.is_set()


def file_in(place: Path) -> Path:
    """Return the GGUF at `place`: a file, or a folder that holds one, perhaps in several parts.

    Raises:
        SettingsError: there is none, or more than one.
    """
    if not place.is_dir():
        if place.is_file():
            return place
        raise SettingsError(f"option gguf: there is no file {place}")
    found = sorted(path for path in place.rglob("*.gguf") if not path.name.startswith("mmproj"))
    first = [path for path in found if "-of-" not in path.name or "-00001-of-" in path.name]
    if len(first) != 1:
        names = ", ".join(path.name for path in first[:5]) or "none"
        raise SettingsError(f"option gguf: one model is expected in {place}; there is {names}")
    return first[0]


def _check_magic(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            magic = stream.read(len(MAGIC))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    if magic != MAGIC:
        raise SettingsError(f"{path} is no GGUF file")


def _parameters(plan: Plan, door: Path) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(plan.path)
    parameters.hostnames = [f"{door}.sock"]
    parameters.ui = parameters.endpoint_slots = parameters.endpoint_props = False
    parameters.n_ctx = plan.context
    parameters.n_parallel = plan.slots
    parameters.kv_unified = True
    parameters.n_gpu_layers = plan.layers
    if plan.layers and plan.card:
        parameters.main_gpu, parameters.split_mode = plan.card, xllamacpp.llama_split_mode.LLAMA_SPLIT_MODE_NONE
    parameters.verbosity = ERRORS_ONLY
    if plan.threads:
        parameters.cpuparams.n_threads = plan.threads
        parameters.cpuparams_batch.n_threads = plan.threads
    return parameters
