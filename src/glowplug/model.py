"""What a model author writes: a `Model` with a `load` and typed tasks, and the contexts handed to them.

The class works as a plain object too: `m = Captioner(); m.load(LoadContext()); m.caption(RunContext(), ...)`.
Signatures are only recorded here; schemas are built in the model's own process.
"""

from __future__ import annotations

import hashlib
import inspect
import mimetypes
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, TypeVar, overload

from glowplug.artifact import Artifact
from glowplug.errors import InvalidInput, SettingsError
from glowplug.job import Budget
from glowplug.load_context import LoadContext

if TYPE_CHECKING:
    from PIL import Image as PillowImage

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ +@=-]{0,127}")


@dataclass(frozen=True, slots=True)
class FileParameter:
    """Marks a task parameter that is a file: callers send an artifact reference, the task gets a local copy."""

    kind: Literal["file", "image", "folder"] = "file"

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> dict[str, Any]:
        """Tell pydantic that whoever validates hands over the file: `context.open_file(value, kind)`."""
        del source, handler
        return {"type": "function-plain", "function": {"type": "with-info", "function": self._open}}

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, Any]:
        """Describe the parameter in JSON Schema: a reference to an artifact."""
        del schema, handler
        if self.kind == "folder":
            return {"type": "string", "format": "artifact-folder"}
        media_type = "image/*" if self.kind == "image" else "application/octet-stream"
        return {"type": "string", "format": "artifact", "contentMediaType": media_type}

    def _open(self, value: object, info: Any) -> object:
        return info.context.open_file(value, self.kind)


if TYPE_CHECKING:
    File = Path
    Folder = Path
    Image = PillowImage.Image
else:
    File = Annotated[Path, FileParameter("file")]
    Folder = Annotated[Path, FileParameter("folder")]
    Image = Annotated[Any, FileParameter("image")]


OPERATIONS = (
    "embeddings",
    "images/generations",
    "images/edits",
    "images/inpaints",
    "audio/speech",
    "audio/transcriptions",
    "chat/completions",
)
"""What other protocols ask for; a task that `serves` one of them takes and gives what docs/guide/protocols.md says."""


class Batch(list[T], Generic[T]):
    """The list that a batched task gets for each parameter; callers send one `T`."""


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How a task wants to be run.

    `batch` calls at most are handed over together, waiting `batch_wait_seconds` for company. `stall_seconds` ends a
    run that shows no sign of life. `on_new_version` says what a checkpoint of another model version is worth. With
    `warm_up` off, the example is shown but not run before the model is ready: for a task that takes long. `serves`
    is one of `OPERATIONS`: callers who speak that protocol reach the task by the name of its model.
    """

    example: Mapping[str, Any] | None = None
    batch: int = 1
    batch_wait_seconds: float = 0.005
    short: bool = False
    timeout_seconds: float | None = None
    stall_seconds: float | None = None
    budget: Budget = Budget()
    on_new_version: Literal["restart", "refuse"] = "restart"
    warm_up: bool = True
    serves: str = ""

    def __post_init__(self) -> None:
        if self.serves and self.serves not in OPERATIONS:
            raise SettingsError(f"@task serves={self.serves!r}: known operations are {', '.join(OPERATIONS)}")


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task as recorded: its method, what is written above it, and its options."""

    name: str
    method: str
    summary: str
    options: TaskOptions
    streams: bool


@overload
def task(function: F) -> F: ...


@overload
def task(*, example: Mapping[str, Any] | None = None, **options: Any) -> Callable[[F], F]: ...


def task(
    function: F | None = None, *, example: Mapping[str, Any] | None = None, **options: Any
) -> F | Callable[[F], F]:
    """Mark a method as a task; keywords are the fields of `TaskOptions`.

    Raises:
        SettingsError: an option does not exist, or `batch` is used with a generator.
    """
    try:
        chosen = TaskOptions(example=example, **options)
    except TypeError as error:
        raise SettingsError(f"@task: {error}; known options: {', '.join(TaskOptions.__slots__)}") from error

    def mark(target: F) -> F:
        if chosen.batch > 1 and inspect.isgeneratorfunction(target):
            raise SettingsError(f"@task {target.__name__}: a generator streams one call, so it cannot be batched")
        target.__glowplug_task__ = chosen  # type: ignore[attr-defined]
        return target

    return mark(function) if function is not None else mark


