"""How much of the machine a network may take: threads, and room on a graphics card."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from glowplug.errors import OutOfMemory
from glowplug.workloads.detection.engine import TrainOrder

PIXELS_FOR_ONE_THREAD = 1 << 20


def threads_to_train(order: TrainOrder) -> int:
    """Return how many threads to train with, 0 for as many as torch likes."""
    if order.threads or order.device.startswith("cuda"):
        return order.threads
    return useful_threads(order.batch * order.imgsz**2)


def useful_threads(pixels: int) -> int:
    """Return how many threads are of use for a batch of so many pixels, 0 for as many as torch likes.

    For few pixels more than one gain little, and beside other work on the machine they wait for one another many times
    as long as they compute.
    """
    return 1 if pixels <= PIXELS_FOR_ONE_THREAD else 0


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Have torch compute with so many threads, 0 for as many as it has, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def room(order: TrainOrder) -> Iterator[None]:
    """Tell of a full card in words, and leave nothing on it."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise OutOfMemory(
            f"no room on {order.device} for batches of {order.batch} pictures of {order.imgsz} pixels; "
            "lower hyperparams.batch or hyperparams.imgsz"
        ) from error
    finally:
        if order.device.startswith("cuda"):
            torch.cuda.empty_cache()
