"""A stack of linear layers, 4 GiB of them: nothing but weights, all of which one forward touches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glowplug import LoadContext, Model, RunContext, task

WIDTH = 4096
LAYERS = 64
LAYERS_PER_FILE = 16


def built(folder: Path) -> Any:
    """Return the network of the files in `folder`, as torch and safetensors load it by themselves."""
    import torch
    from safetensors.torch import load_file

    with torch.device("meta"):
        layers = [torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)]
        network = torch.nn.ModuleList(layers).eval()
    weights: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= load_file(file)
    network.load_state_dict(weights, assign=True)
    return network


def forward(network: Any) -> float:
    """Run one row through every layer and return a number of it."""
    import torch

    with torch.inference_mode():
        row = torch.ones(1, WIDTH)
        for layer in network:
            row = layer(row)
            row = row / row.norm()
        return float(row.sum())


class BigStack(Model):
    """The stack as a model; its option `folder` says where the files are."""

    @classmethod
    def sources(cls, options: Mapping[str, str]) -> Mapping[str, str]:
        """Return the folder."""
        return {"net": options["folder"]}

    @classmethod
    def prepare(cls, options: Mapping[str, str]) -> None:
        """Import what the load uses."""
        import safetensors.torch  # noqa: F401 - this is the import, and torch's with it

    def load(self, ctx: LoadContext) -> None:
        """Load as anybody does."""
        self.network = built(ctx.weights["net"])

    @task
    def forward(self, ctx: RunContext) -> float:
        """Run one row through every layer."""
        return forward(self.network)
