"""`glowplug status`: what is ready, what is loading and how far, what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from glowplug.cli.output import Json, Meter, meter, note, say, say_json, say_table
from glowplug.cli.session import open_client
from glowplug.cli.waiting import wait_until_ready
from glowplug.errors import LoadFailed

if TYPE_CHECKING:
    from glowplug.client import Client, ReadyView

NOT_READY = 3
WHAT_TO_DO = "once the cause is mended: glowplug retry-load"
MANY_JOBS = 200


def status(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Only this model.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show the loading; return when all is ready.")] = False,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Give up waiting after this time.")] = None,
    json: Json = False,
) -> None:
    """Show the models, their loads and the queue.

    Exits with 3 while something is not ready, so that scripts can ask.
    """
    with open_client() as client:
        if wait:
            _wait(client, model, timeout, quiet=json)
        view = client.readiness()
        services = {name: one for name, one in view.services.items() if model in (None, name)}
        ready = view.ready if model is None else bool(services.get(model, {}).get("ready"))
        waiting, running = (len(client.jobs(state=state, limit=MANY_JOBS).jobs) for state in ("queued", "running"))
        if json:
            queue = {"queued": waiting, "running": running}
            say_json({"ready": ready, "state": view.state, "models": services, "queue": queue})
        else:
            say_table(
                ("MODEL", "STATUS", "PROGRESS", "DETAIL"),
                [(name, one.get("status"), _percent(one), _words(one)) for name, one in services.items()],
            )
            say(f"queue: {_count(waiting)} waiting, {_count(running)} running")
            if any(one.get("status") == "error" for one in services.values()):
                note(WHAT_TO_DO)
    raise typer.Exit(0 if ready else NOT_READY)


def _wait(client: Client, model: str | None, timeout: float | None, *, quiet: bool) -> None:
    try:
        with meter(quiet=quiet) as shown:
            wait_until_ready(client, model, timeout, shown, lambda seen: _show(shown, seen, model))
    except LoadFailed:
        if not quiet:
            note(WHAT_TO_DO)
        raise


def _show(shown: Meter, view: ReadyView, model: str | None) -> None:
    for name, one in view.services.items():
        if model in (None, name):
            shown.show(name, 100.0 if one.get("ready") else one.get("progress"), _words(one))


def _words(one: dict[str, Any]) -> str:
    if one.get("ready"):
        taken = one.get("load_time_ms")
        return f"ready, loaded in {taken / 1000:.1f} s" if taken else "ready"
    words = str(one.get("error") or one.get("message") or one.get("reason") or one.get("status", ""))
    left = one.get("estimated_seconds")
    return f"{words}, about {left:.0f} s left" if left else words


def _percent(one: dict[str, Any]) -> str:
    progress = 100 if one.get("ready") else one.get("progress")
    return "" if progress is None else f"{progress:.0f} %"


def _count(number: int) -> str:
    return f"{number}+" if number >= MANY_JOBS else str(number)