class Model:
    """Base class of models. `name` defaults to the class's name in lower case."""

    name: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    weights: ClassVar[Mapping[str, str]] = {}
    required: ClassVar[bool] = True
    slots: ClassVar[int] = 1
    check_seconds: ClassVar[float | None] = None
    devices: ClassVar[tuple[str, ...]] = ("cuda", "mps", "cpu")
    """The kinds of devices that it can run on, the best first: `worker.device` auto takes the first that is here."""

    def load(self, ctx: LoadContext) -> None:
        """Bring the model into memory; runs once in its own process, off the HTTP side."""

    def warm_up(self, ctx: LoadContext) -> None:
        """Make the first real call as fast as the next; the examples of the tasks have been run already."""

    def unload(self) -> None:
        """Give memory back before the process ends."""

    def sleep(self) -> None:
        """Move what lies on the device to host memory, so that another model has the room; `wake` moves it back.

        Called between calls, never beside one. A model that does not override both is unloaded instead of put to sleep.
        """

    def wake(self) -> None:
        """Move what `sleep` moved away back onto the device; the tasks then run as before."""

    def check(self) -> None:
        """Raise if something that the model leans on is gone, such as a server that it asks.

        Called now and then, beside the calls, in a model whose class sets `check_seconds`.
        """

    @classmethod
    def sources(cls, options: Mapping[str, str]) -> Mapping[str, str]:
        """Return where each of the weights is fetched from; a model whose source is an option overrides this.

        It is called before `load`, in the model's process, and imports nothing heavy.
        """
        del options
        return cls.weights

    @classmethod
    def prepare(cls, options: Mapping[str, str]) -> None:
        """Import what `load` is going to use.

        It runs in the model's process, before `load`, while the weights are still fetched and read. What it takes is
        memory of the host alone: which device the model gets is not known yet.
        """

    @classmethod
    def model_name(cls) -> str:
        """Return the name that tasks are prefixed with."""
        return cls.name or cls.__name__.lower()

    @classmethod
    def estimate(cls, weights: Mapping[str, Path], options: Mapping[str, str]) -> int | None:
        """Return how many bytes a load takes on its device, None if that cannot be said before.

        Asked before `load`, until a load of the same model with the same options has been measured. Without an answer
        the size of the weights' files is taken for a guess.
        """
        del weights, options
        return None

    @classmethod
    def can_sleep(cls) -> bool:
        """Say whether the model moves to host memory and back, instead of being unloaded and loaded again."""
        return cls.sleep is not Model.sleep and cls.wake is not Model.wake

    @classmethod
    def tasks(cls) -> dict[str, TaskSpec]:
        """Return the tasks by full name `model.method`, in the order they were written."""
        found: dict[str, TaskSpec] = {}
        for owner in reversed(cls.__mro__):
            for method in vars(owner):
                options = getattr(getattr(cls, method), "__glowplug_task__", None)
                if options is not None:
                    spec = _record(cls.model_name(), method, getattr(cls, method), options)
                    found[spec.name] = spec
        return found


def _record(model: str, method: str, function: Callable[..., Any], options: TaskOptions) -> TaskSpec:
    summary = (inspect.getdoc(function) or "").partition("\n")[0]
    return TaskSpec(f"{model}.{method}", method, summary, options, inspect.isgeneratorfunction(function))


@dataclass(frozen=True, slots=True)
class Resumed:
    """A checkpoint to go on from: the step it stands for and the file that was written."""

    step: int
    path: Path


class RunContext:
    """Handed to a task. As built here it keeps everything in `scratch`; the model's process reports from it."""

    def __init__(self, scratch: Path | None = None, *, resumed: Resumed | None = None) -> None:
        self._scratch = scratch
        self._resumed = resumed
        self.saved: list[Artifact] = []

    @property
    def calls(self) -> Sequence[RunContext]:
        """Return the contexts of the calls of a batch, in the order of its lists; a lone call has only itself.

        In a batch `progress` and `check` of the common context are about all of them, while `save` belongs to one.
        """
        return (self,)

    @property
    def scratch(self) -> Path:
        """Return a folder of this run's own, removed after it."""
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="glowplug-run-"))
        return self._scratch

    def progress(self, done: float, total: float | None = None, note: str = "", preview: bytes | None = None) -> None:
        """Report progress; cheap enough for every step. `preview` is a small PNG or JPEG, throttled."""

    def metrics(self, **values: float) -> None:
        """Report numbers worth a graph, such as an epoch's losses."""

    def log(self, text: str) -> None:
        """Write a line to the job's log, as `print` does."""
        print(text)

    def check(self) -> None:
        """Raise `Canceled` or `Interrupted` if the run should stop; call it at each step."""

    def checkpoint(self, step: int, writer: Callable[[Path], None]) -> None:
        """Let `writer` write a file and make it the point to resume from; returns once it is durable."""
        path = self.scratch / f"checkpoint-{step}"
        writer(path)
        self._resumed = Resumed(step, path)

    def resume(self) -> Resumed | None:
        """Return the last checkpoint of an earlier attempt, or None."""
        return self._resumed

    def save(self, name: str, data: bytes | Path, media_type: str | None = None) -> Artifact:
        """Store a result file under `name` and return the reference to put into the result.

        Raises:
            InvalidInput: `name` is not a plain file name.
        """
        target = self.scratch / "saved" / checked_file_name(name)
        target.parent.mkdir(exist_ok=True)
        if isinstance(data, Path):
            shutil.copyfile(data, target)
        else:
            target.write_bytes(data)
        artifact = self._artifact(name, target, media_type)
        self.saved.append(artifact)
        return artifact

    def _artifact(self, name: str, path: Path, media_type: str | None) -> Artifact:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return Artifact(f"local/{name}", path.stat().st_size, digest, media_type or guess_media_type(name))


def checked_file_name(name: str, field: str = "") -> str:
    """Return `name` if it is a plain file name, else raise `InvalidInput`; `field` is where the caller said it."""
    if not _FILE_NAME.fullmatch(name):
        said = f"not a file name: {name[:80]!r}; use letters, digits, '.', '_' and '-', no folders"
        raise InvalidInput(f"{field}: {said}", fields=[field]) if field else InvalidInput(said)
    return name


def guess_media_type(name: str) -> str:
    """Return the media type that the ending of `name` stands for."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
