"""`glowplug up`: a gateway and a local worker for each model."""

from __future__ import annotations

from typing import Annotated

import typer

from glowplug.cli.servers import read_options, run_up


def up(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET", help="file.py[:Class], package.module[:Class], or an installed model such as digits."
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address to listen on; by default 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port to listen on; by default 8000, 0 takes a free one.")
    ] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start a model again when its code changes.")] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[MODEL.]NAME=VALUE",
            help="An option for every TARGET that knows it, or with MODEL. for one: chat.gguf=FILE; may be repeated.",
        ),
    ] = None,
) -> None:
    """Start a gateway and workers on this machine.

    One worker for each TARGET; without any, for those that glowplug.toml names.
    """
    overrides = {
        "gateway.host": host,
        "gateway.port": port,
        "worker.reload": reload or None,
        "worker.options": read_options(option),
    }
    raise typer.Exit(run_up(targets or (), overrides))
