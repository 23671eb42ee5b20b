"""Make the weights that the digits workload ships, from nothing but scikit-learn's digits and two seeds.

    python scripts/train_digits.py [FOLDER]     (default: where the package keeps them; needs glowplug[digits-train])

The generator comes out of the same tasks that anybody can run, `digits.train` and `digits.convert`.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from pathlib import Path

import torch

import glowplug.workloads.digits as package
from glowplug.model import RunContext
from glowplug.workloads.digits.classifier import share_right, train_classifier
from glowplug.workloads.digits.conversion import exported
from glowplug.workloads.digits.data import real_digits
from glowplug.workloads.digits.model import Digits
from glowplug.workloads.digits.network import CLASSIFIER_INPUTS
from glowplug.workloads.digits.trainer import one_thread

GENERATOR_SEED = 0
CLASSIFIER_SEED = 2


def main(folder: Path) -> None:
    """Write both networks to `folder`, and say what came out."""
    print(f"torch {torch.__version__}")
    began = time.monotonic()
    (folder / "generator.onnx").write_bytes(generator())
    print(f"generator: {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    (folder / "classifier.onnx").write_bytes(classifier())
    print(f"classifier: {time.monotonic() - began:.0f} s")
    for path in sorted(folder.glob("*.onnx")):
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}  {path.stat().st_size} bytes")


def generator() -> bytes:
    """Train and convert the generator."""
    with tempfile.TemporaryDirectory() as scratch:
        context, digits = RunContext(Path(scratch)), Digits()
        trained = digits.train(context, seed=GENERATOR_SEED)
        print(f"loss {trained.loss:.4f}, {trained.sha256}  digits.safetensors")
        converted = digits.convert(context, Path(scratch) / "saved" / "digits.safetensors")
        print(f"largest difference after conversion: {converted.max_abs_difference:.2g}")
        return (Path(scratch) / "saved" / "digits.onnx").read_bytes()


def classifier() -> bytes:
    """Train and convert the classifier."""
    first, second = real_digits()
    with one_thread():
        network = train_classifier(first, CLASSIFIER_SEED)
    print(f"classifier on the half it has not seen: {share_right(network, second):.2%}")
    return exported(network, (second.first(2).pixels,), CLASSIFIER_INPUTS, "logits")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(package.__path__[0]) / "weights")
