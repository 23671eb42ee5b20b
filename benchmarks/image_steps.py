"""What our image task costs beyond diffusers' own loop: checks, progress, previews, metadata, the finished file.

The pipeline is a small SDXL with random weights on one thread, a step of which takes some ten milliseconds: on a real
model a step takes a hundred times as long and what is measured here vanishes. Runs are paired, ours and the bare
pipeline right after one another, first one and then the other first. Judged is the time that the thread computes, which
other programs on the machine disturb little; by the clock there is the same and the time that files take to be written.
"""

from __future__ import annotations

import dataclasses
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tests.models.pipelines import sdxl_pipeline

from benchmarks.report import Figure
from glowplug.process.contexts import ProcessRunContext
from glowplug.process.protocol import Item
from glowplug.workloads.diffusion.loaded import Loaded
from glowplug.workloads.diffusion.model import Images

PAIRS = 60
STEPS = 15
SIDE = 64
CHANNELS = (32, 64)
PROMPT = "a small red house beside a lake in the evening"
PREVIEW_SECONDS = 0.1
"""Ten times as often as by default, so that every run has some."""
RESAMPLED = 4000


@dataclasses.dataclass(frozen=True)
class Spent:
    """Seconds of a run: computing in its thread, and by the clock."""

    computing: float
    clock: float


def measure() -> list[Figure]:
    """Measure with previews off, and on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pipeline = sdxl_pipeline(channels=CHANNELS)
        pipeline.set_progress_bar_config(disable=True)
        loaded = Loaded("sdxl", pipeline, None, None, "cpu", "float32", SIDE, 8, STEPS, 5.0, title="small-sdxl")
        return [_figure(loaded, "off", 0.0, 1.02), _figure(loaded, "on", PREVIEW_SECONDS, 1.05)]
    finally:
        torch.set_num_threads(threads)


def _figure(loaded: Loaded, previews: str, preview_seconds: float, limit: float) -> Figure:
    images = Images()
    images._loaded = dataclasses.replace(loaded, preview_seconds=preview_seconds)  # noqa: SLF001 - in place of a load
    ours: list[Spent] = []
    bare: list[Spent] = []
    shown = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(-2, PAIRS):
            ctx = _context(Path(folder) / str(number))
            runs: list[Callable[[], Any]] = [partial(images.generate, ctx, prompt=PROMPT, seed=1), _bare(loaded)]
            spent = _timed(runs, reverse=bool(number % 2))
            if number >= 0:
                ours.append(spent[0])
                bare.append(spent[1])
                shown += ctx._previews  # noqa: SLF001 - how many were shown is no part of the front
    middle, low, high = _ratio([one.computing for one in ours], [one.computing for one in bare])
    clock = _ratio([one.clock for one in ours], [one.clock for one in bare])
    step = statistics.median(one.computing for one in bare) / STEPS * 1000
    said = f"{middle:.4f} x ({low:.4f} to {high:.4f}, 95 %), a step of {step:.1f} ms"
    seen = f", {shown / PAIRS:.1f} previews sent a run" if preview_seconds else ""
    by_clock = f"by the clock {clock[0]:.3f} x ({clock[1]:.3f} to {clock[2]:.3f})"
    claim = f"image task against diffusers' bare loop, previews {previews}"
    method = f"{PAIRS} pairs of {STEPS} steps, median, bootstrap{seen}; {by_clock}"
    return Figure(claim, said, f"<= {limit} x", high <= limit, method)


def _bare(loaded: Loaded) -> Callable[[], Any]:
    def run() -> Any:
        return loaded.generate(
            prompt=PROMPT,
            width=SIDE,
            height=SIDE,
            num_inference_steps=STEPS,
            guidance_scale=loaded.guidance,
            generator=torch.Generator().manual_seed(1),
        )

    return run


def _timed(runs: Sequence[Callable[[], Any]], *, reverse: bool) -> list[Spent]:
    spent = [Spent(0, 0)] * len(runs)
    order = range(len(runs))
    for place in reversed(order) if reverse else order:
        computing, clock = time.thread_time(), time.perf_counter()
        runs[place]()
        spent[place] = Spent(time.thread_time() - computing, time.perf_counter() - clock)
    return spent


def _context(scratch: Path) -> ProcessRunContext:
    """Return a context as the model's process has it, its reports going nowhere."""

    def send(message: Any) -> None:
        del message
        context.reports.credited(1)

    context = ProcessRunContext(Item("run", b"{}", str(scratch)), send)
    return context


def _ratio(ours: Sequence[float], bare: Sequence[float]) -> tuple[float, float, float]:
    """Return the median of the pairwise ratios and its 95 % confidence interval."""
    ratios = [mine / theirs for mine, theirs in zip(ours, bare, strict=True)]
    chance = random.Random(0)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLED))
    return statistics.median(ratios), medians[int(0.025 * RESAMPLED)], medians[int(0.975 * RESAMPLED)]
