"""The stack of linear layers behind our host, its progress on: load, one forward, the end."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from glowplug.artifacts.objects import object_source
from glowplug.clock import SystemClock
from glowplug.process.call import Call
from glowplug.process.host import Host, HostSpec
from glowplug.process.weights import Weights
from glowplug.readiness import Board

TARGET = f"{Path(__file__).parents[1] / 'models' / 'big_stack.py'}:BigStack"


async def main(folder: str) -> None:
    """Load, follow every change of the board meanwhile, run the first forward."""
    clock, board, shown = SystemClock(), Board(), 0
    with tempfile.TemporaryDirectory() as scratch:
        spec = HostSpec(target=TARGET, options={"folder": folder}, scratch=Path(scratch))
        weights = Weights(Path(scratch) / "cache", object_source, clock)
        async with Host(spec, board.add("stack"), clock=clock, weights=weights) as host:
            async for snapshot in board.watch():
                shown += 1
                if snapshot.errors:
                    sys.exit("; ".join(snapshot.errors))
                if snapshot.ready:
                    break
            end = await host.run(Call(id="first", task="bigstack.forward", input_json=b"{}"))
            print(f"done {end.output_json.decode()} {shown} pictures", flush=True)


asyncio.run(main(sys.argv[1]))
