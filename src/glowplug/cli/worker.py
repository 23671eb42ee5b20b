"""`glowplug worker`: one model, taking work from a gateway."""

from __future__ import annotations

from typing import Annotated

import typer

from glowplug.cli.servers import read_options, run_worker


def worker(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="file.py[:Class], package.module[:Class], or an installed model such as digits."
        ),
    ],
    gateway: Annotated[
        str | None, typer.Option(metavar="URL", help="URL of the gateway; by default the one that runs here.")
    ] = None,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address for direct calls and probes.")] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port for direct calls and probes; 0 takes a free one.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where the model runs, such as cpu or cuda:0; by default the best."),
    ] = None,
    slots: Annotated[
        int | None, typer.Option(metavar="N", help="Calls at a time; by default what the model says.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option for the model; may be repeated.")
    ] = None,
) -> None:
    """Load a model and take work for it."""
    given = {
        "gateway.url": gateway,
        "worker.host": host,
        "worker.port": port,
        "worker.device": device,
        "worker.slots": slots,
        "worker.options": read_options(option),
    }
    raise typer.Exit(run_worker(target, given))
