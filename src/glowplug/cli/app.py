"""The command line for people: the verbs with their help, and usage errors in one line."""

from __future__ import annotations

import typer

from glowplug.cli import clean, doctor, gateway, jobs, loading, migrate, models, new, run, status, up, upload, worker
from glowplug.cli.ending import INTERRUPTED, USAGE, fail
from glowplug.errors import GlowplugError

app = typer.Typer(
    help="Makes self-hosted AI models ready, says so honestly, and never sends work where it is not.",
    epilog="To begin: `glowplug up digits`, and beside it `glowplug run digits.generate prompt=seven`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(up.up)
app.command()(gateway.gateway)
app.command()(worker.worker)
app.command()(new.new)
app.command()(run.run)
app.command()(upload.upload)
app.add_typer(jobs.app, name="jobs")
app.command()(models.models)
app.command()(loading.retry_load)
app.command()(loading.warm_up)
app.command()(status.status)
app.command()(doctor.doctor)
app.command()(clean.clean)
app.command()(migrate.migrate)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from glowplug import __version__

        typer.echo(__version__)
        raise typer.Exit


def run_verb() -> int:
    """Parse the command line, run its verb and return the exit code."""
    try:
        return app(standalone_mode=False) or 0
    except typer.Abort:
        return INTERRUPTED
    except (GlowplugError, OSError):
        raise
    except Exception as error:
        # Typer's usage errors; their class is part of a parser that it has changed before.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        said = message()
        if said.startswith("Usage:"):
            typer.echo(said, err=True)
        else:
            fail(said)
        return USAGE
