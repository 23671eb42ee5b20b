"""The `glowplug` command: its verbs, and from errors to one line and an exit code.

Exit codes: 0 fine, 1 our own mistake or damaged data, 2 usage, 3 not ready or not reachable, 4 a job failed,
130 interrupted.
"""

from __future__ import annotations

import os
import sys

import typer

from glowplug.cli import clean, doctor, gateway, jobs, models, new, run, status, up, worker
from glowplug.cli.output import fail
from glowplug.errors import (
    DeadlineExceeded,
    DiskFull,
    GlowplugError,
    JobFailed,
    ModelCrashed,
    NotReady,
    TaskFailed,
    Unreachable,
    UserError,
)

USAGE, NOT_READY, JOB_FAILED, INTERRUPTED, BROKEN = 2, 3, 4, 130, 1

app = typer.Typer(
    help="Makes self-hosted AI models ready, says so honestly, and never sends work where it is not.",
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
app.add_typer(jobs.app, name="jobs")
app.command()(models.models)
app.command()(status.status)
app.command()(doctor.doctor)
app.command()(clean.clean)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from glowplug import __version__

        typer.echo(__version__)
        raise typer.Exit


def exit_code(error: GlowplugError) -> int:
    """Return the exit code that stands for an error."""
    if isinstance(error, (JobFailed, TaskFailed, ModelCrashed)):
        return JOB_FAILED
    if isinstance(error, (NotReady, Unreachable, DeadlineExceeded)):
        return NOT_READY
    return USAGE if isinstance(error, (UserError, DiskFull)) else BROKEN


def main() -> None:
    """Run the command line and exit."""
    sys.exit(_run())


def _run() -> int:
    try:
        return app(standalone_mode=False) or 0
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except GlowplugError as error:
        fail(error.message)
        return exit_code(error)
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more can be said, at the interpreter's end neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN
    except Exception as error:
        # Typer's usage errors; their class is part of a parser that it has changed before.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        fail(message())
        return USAGE
