"""`glowplug jobs`: look at jobs, stop them, send them again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glowplug.cli.output import Json, say, say_json, say_table
from glowplug.cli.run import Parameters, read_input
from glowplug.cli.session import open_client

if TYPE_CHECKING:
    from glowplug.client import DeliveryView, JobView

app = typer.Typer(help="Look at jobs, cancel and retry them.", no_args_is_help=True, rich_markup_mode=None)
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


@app.command("ls")
def list_jobs(
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="queued, running, completed, failed or canceled.")
    ] = None,
    task: Annotated[str | None, typer.Option(metavar="TASK", help="Only jobs of this task.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, metavar="N", help="How many at most, up to 200.")] = 20,
    owner: Annotated[str | None, typer.Option(metavar="NAME", help="Only this user's; for operators.")] = None,
    json: Json = False,
) -> None:
    """List jobs, newest first."""
    with open_client() as client:
        page = client.jobs(state=state, task=task, owner=owner, limit=limit)
    if json:
        say_json(page)
        return
    rows = [(job.id, job.task, job.state, _progress(job), job.attempt, _time(job.created_at)) for job in page.jobs]
    say_table(("JOB", "TASK", "STATE", "PROGRESS", "ATTEMPT", "CREATED"), rows)


@app.command()
def show(job: JobId, json: Json = False) -> None:
    """Show one job: its state, attempts, result and files."""
    with open_client() as client:
        view = client.job(job)
        deliveries = () if json else client.deliveries(job)
    if json:
        say_json(view)
        return
    lines = {
        "job": view.id,
        "task": view.task,
        "state": view.state,
        "progress": _progress(view),
        "owner": view.owner,
        "created": _time(view.created_at),
        "expires": _time(view.expires_at) if view.state == "queued" else "",
        "started": _time(view.started_at),
        "finished": _time(view.finished_at),
        "error": view.error and _reason(view.error),
    }
    for name, value in lines.items():
        if value:
            say(f"{name:9} {value}")
    for attempt in view.attempts:
        say(f"attempt {attempt.get('number')} on {attempt.get('worker')}: {_ended(attempt)}")
    for artifact in view.artifacts:
        say(f"file      {artifact.uri} ({artifact.size_bytes} bytes)")
    for delivery in deliveries:
        if delivery.error:
            say(f"{delivery.door:9} {_untold(delivery)}")
    if view.succeeded:
        say_json(view.result)


@app.command()
def logs(job: JobId, json: Json = False) -> None:
    """Print what a job has printed."""
    with open_client() as client:
        text = client.logs(job)
    if json:
        say_json({"job": job, "lines": text.splitlines()})
    elif text:
        say(text.rstrip("\n"))


@app.command()
def cancel(job: JobId, json: Json = False) -> None:
    """Stop a job."""
    with open_client() as client:
        view = client.cancel(job)
    _say_state(view, json, "canceled" if view.done else "asked to stop")


@app.command()
def retry(job: JobId, json: Json = False) -> None:
    """Queue a failed or canceled job again."""
    with open_client() as client:
        view = client.retry(job)
    _say_state(view, json, view.state)


@app.command()
def submit(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task, such as digits.generate.")],
    parameters: Parameters = None,
    priority: Annotated[int, typer.Option(metavar="N", help="Higher goes first.")] = 0,
    expires_in: Annotated[
        float | None, typer.Option(min=0.001, metavar="SECONDS", help="Fail if nobody has started it by then.")
    ] = None,
    json: Json = False,
) -> None:
    """Queue a job, print its id and do not wait for it."""
    from glowplug.client import JobTimes

    ends = None if expires_in is None else datetime.now(UTC) + timedelta(seconds=expires_in)
    with open_client() as client:
        given = read_input(client, task, parameters or [])
        view = client.submit(task, given, priority=priority, run_at=JobTimes(expires_at=ends))
    say_json(view) if json else say(view.id)


@app.command()
def redrive(
    task: Annotated[str | None, typer.Option(metavar="TASK", help="Only jobs of this task.")] = None,
    error_code: Annotated[
        str | None, typer.Option(metavar="CODE", help="Only those that failed with this code.")
    ] = None,
    failed_after: Annotated[
        datetime | None,
        typer.Option(
            metavar="TIME", help="Only those that failed later: 2026-01-31, or 2026-01-31T18:00:00; local time."
        ),
    ] = None,
    failed_before: Annotated[
        datetime | None, typer.Option(metavar="TIME", help="Only those that failed before.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="How many at most, up to 1000.")] = 100,
    json: Json = False,
) -> None:
    """Queue failed jobs again, the newest first.

    `glowplug jobs ls --state failed` lists them.
    """
    with open_client() as client:
        made = client.redrive(
            task=task,
            error_code=error_code,
            failed_after=_zoned(failed_after),
            failed_before=_zoned(failed_before),
            limit=limit,
        )
    if json:
        say_json(made)
        return
    count = len(made.redriven)
    more = "; more of them match, so ask again" if made.more else ""
    say(f"{count} {'job is' if count == 1 else 'jobs are'} queued again{more}")


def _zoned(moment: datetime | None) -> datetime | None:
    """Return a time that was typed here as one of this machine's zone."""
    return moment.astimezone() if moment is not None else None


def _say_state(view: JobView, json: bool, words: str) -> None:
    if json:
        say_json(view)
    else:
        say(f"job {view.id} is {words}")


def _ended(attempt: Mapping[str, Any]) -> str:
    error = attempt.get("error")
    seconds = attempt.get("seconds")
    after = f" after {seconds:.1f} s" if seconds is not None else ""
    why = f" ({_reason(error)})" if error else ""
    return f"{attempt.get('outcome') or 'running'}{after}{why}"


def _reason(error: Mapping[str, Any]) -> str:
    """Return code and message; of a model's own exception the message begins with what is its code."""
    code, message = f"{error.get('code')}", f"{error.get('message')}"
    return message if message.startswith(code) else f"{code}: {message}"


def _progress(job: JobView) -> str:
    if job.state == "queued":
        return "" if job.position is None else f"{job.position} ahead"
    percent = job.progress.percent if job.progress is not None and not job.done else None
    return "" if percent is None else f"{percent:.0f} %"


def _untold(delivery: DeliveryView) -> str:
    after = f"after {delivery.failures} {'try' if delivery.failures == 1 else 'tries'}: {delivery.error}"
    return f"given up {after}" if delivery.given_up else f"tried again at {_time(delivery.due_at)} {after}"


def _time(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment is not None else ""
