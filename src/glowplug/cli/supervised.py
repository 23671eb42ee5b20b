"""`python -m glowplug worker TARGET --supervised`: the worker that a supervisor starts."""

from __future__ import annotations

import sys

from glowplug.cli.ending import ended
from glowplug.cli.session import load_settings, serve
from glowplug.supervisor.following import follow_supervisor


def main() -> None:
    """Serve the worker for the target, the second argument, for as long as the supervisor lives."""
    sys.exit(ended(_serve))


def _serve() -> int:
    settings = load_settings()
    follow_supervisor(settings.worker.drain_seconds + settings.worker.cancel_grace_seconds)
    from glowplug.assembly import serve_worker

    return serve(serve_worker(settings, sys.argv[2]))
