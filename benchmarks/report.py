"""Figures of a benchmark and the one table they are printed in."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

LIBRARIES = ("glowplug", "fastapi", "uvicorn", "aiohttp", "litserve", "mosec", "onnxruntime", "torch", "diffusers")


@dataclass(frozen=True)
class Figure:
    """One measured claim. `bar` is what it must keep, in words; `kept` is None where no bar was set."""

    claim: str
    measured: str
    bar: str = ""
    kept: bool | None = None
    method: str = ""


def ratio_figure(claim: str, ours: Sequence[float], floor: Sequence[float], limit: float, *, unit: str = "s") -> Figure:
    """Compare paired runs: the median of the pairwise ratios must stay at or under `limit`."""
    ratios = [mine / theirs for mine, theirs in zip(ours, floor, strict=True)]
    middle = statistics.median(ratios)
    said = f"{statistics.median(ours):.3f} {unit} against {statistics.median(floor):.3f} {unit}: {middle:.2f} x"
    spread = f"{len(ratios)} pairs, {min(ratios):.2f}-{max(ratios):.2f} x"
    return Figure(claim, said, f"<= {limit} x", middle <= limit, spread)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile, `share` in 0..1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> str:
    """Describe the machine and the versions in one line each."""
    cores, memory = os.cpu_count(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    versions = ", ".join(f"{name} {version}" for name in LIBRARIES if (version := _version(name)))
    python = f"Python {platform.python_version()}"
    return f"{cores} cores ({model}), {memory:.0f} GiB, {platform.platform()}, {python}\n{versions}"


def show(figures: Sequence[Figure]) -> None:
    """Print the table, and under it the machine."""
    table = Table("claim", "measured", "bar", "kept", "method", title="Glowplug, measured")
    for figure in figures:
        kept = "" if figure.kept is None else ("yes" if figure.kept else "NO")
        table.add_row(figure.claim, figure.measured, figure.bar, kept, figure.method)
    console = Console(width=None if os.isatty(1) else 200)
    console.print(table)
    console.print(machine(), highlight=False)


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
