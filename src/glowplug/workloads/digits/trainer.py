"""The training task: epochs with events, a checkpoint after each, and a look at what it draws by now."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from glowplug.model import RunContext
from glowplug.workloads.digits.data import real_digits
from glowplug.workloads.digits.picture import drawn, png
from glowplug.workloads.digits.sampler import noise_of, sample
from glowplug.workloads.digits.training import Recipe, Training
from glowplug.workloads.digits.values import Sampling, Trained

PREVIEW = Sampling(steps=6)
PREVIEW_SCALE = 4
WEIGHTS_NAME = "digits.safetensors"


def train(ctx: RunContext, recipe: Recipe) -> Trained:
    """Train on the first half of the real digits, from the last checkpoint if there is one, and save the weights.

    Raises:
        InvalidInput: the loss left the numbers, or the checkpoint is of another recipe.
        Corrupt: the checkpoint is damaged.
    """
    with one_thread():
        training = Training(recipe, real_digits()[0])
        loss = _run(ctx, training)
    path = ctx.scratch / WEIGHTS_NAME
    training.save_weights(path)
    weights = ctx.save(WEIGHTS_NAME, path)
    return Trained(weights.uri, weights.sha256, recipe.epochs, recipe.seed, loss)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread, which also makes the weights the same on any number of cores.

    So small a network gains little from more, and beside other work on the machine they wait for one another ten times
    as long as they compute.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(ctx: RunContext, training: Training) -> float | None:
    """Run the epochs that are left; returns the loss of the last."""
    resumed, epochs = ctx.resume(), training.recipe.epochs
    if resumed is not None:
        training.restore(resumed.path)
        ctx.log(f"resumed after epoch {training.epoch} of {epochs}")
    loss = None
    while training.epoch < epochs:
        loss = _epoch(ctx, training)
        training.epoch += 1
        ctx.metrics(epoch=training.epoch, loss=loss)
        ctx.checkpoint(training.epoch, training.save)
    return loss


def _epoch(ctx: RunContext, training: Training) -> float:
    """Run one epoch; returns its mean loss."""
    batches, total = training.shuffled(), training.recipe.epochs * training.steps_per_epoch
    begin, losses = training.epoch * training.steps_per_epoch, []
    note = f"epoch {training.epoch + 1} of {training.recipe.epochs}"
    for number, picked in enumerate(batches, start=begin):
        ctx.check()
        losses.append(training.step(number, picked))
        last = number + 1 == begin + len(batches)
        ctx.progress(number + 1, total, note, preview=_preview(training) if last else None)
    return statistics.fmean(losses)


def _preview(training: Training) -> bytes:
    labels = np.arange(10)
    *_, digits = sample(training.denoise, labels, noise_of(0, 0, len(labels)), PREVIEW)
    return png(drawn(digits, PREVIEW_SCALE))
