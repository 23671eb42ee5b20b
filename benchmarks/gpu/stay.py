"""Two models too large to stay on the card together: time to ready, and how long a switch takes against the bus."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.report import Figure
from glowplug.artifacts.objects import object_source
from glowplug.clock import SystemClock
from glowplug.events import set_sink
from glowplug.process.call import Call
from glowplug.process.cards import CardSpec, Turns
from glowplug.process.host import Host, HostSpec
from glowplug.process.weights import Weights
from glowplug.readiness import Board, Status

MODELS = Path(__file__).parents[1] / "models" / "card_stack.py"
TENSOR_BYTES = 256 << 20
CONTEXTS_BYTES = 2 << 30
"""What the CUDA contexts of two processes take beside their weights."""


def measured(gigabytes: float, runs: int, rates: dict[str, float]) -> dict[str, float]:
    """Return seconds, and what the bus and the disk alone would take."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        total = _written(Path(folder) / "weights", int(gigabytes * 1e9))
        found = asyncio.run(_taken(Path(folder), total, runs))
    return {
        **found,
        "bytes": total,
        "copy_seconds": total / rates["pinned_to_card"],
        "read_seconds": total / rates["disk"],
    }


def shown(found: dict[str, float]) -> list[Figure]:
    """Return the figures for the table."""
    ratio = found["wake_seconds"] / found["copy_seconds"]
    size = f"{found['bytes'] / 1e9:.1f} GB"
    return [
        Figure("start to ready, weights in memory", f"{found['ready_seconds']:.1f} s", method=size),
        Figure(
            "wake from host memory", f"{found['wake_seconds']:.2f} s: {ratio:.2f} x the bus", "<= 1.5 x", ratio <= 1.5
        ),
        Figure(
            "switch between two models", f"{found['switch_seconds']:.2f} s", method="sleep, admission, wake, a call"
        ),
    ]


async def _taken(folder: Path, total: int, runs: int) -> dict[str, float]:
    board = Board()
    async with AsyncExitStack() as stack:
        began = time.monotonic()
        first = await stack.enter_async_context(_host("CardStack", folder, total, board))
        await _until(board, "cardstack", Status.READY)
        ready = time.monotonic() - began
        second = await stack.enter_async_context(_host("OtherStack", folder, total, board))
        await _until(board, "otherstack", Status.SLEEPING)
        await second.reload()
        await _until(board, "otherstack", Status.READY)
        switches, wakes = [], list[float]()
        earlier = set_sink(
            lambda known, fields: wakes.append(fields["seconds"]) if known.name == "model.woke" else None
        )
        stack.callback(set_sink, earlier)
        for number in range(2 * runs):
            host, name = ((first, "cardstack"), (second, "otherstack"))[number % 2]
            switches.append(await _switched(board, host, name))
    return {
        "ready_seconds": ready,
        "switch_seconds": statistics.median(switches),
        "wake_seconds": statistics.median(wakes),
    }


async def _switched(board: Board, host: Host, name: str) -> float:
    await _until(board, name, Status.SLEEPING)
    began = time.monotonic()
    await host.reload()
    await _until(board, name, Status.READY)
    await host.run(Call(id=f"{name}-{began}", task=f"{name}.touch", input_json=b"{}"))
    return time.monotonic() - began


def _host(kind: str, folder: Path, total: int, board: Board) -> Host:
    """Return a host of the stack, on a card that has room for one of them and a half."""
    cards = CardSpec(
        folder=folder / "cards",
        limit_bytes=int(1.5 * total) + CONTEXTS_BYTES,
        turns=Turns(idle_seconds=0.0, turn_seconds=0.5),
    )
    name = kind.lower()
    spec = HostSpec(
        target=f"{MODELS}:{kind}",
        device="cuda:0",
        options={"folder": str(folder / "weights")},
        scratch=folder / name,
        environment=dict(os.environ),
        cards=cards,
    )
    weights = Weights(folder / "cache", object_source, SystemClock())
    return Host(spec, board.add(name), clock=SystemClock(), weights=weights)


async def _until(board: Board, name: str, status: Status) -> None:
    async for snapshot in board.watch():
        found = snapshot.find(name)
        if found is not None and found.failure is not None:
            raise RuntimeError(f"{name}: {found.failure.error}")
        if found is not None and found.status is status:
            return


def _written(folder: Path, wanted_bytes: int) -> int:
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    tensors = max(1, wanted_bytes // TENSOR_BYTES)
    for number in range(tensors):
        block = torch.full((TENSOR_BYTES // 2,), number, dtype=torch.float16)
        save_file({f"layer.{number}": block}, folder / f"part-{number:04}.safetensors")
    return tensors * TENSOR_BYTES
