"""Runs out of the memory of a device that is only imagined, with blocks of it held in the frames of the call."""

import weakref

from glowplug import Batch, Model, RunContext, task


class Block:
    """Room on the device, held as long as somebody knows it."""


BLOCKS: "weakref.WeakSet[Block]" = weakref.WeakSet()


class MemoryHog(Model):
    @task
    def fill(self, ctx: RunContext, blocks: int) -> int:
        """Take blocks; more than two do not fit."""
        return take(blocks)

    @task(batch=8)
    def fill_together(self, ctx: RunContext, blocks: Batch[int]) -> list[int]:
        """Take the blocks of all calls at once."""
        taken = take(sum(blocks))
        return [taken for _ in blocks]

    @task
    def held(self, ctx: RunContext) -> int:
        """Say how many blocks are not free."""
        return len(BLOCKS)


def take(count: int) -> int:
    mine = []
    for _ in range(count):
        block = Block()
        block.itself = block  # type: ignore[attr-defined]
        BLOCKS.add(block)
        mine.append(block)
        if len(BLOCKS) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return len(mine)
