"""`glowplug run`: one task, from words to a result and files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glowplug.cli.output import Json, Meter, meter, note, say, say_json
from glowplug.cli.result import result_lines
from glowplug.cli.session import open_client

if TYPE_CHECKING:
    from glowplug.client import Client, EventView, JobView, Result


def run(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task, such as digits.generate.")],
    parameters: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Parameters; KEY=@FILE uploads a file.")
    ] = None,
    file: Annotated[list[str] | None, typer.Option(metavar="KEY=PATH", help="Upload a file as a parameter.")] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for result files.")] = Path("out"),
    detach: Annotated[bool, typer.Option("--async", help="Print the job and do not wait for it.")] = False,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Stop waiting after this time.")] = None,
    json: Json = False,
) -> None:
    """Run a task: progress, result, files.

    The result goes to standard output, with files by where they were saved; everything else to standard error.
    """
    words = [*(parameters or []), *(_as_upload(word) for word in file or [])]
    with open_client() as client:
        job = client.submit(task, read_input(client, task, words))
        if detach:
            say_json(job) if json else say(job.id)
            return
        if not json:
            note(f"job {job.id}")
        result = _result(client, job, timeout, quiet=json)
        paths = [str(path) for path in client.save(result, out)]
    if json:
        say_json({"job": job.id, "task": task, "result": result.output, "files": paths})
        return
    for line in result_lines(result.output, dict(zip((file.uri for file in result.artifacts), paths, strict=True))):
        say(line)


def _result(client: Client, job: JobView, timeout: float | None, *, quiet: bool) -> Result:
    try:
        with meter(quiet) as shown:
            if not job.done:
                _tell_held(client, job, quiet=quiet)
                shown.show(job.task, None, _queued(job))
            return client.result(job, timeout=timeout, on_event=lambda event: _show(shown, job.task, event))
    except KeyboardInterrupt:
        note(f"stopped waiting; the job goes on: glowplug jobs show {job.id}")
        raise


def _tell_held(client: Client, job: JobView, *, quiet: bool) -> None:
    """Say why a job will wait, if its model is not ready."""
    from glowplug.errors import GlowplugError

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
    from glowplug.client.arguments import parse_arguments
    from glowplug.errors import NotFound

    # Without a word there is nothing to convert; what a model that was never up wants is not known yet either.
    if not words:
        return {}
    try:
        schema = client.task(task).input_schema
    except NotFound:
        schema = {}
    return parse_arguments(words, schema)


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
