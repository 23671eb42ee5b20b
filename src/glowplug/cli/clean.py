"""`glowplug clean`: make room."""

from __future__ import annotations

from typing import Annotated

import typer

from glowplug.cli.output import Json, say, say_json
from glowplug.cli.session import load_settings


def clean(
    cache: Annotated[bool, typer.Option("--cache", help="Fetched weights and load history as well.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Jobs, results and uploads as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete; without it the list is only shown.")] = False,
    json: Json = False,
) -> None:
    """Show what can be deleted, and delete it.

    Leftovers of ended runs; a running gateway deletes old jobs and results by itself. With --yes no
    gateway may run on the data folder.
    """
    from glowplug.housekeeping import find_rubbish, remove

    settings = load_settings()
    rubbish = find_rubbish(settings, cache=cache, everything=everything)
    size = sum(one.size_bytes for one in rubbish)
    freed = remove(settings, rubbish) if yes else 0
    if json:
        say_json({"found": rubbish, "size_bytes": size, "freed_bytes": freed})
        return
    for one in rubbish:
        say(f"{one.what}: {one.path} ({one.size_bytes} bytes)")
    if yes:
        say(f"{freed} bytes freed")
    else:
        say(f"{size} bytes can be freed" + ("; add --yes to delete" if rubbish else ""))
