"""Starting a pipeline in the middle, by running it from the start without the work.

A pipeline prepares much before its loop: embeddings, noise, the latents of a picture and of its mask. All of it comes
from the order and its seeds, so it is made again by the pipeline's own code; then the steps that were done before pass
in no time, because denoiser and scheduler stand still until the saved state is put in their place. The loop stays
diffusers' own, for each kind of pipeline.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Unchanged(NamedTuple):
    """What a step of the scheduler answers that did nothing."""

    prev_sample: Tensor


def denoiser_of(pipeline: Any) -> Any | None:
    """Return the network that a pipeline runs at every step, None if it has none or more than one."""
    found = [network for name in ("transformer", "unet") if (network := getattr(pipeline, name, None)) is not None]
    return found[0] if len(found) == 1 and getattr(pipeline, "transformer_2", None) is None else None


@contextmanager
def standing_still(pipeline: Any) -> Iterator[None]:
    """Let the steps of `pipeline` do nothing within the block."""
    with ExitStack() as stack:
        stack.enter_context(_instead(denoiser_of(pipeline), "forward", _silent))
        stack.enter_context(_instead(pipeline.scheduler, "step", _unmoved))
        yield


def _silent(*arguments: Any, **named: Any) -> tuple[Tensor]:
    sample = named.get("hidden_states", named.get("sample"))
    return (torch.zeros_like(arguments[0] if sample is None else sample),)


def _unmoved(model_output: Tensor, timestep: Any, sample: Tensor, *arguments: Any, **named: Any) -> Unchanged:
    del model_output, timestep, arguments, named
    return Unchanged(sample)


@contextmanager
def _instead(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Put `function` in the place of a method; its signature stays, which pipelines look at."""
    before = vars(owner).get(name)
    setattr(owner, name, functools.wraps(getattr(owner, name))(function))
    try:
        yield
    finally:
        # Libraries that move weights between memories have put their own there.
        if before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
