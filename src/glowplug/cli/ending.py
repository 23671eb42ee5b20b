"""How a command ends: from errors to one line and an exit code.

0 fine, 1 our own mistake or damaged data, 2 usage, 3 not ready or not reachable, 4 a job failed, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from glowplug.errors import (
    DeadlineExceeded,
    DiskFull,
    GlowplugError,
    JobFailed,
    ModelCrashed,
    NotReady,
    TaskFailed,
    Unauthorized,
    Unreachable,
    UserError,
)

BROKEN, USAGE, NOT_READY, JOB_FAILED, INTERRUPTED = 1, 2, 3, 4, 130


def ended(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; an error of ours becomes one line on standard error."""
    try:
        return command()
    except KeyboardInterrupt:
        return INTERRUPTED
    except GlowplugError as error:
        fail(f"{error.message}; set GLOWPLUG_TOKEN" if isinstance(error, Unauthorized) else error.message)
        return exit_code(error)
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more can be said, at the interpreter's end neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN


def exit_code(error: GlowplugError) -> int:
    """Return the exit code that stands for an error."""
    if isinstance(error, (JobFailed, TaskFailed, ModelCrashed)):
        return JOB_FAILED
    if isinstance(error, (NotReady, Unreachable, DeadlineExceeded)):
        return NOT_READY
    return USAGE if isinstance(error, (UserError, DiskFull)) else BROKEN


def fail(message: str) -> None:
    """Print one line on standard error."""
    line = " ".join(message.split())
    sys.stderr.write(f"glowplug: error: {line}\n")
