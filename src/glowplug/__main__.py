"""`python -m glowplug`: the command, and the way on which a supervisor starts its workers."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; a supervised worker goes past the parser for people, which takes 100 ms to import."""
    if sys.argv[1:2] == ["worker"] and sys.argv[-1] == "--supervised":
        from glowplug.cli.supervised import main as run
    else:
        from glowplug.cli.main import main as run
    run()


if __name__ == "__main__":
    main()
