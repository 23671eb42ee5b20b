"""`glowplug up`: a gateway and a local worker for each model."""

from __future__ import annotations

from typing import Annotated

import typer

from glowplug.cli.servers import run_up


def up(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TARGET]...", help="file.py[:Class], package.module[:Class], or an installed model."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start a model again when its code changes.")] = False,
) -> None:
    """Start a gateway and a local worker for each TARGET; without any, for those that glowplug.toml names."""
    overrides = {"gateway.host": host, "gateway.port": port, "worker.reload": reload or None}
    raise typer.Exit(run_up(targets or (), overrides))
