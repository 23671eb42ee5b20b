"""`glowplug new`: a first model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from glowplug.cli.output import Json, say, say_json


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call the model.")],
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write it.")] = Path(),
    json: Json = False,
) -> None:
    """Write a first model that runs as it is."""
    from glowplug.scaffold import write_model

    path = write_model(name, folder)
    if json:
        say_json({"file": os.fspath(path)})
    else:
        say(f"Wrote {path}. Start it with: glowplug up {path}")
