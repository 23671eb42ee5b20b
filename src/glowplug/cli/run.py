"""`glowplug run`: one task, from words to a result and files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glowplug.cli.output import Json, Meter, meter, note, say, say_json
from glowplug.cli.result import result_lines
from glowplug.cli.session import open_client
from glowplug.cli.streaming import Pieces, stream
from glowplug.errors import GlowplugError, NotFound

if TYPE_CHECKING:
    from glowplug.client import Client, EventView, JobView, Result, TaskView


Parameters = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Parameters, as `glowplug models MODEL` lists them; lists and objects as JSON. KEY=@FILE uploads a file "
        "where the task takes one, and is what stands in it elsewhere (KEY=@@… is a text that begins with @); "
        'inside JSON "@FILE" uploads where the task takes a file, and is a text elsewhere.',
    ),
]


@dataclass(frozen=True, slots=True)
class Way:
    """How long a result is waited for, where its files go, and whether it is printed for programs."""

    timeout: float | None
    out: Path
    json: bool


def run(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task, such as digits.generate.")],
    parameters: Parameters = None,
    file: Annotated[list[str] | None, typer.Option(metavar="KEY=PATH", help="The same as KEY=@PATH.")] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for result files.")] = Path("out"),
    detach: Annotated[bool, typer.Option("--async", help="Queue a job, print its id and do not wait for it.")] = False,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Stop waiting after this time.")] = None,
    json: Json = False,
) -> None:
    """Run a task: progress, result, files.

    The result goes to standard output, with files by where they were saved; everything else to standard error. It is
    a job: Ctrl-C and --timeout end the waiting, and the job goes on.

    A task that streams is called directly: what it yields is printed as it comes, with --json as one JSON value a
    line; Ctrl-C and --timeout end it. Without a ready worker it is a job, and printed when it is done.
    """
    words = [*(parameters or []), *(_as_upload(word) for word in file or [])]
    way = Way(timeout, out, json)
    with open_client() as client:
        known = _known(client, task)
        given = _parsed(words, known)
        if known is not None and known.streams and not detach:
            _run_streaming(client, task, given, way)
            return
        job = client.submit(task, given)
        if detach:
            say_json(job) if json else say(job.id)
        else:
            _print_result(client, job, way)


def _print_result(client: Client, job: JobView, way: Way) -> None:
    try:
        result = _result(client, job, way)
    except KeyboardInterrupt:
        note(f"stopped waiting; the job goes on: glowplug jobs show {job.id}, or jobs cancel {job.id}")
        raise
    paths = [str(path) for path in client.save(result, way.out)]
    if way.json:
        say_json({"job": job.id, "task": job.task, "result": result.output, "files": paths})
        return
    for line in result_lines(result.output, dict(zip((file.uri for file in result.artifacts), paths, strict=True))):
        say(line)


def _run_streaming(client: Client, task: str, given: Mapping[str, Any], way: Way) -> None:
    from glowplug.client import Result
    from glowplug.client.views import ArtifactView

    pieces = Pieces(as_json=way.json)
    try:
        if stream(client, task, given, way.timeout, pieces, quiet=way.json):
            files = (ArtifactView(uri=f"artifact:{key}", name=key.rpartition("/")[2]) for key in pieces.files)
            result = Result(None, tuple(files))
        else:
            result = _streamed_job(client, client.submit(task, given), pieces, way)
    except KeyboardInterrupt:
        note(f"{task} was ended")
        raise
    for path in client.save(result, way.out):
        note(f"saved {path}")


def _streamed_job(client: Client, job: JobView, pieces: Pieces, way: Way) -> Result:
    try:
        result = _result(client, job, way)
    except KeyboardInterrupt:
        with suppress(GlowplugError):
            client.cancel(job)
        raise
    for value in result.output:
        pieces.take(value)
    pieces.end()
    return result


def _result(client: Client, job: JobView, way: Way) -> Result:
    if not way.json:
        note(f"job {job.id}")
    with meter(way.json) as shown:
        if not job.done:
            _tell_held(client, job, quiet=way.json)
            shown.show(job.task, None, _queued(job))
        return client.result(job, timeout=way.timeout, on_event=lambda event: _show(shown, job.task, event))


def _tell_held(client: Client, job: JobView, *, quiet: bool) -> None:
    """Say why a job will wait, if its model is not ready."""
    if quiet or job.state != "queued":
        return
    name = job.task.partition(".")[0]
    with suppress(GlowplugError):
        model = client.model(name)
        if not model.ready:
            note(f"{name} is not ready ({model.error or model.state}); the job waits for it")


def _as_upload(word: str) -> str:
    key, equals, path = word.partition("=")
    return f"{key}{equals}@{path.removeprefix('@')}"


def read_input(client: Client, task: str, words: list[str]) -> dict[str, Any]:
    """Return the input that words of the command line stand for."""
    # Without a word there is nothing to convert.
    return _parsed(words, _known(client, task)) if words else {}


def _known(client: Client, task: str) -> TaskView | None:
    """Return the task; None if nobody has said yet what it is like, because its model was never up."""
    try:
        return client.task(task)
    except NotFound:
        return None


def _parsed(words: list[str], task: TaskView | None) -> dict[str, Any]:
    from glowplug.client.arguments import parse_arguments

    return parse_arguments(words, task.input_schema if task is not None else {})


def _queued(job: JobView) -> str:
    ahead = f", {job.position} ahead" if job.position else ""
    soon = f", starts in about {job.estimated_start_seconds:.0f} s" if job.estimated_start_seconds else ""
    return f"queued{ahead}{soon}"


def _show(shown: Meter, name: str, event: EventView) -> None:
    data = event.data
    if event.type == "progress":
        shown.show(name, data.get("percent"), data.get("note") or "running")
    elif event.type == "metrics":
        values = data.get("values", data)
        shown.show(name, None, ", ".join(f"{key} {value:g}" for key, value in values.items() if _is_number(value)))
    elif event.type == "completed":
        shown.show(name, 100, "completed")
    elif event.type not in ("log", "artifact", "checkpoint"):
        shown.show(name, None, " ".join(filter(None, [event.type, str(data.get("message") or data.get("reason", ""))])))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
