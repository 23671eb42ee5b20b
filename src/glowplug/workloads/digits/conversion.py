"""Conversion of trained weights to ONNX, checked against the original before anybody uses it."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from glowplug.errors import Corrupt, InvalidInput
from glowplug.workloads.digits.network import GENERATOR_INPUTS, Generator
from glowplug.workloads.digits.sampler import NO_LABEL, SIDE
from glowplug.workloads.digits.training import read_tensors
from glowplug.workloads.digits.unet import UNet

OPSET = 17
CHECK_SEED = 1
CHECK_COUNT = 22


@dataclass(frozen=True, slots=True)
class Checked:
    """An ONNX file and how far its answers are from the original's, over the fixed inputs of the check."""

    data: bytes
    max_abs_difference: float


def load_network(path: Path) -> UNet:
    """Return the generator whose weights `path` holds.

    Raises:
        InvalidInput: it is not a safetensors file, or of another network.
    """
    network = UNet()
    try:
        network.load_state_dict(read_tensors(path)[0])
    except (Corrupt, RuntimeError) as error:
        first = str(error).partition("\n")[0]
        raise InvalidInput(f"weights: not what digits.train saves: {first}", fields=["weights"]) from error
    network.eval()
    return network


def converted(network: UNet) -> Checked:
    """Return the generator as ONNX, with its distance from the original."""
    pixels, time, label = _check_inputs()
    data = exported(network, (pixels, time, label), GENERATOR_INPUTS, "velocity")
    with torch.no_grad():
        expected = network(pixels, time, label).numpy()
    difference = np.abs(Generator(data)(pixels.numpy(), time.numpy(), label.numpy()) - expected)
    return Checked(data, float(difference.max()))


def exported(network: nn.Module, inputs: tuple[torch.Tensor, ...], names: tuple[str, ...], output: str) -> bytes:
    """Return `network` as ONNX, its first dimension free."""
    network.eval()
    with tempfile.TemporaryDirectory(prefix="glowplug-export-") as folder, warnings.catch_warnings():
        # It warns that a newer exporter exists, which needs one more library, and that traces may not be general; the
        # one made here is checked.
        warnings.simplefilter("ignore")
        path = Path(folder, "network.onnx")
        torch.onnx.export(
            network,
            inputs,
            path,
            input_names=list(names),
            output_names=[output],
            dynamic_axes={name: {0: "count"} for name in (*names, output)},
            opset_version=OPSET,
            dynamo=False,
        )
        return path.read_bytes()


def _check_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(CHECK_SEED)
    pixels = torch.randn(CHECK_COUNT, 1, SIDE, SIDE, generator=chance)
    time = torch.linspace(0, 1, CHECK_COUNT)
    return pixels, time, torch.arange(CHECK_COUNT) % (NO_LABEL + 1)
