"""`glowplug retry-load` and `glowplug warm-up`: failed models loaded again, ready ones warmed up again."""

from __future__ import annotations

from typing import Annotated

import typer

from glowplug.cli.output import Json, say, say_json, say_table
from glowplug.cli.session import open_client

NOT_ALL = 3


def retry_load(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Only this model.")] = None,
    json: Json = False,
) -> None:
    """Load the models again that could not be loaded."""
    with open_client() as client:
        retried = client.retry_load(model)
    if json:
        say_json({"retried": retried})
    else:
        say(f"{', '.join(retried)}: loading again; watch it with: glowplug status --wait")


def warm_up(json: Json = False) -> None:
    """Warm every ready model up again; none stops being ready.

    Exits with 3 if a warm-up went wrong, or could not be asked for, somewhere.
    """
    with open_client() as client:
        warmed = client.warm_up()
    if json:
        say_json({"services": warmed})
    else:
        rows = [(name, _seconds(one.warmup_time_ms), one.error or "") for name, one in warmed.items()]
        say_table(("MODEL", "SECONDS", "ERROR"), rows)
    if any(one.error for one in warmed.values()):
        raise typer.Exit(NOT_ALL)


def _seconds(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds / 1000:.2f}"
