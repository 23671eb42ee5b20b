"""Layers on a card by way of our host: loads from safetensors, sleeps in pinned host memory, wakes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glowplug import LoadContext, Model, RunContext, task


class CardStack(Model):
    """The weights of the option `folder`, as one tensor after the other on the device."""

    @classmethod
    def sources(cls, options: Mapping[str, str]) -> Mapping[str, str]:
        """Return the folder."""
        return {"net": options["folder"]}

    def load(self, ctx: LoadContext) -> None:
        """Read each file straight onto the device."""
        from safetensors.torch import load_file

        self.device = ctx.device
        self.tensors: dict[str, Any] = {}
        with ctx.stage("to device"):
            for file in sorted(ctx.weights["net"].glob("*.safetensors")):
                self.tensors |= load_file(file, device=ctx.device)

    def sleep(self) -> None:
        """Copy all to pinned memory, at the rate of the bus."""
        import torch

        away = {name: torch.empty_like(one, device="cpu", pin_memory=True) for name, one in self.tensors.items()}
        for name, one in self.tensors.items():
            away[name].copy_(one, non_blocking=True)
        torch.cuda.synchronize()
        self.tensors = away

    def wake(self) -> None:
        """Copy all back."""
        import torch

        back = {name: one.to(self.device, non_blocking=True) for name, one in self.tensors.items()}
        torch.cuda.synchronize()
        self.tensors = back

    @task
    def touch(self, ctx: RunContext) -> float:
        """Use every tensor."""
        return float(sum(one.flatten()[0].item() for one in self.tensors.values()))


class OtherStack(CardStack):
    """The same under another name, to take turns with."""
