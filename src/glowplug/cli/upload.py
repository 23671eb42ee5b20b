"""`glowplug upload`: files to the gateway, for jobs that are queued later or elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glowplug.cli.output import Json, say, say_json
from glowplug.cli.session import open_client


def upload(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="What to upload.")],
    json: Json = False,
) -> None:
    """Upload files and print their references, one a line.

    A large file goes in parts. If that is broken off, the same command goes on with what is missing.
    """
    views = []
    with open_client() as client:
        for file in files:
            views.append(client.upload(file))
            if not json:
                say(views[-1].uri)
    if json:
        say_json({"artifacts": views})
