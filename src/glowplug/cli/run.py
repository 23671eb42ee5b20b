"""`glowplug run`: one task, from words to a result and files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glowplug.cli.output import Json, Meter, meter, note, say, say_json
from glowplug.cli.session import open_client

if TYPE_CHECKING:
    from glowplug.client import Client, EventView, JobView, Result


def run(
    task: Annotated[str, typer.Argument(help="The task, such as digits.generate.")],
    parameters: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Parameters; KEY=@FILE uploads a file.")
    ] = None,
    file: Annotated[list[str] | None, typer.Option(metavar="KEY=PATH", help="Upload a file as a parameter.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for result files.")] = Path("out"),
    detach: Annotated[bool, typer.Option("--async", help="Print the job and do not wait for it.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Stop waiting after this many seconds.")] = None,
    json: Json = False,
) -> None:
    """Run a task, show its progress, print its result and save its files."""
    words = [*(parameters or []), *(_as_upload(word) for word in file or [])]
    with open_client() as client:
        job = client.submit(task, _input(client, task, words))
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
    say_json(result.output)
    for path in paths:
        say(path)


def _result(client: Client, job: JobView, timeout: float | None, *, quiet: bool) -> Result:
    try:
        with meter(quiet) as shown:
            if not job.done:
                shown.show(job.task, None, _queued(job))
            return client.result(job, timeout=timeout, on_event=lambda event: _show(shown, job.task, event))
    except KeyboardInterrupt:
        note(f"stopped waiting; the job goes on: glowplug jobs show {job.id}")
        raise


def _as_upload(word: str) -> str:
    key, equals, path = word.partition("=")
    return f"{key}{equals}@{path.removeprefix('@')}"


def _input(client: Client, task: str, words: list[str]) -> dict[str, Any]:
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
        preview = f"  preview {data['preview']}" if data.get("preview") else ""
        shown.show(name, data.get("percent"), f"{data.get('note') or 'running'}{preview}")
    elif event.type == "metrics":
        values = data.get("values", data)
        shown.show(name, None, ", ".join(f"{key} {value:g}" for key, value in values.items() if _is_number(value)))
    elif event.type == "completed":
        shown.show(name, 100, "completed")
    elif event.type not in ("log", "artifact", "checkpoint"):
        shown.show(name, None, " ".join(filter(None, [event.type, str(data.get("message") or data.get("reason", ""))])))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
