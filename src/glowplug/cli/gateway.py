"""`glowplug gateway`: the gateway alone."""

from __future__ import annotations

from typing import Annotated

import typer

from glowplug.cli.servers import run_gateway


def gateway(
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address to listen on; by default 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port to listen on; by default 8000, 0 takes a free one.")
    ] = None,
) -> None:
    """Start a gateway without workers.

    Workers come by `glowplug worker`, here or on other machines.
    """
    raise typer.Exit(run_gateway({"gateway.host": host, "gateway.port": port}))
