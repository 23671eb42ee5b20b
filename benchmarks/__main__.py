"""Run the benchmarks named on the command line (default: all) and print one table.

python -m benchmarks [NAME ...]
"""

from __future__ import annotations

import importlib
import sys
import time

from benchmarks.report import Figure, show

NAMES = (
    "import_cost",
    "cold_start",
    "drain",
    "direct_calls",
    "library_cost",
    "gil",
    "fan_out",
    "kills",
    "queues",
    "guarantees",
    "million_rows",
    "eta",
    "embeddings",
    "image_steps",
    "digits_quality",
    "big_weights",
    "detector",
)


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    for name in names or NAMES:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        begun = time.monotonic()
        figures += importlib.import_module(f"benchmarks.{name}").measure()
        print(f"measuring {name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    show(figures)
    return 0 if all(figure.kept is not False for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
