"""Networks brought to their device and type, tensor by tensor, told in bytes.

To a CUDA card the bytes go through two blocks of pinned memory per thread: while the card fetches one, the next is
filled from the file's mapped pages. The pinned memory is bounded however large the model, and casts are the card's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, Protocol

import torch

BLOCK_BYTES = 32 << 20
BLOCKS = 2
MOST_THREADS = 4

Told = Callable[[int, int], None]
"""Hears of bytes placed, and of how many there are."""
TypeOf = Callable[[Any, str, Any], Any]
"""Gives the type that a tensor of a network shall have, from the network, its name and itself."""


class Fence(Protocol):
    """Something to wait for: the fetching of a block."""

    def record(self) -> None:
        """Stand for everything that was asked of the card until now."""

    def synchronize(self) -> None:
        """Wait until it is done."""


class Staging:
    """Blocks of host memory that bytes pass through on their way; one thread's own."""

    def __init__(self, blocks: Sequence[Any], fences: Sequence[Fence]) -> None:
        self._blocks = blocks
        self._fences = fences
        self._turn = 0

    @classmethod
    def for_card(cls, block_bytes: int = BLOCK_BYTES) -> Staging:
        """Return blocks in pinned memory."""
        blocks = [torch.empty(block_bytes, dtype=torch.uint8, pin_memory=True) for _ in range(BLOCKS)]
        return cls(blocks, [torch.cuda.Event() for _ in range(BLOCKS)])

    def copy(self, source: Any, target: Any) -> None:
        """Copy the numbers of `source` to `target`, of the same type and shape; returns before the last arrived."""
        given, taken = _bytes_of(source), _bytes_of(target)
        start, total = 0, given.numel()
        while start < total:
            block, fence = self._blocks[self._turn], self._fences[self._turn]
            self._turn = (self._turn + 1) % len(self._blocks)
            length = min(block.numel(), total - start)
            # The card may still be fetching what this block held before.
            fence.synchronize()
            block[:length].copy_(given[start : start + length])
            taken[start : start + length].copy_(block[:length], non_blocking=True)
            fence.record()
            start += length


def threads_for(device: Any) -> int:
    """Return how many threads bring tensors to `device` fastest: each waits for pages, copies and casts by itself."""
    kind = torch.device(device).type
    if kind == "cuda":
        return MOST_THREADS
    return min(MOST_THREADS, torch.get_num_threads()) if kind == "cpu" else 1


def place(networks: Iterable[Any], device: Any, type_of: TypeOf, told: Told) -> None:
    """Bring every tensor of `networks` to `device` and to its type; tied weights stay tied.

    What is there already and of its type is left alone: a mapped file stays mapped.
    """
    work = list(_tensors(networks))
    total = sum(tensor.nbytes for _, _, tensor in work)
    mover = _Mover(torch.device(device), type_of, told, total)
    # The largest first, so that no thread is left with it at the end.
    work.sort(key=lambda one: -one[2].nbytes)
    with ThreadPoolExecutor(threads_for(device), thread_name_prefix="place") as pool:
        for _ in pool.map(mover.move, work):
            pass
    if mover.device.type == "cuda":
        torch.cuda.synchronize(mover.device)


class _Mover:
    def __init__(self, device: Any, type_of: TypeOf, told: Told, total: int) -> None:
        self.device = device
        self._type_of = type_of
        self._told = told
        self._total = total
        self._done = 0
        self._lock = threading.Lock()
        self._own = threading.local()

    def move(self, work: tuple[Any, str, Any]) -> None:
        network, name, tensor = work
        size = tensor.nbytes
        with torch.no_grad():
            moved = self._moved(tensor.detach(), self._type_of(network, name, tensor))
            if isinstance(tensor, torch.nn.Parameter):
                tensor.data = moved
            else:
                owner, _, last = name.rpartition(".")
                setattr(network.get_submodule(owner), last, moved)
        with self._lock:
            self._done += size
            self._told(self._done, self._total)

    def _moved(self, tensor: Any, dtype: Any) -> Any:
        if self.device.type != "cuda" or tensor.device.type != "cpu":
            return tensor.to(device=self.device, dtype=dtype)
        # Another thread's current card is the first one, whichever is meant.
        with torch.cuda.device(self.device):
            target = torch.empty_like(tensor, device=self.device, memory_format=torch.contiguous_format)
            self._staging().copy(tensor, target)
            return target.to(dtype)

    def _staging(self) -> Staging:
        if not hasattr(self._own, "staging"):
            self._own.staging = Staging.for_card()
        staging: Staging = self._own.staging
        return staging


def _tensors(networks: Iterable[Any]) -> Iterator[tuple[Any, str, Any]]:
    """Give each parameter and buffer once, though several names may lead to it."""
    seen: set[int] = set()
    for network in networks:
        for name, tensor in chain(network.named_parameters(), network.named_buffers()):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield network, name, tensor


def _bytes_of(tensor: Any) -> Any:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
