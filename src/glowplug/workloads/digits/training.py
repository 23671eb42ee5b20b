"""Training the generator: rectified flow on the real digits, with a checkpoint each epoch.

All chance comes from one generator whose state is part of the checkpoint, so a resumed run goes on exactly as the
uninterrupted one would have. Checkpoints and weights are safetensors: loading one runs no code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from glowplug.errors import Corrupt, InvalidInput
from glowplug.workloads.digits.data import Digits
from glowplug.workloads.digits.sampler import Labels, Pixels
from glowplug.workloads.digits.unet import NO_LABEL, UNet

WARM_UP_STEPS = 100
LABEL_DROP = 0.1
AVERAGE_DECAY = 0.995
GRADIENT_LIMIT = 1.0
_RECIPE = "recipe"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training run depends on; the same recipe gives the same weights on the same machine and torch."""

    epochs: int = 60
    batch: int = 64
    learning_rate: float = 1e-3
    seed: int = 0
    pictures: int | None = None


class Training:
    """A run of `recipe` over `data`: the network, its running average, the optimizer and the source of chance.

    `epoch` counts the finished ones.
    """

    def __init__(self, recipe: Recipe, data: Digits) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.network = UNet()
        self.recipe = recipe
        self.data = data if recipe.pictures is None else data.first(recipe.pictures)
        self.average = {name: value.detach().clone() for name, value in self.network.named_parameters()}
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=recipe.learning_rate)
        self.chance = torch.Generator().manual_seed(recipe.seed)
        self.epoch = 0

    @property
    def steps_per_epoch(self) -> int:
        """Return the batches of an epoch, the last and smaller one included."""
        return math.ceil(len(self.data) / self.recipe.batch)

    def shuffled(self) -> list[Tensor]:
        """Return the epoch's batches: indices of pictures, each picture once."""
        return list(torch.split(torch.randperm(len(self.data), generator=self.chance), self.recipe.batch))

    def step(self, number: int, picked: Tensor) -> float:
        """Learn from the pictures at `picked`; `number` counts steps from 0 over the whole run. Returns the loss.

        Raises:
            InvalidInput: the loss is no longer a number.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * self._rate(number)
        loss = self._loss(self.data.pixels[picked], self.data.labels[picked])
        seen = float(loss.detach())
        if not math.isfinite(seen):
            raise InvalidInput("the loss is no longer a number; try a lower learning_rate", fields=["learning_rate"])
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        clip_grad_norm_(self.network.parameters(), GRADIENT_LIMIT)
        self.optimizer.step()
        with torch.no_grad():
            for name, value in self.network.named_parameters():
                self.average[name].lerp_(value, 1 - min(AVERAGE_DECAY, (number + 1) / (number + 10)))
        return seen

    def denoise(self, pixels: Pixels, time: Pixels, label: Labels) -> Pixels:
        """Return the velocity that the averaged weights predict; what `sampler.sample` calls."""
        inputs = tuple(torch.from_numpy(value) for value in (pixels, time, label))
        with torch.no_grad():
            velocity: Pixels = functional_call(self.network, self.average, inputs).numpy()
        return velocity

    def _rate(self, number: int) -> float:
        total = self.recipe.epochs * self.steps_per_epoch
        warm = min(WARM_UP_STEPS, total // 4)
        return (
            (number + 1) / warm if number < warm else 0.5 * (1 + math.cos(math.pi * (number - warm) / (total - warm)))
        )

    def _loss(self, clean: Tensor, labels: Tensor) -> Tensor:
        noise = torch.randn(clean.shape, generator=self.chance)
        time = torch.sigmoid(torch.randn(len(clean), generator=self.chance))
        dropped = torch.rand(len(clean), generator=self.chance) < LABEL_DROP
        mixed = torch.lerp(clean, noise, time[:, None, None, None])
        velocity = self.network(mixed, time, labels.masked_fill(dropped, NO_LABEL))
        return functional.mse_loss(velocity, noise - clean)

    def save(self, path: Path) -> None:
        """Write all that the rest of the run depends on."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        tensors |= {"chance": self.chance.get_state(), "epoch": torch.tensor(self.epoch)}
        save_file(tensors, path, {_RECIPE: json.dumps(asdict(self.recipe))})

    def restore(self, path: Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            InvalidInput: it was written by a run of another recipe.
            Corrupt: it is not a checkpoint.
        """
        tensors, metadata = read_tensors(path)
        if metadata.get(_RECIPE) != json.dumps(asdict(self.recipe)):
            raise InvalidInput(f"the checkpoint is of another recipe: {metadata.get(_RECIPE)}; start a new job")
        if "chance" not in tensors:
            raise Corrupt(f"not a checkpoint: {path.name} lacks what the rest of the run depends on")
        self.network.load_state_dict(_below(tensors, "network."))
        self.average = _below(tensors, "average.")
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "optimizer.").items():
            number, _, field = name.partition(".")
            state.setdefault(int(number), {})[field] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.chance.set_state(tensors["chance"])
        self.epoch = int(tensors["epoch"])

    def save_weights(self, path: Path) -> None:
        """Write the averaged weights, which are what generates."""
        save_file(self.average, path, {_RECIPE: json.dumps(asdict(self.recipe))})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises:
        Corrupt: the file is something else, or cut off.
    """
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise Corrupt(f"not a safetensors file: {path.name}: {error}") from error


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
