"""The `glowplug` command: straight to a server where the words are plain, else to the parser for people."""

from __future__ import annotations

import sys

from glowplug.cli.ending import ended
from glowplug.cli.quick import quick


def main() -> None:
    """Run the command line and exit."""
    sys.exit(ended(_run))


def _run() -> int:
    serve = quick(sys.argv[1:])
    if serve is not None:
        return serve()
    from glowplug.cli.app import run_verb

    return run_verb()
