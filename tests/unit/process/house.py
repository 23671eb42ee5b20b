"""A house of models that share a card of limited size: this machine's memory stands for it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.unit.process.rig import MODELS, SECONDS, Rig, hosted

from glowplug.process import card_seat
from glowplug.process.cards import CardSpec, Turns
from glowplug.readiness.component_snapshot import ComponentSnapshot
from glowplug.readiness.state import Status

CARD_BYTES = 200 << 20
TURNS = Turns(idle_seconds=0.0, turn_seconds=0.1)


@dataclass
class House:
    """A folder, a card, and the models on it."""

    folder: Path
    stack: AsyncExitStack

    async def model(
        self, name: str, megabytes: int, kind: str = "Sized", *, limit: int = CARD_BYTES, **more: Any
    ) -> Rig:
        """Host a model of a size."""
        home = self.folder / name
        home.mkdir()
        (home / f"{name}.py").write_text(f"from sized import {kind}\n\nclass {name.title()}({kind}):\n    pass\n")
        spec = CardSpec(folder=self.folder / "cards", limit_bytes=limit, turns=TURNS)
        environment = {**os.environ, "PYTHONPATH": str(MODELS)}
        return await self.stack.enter_async_context(
            hosted(
                home,
                name,
                target=f"{home / name}.py:{name.title()}",
                options={"megabytes": str(megabytes)},
                cards=spec,
                environment=environment,
                **more,
            )
        )

    async def pair(self, kind: str, other: str = "Knowing", **more: Any) -> tuple[Rig, Rig]:
        """Host a model that fills most of the card, and another that waits for it."""
        first = await self.model("first", 150, kind, **more)
        second = await self.model("second", 150, other, ready=False)
        await second.until(waits)
        return first, second


@asynccontextmanager
async def house(tmp_path: Path) -> AsyncIterator[House]:
    # Looked at more often than in earnest: the tests are as fast as the models take turns.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(card_seat, "POLL_SECONDS", 0.02)
        async with asyncio.timeout(SECONDS), AsyncExitStack() as stack:
            yield House(tmp_path, stack)


def asleep(seen: ComponentSnapshot) -> bool:
    return seen.status is Status.SLEEPING


def waits(seen: ComponentSnapshot) -> bool:
    return asleep(seen) and (seen.reason or "").startswith("waits for room")


async def size(rig: Rig) -> list[int]:
    """Return what the model says of itself."""
    answer: list[int] = json.loads((await rig.run("size")).output_json)
    return answer
