"""How good the shipped digits are, by a judge that is not shipped and that learned from other digits.

The generator and the shipped classifier know the first half of the real digits, the judge only the second. The
seeds below were fixed before the first measurement and are not to be searched for better ones.
"""

from __future__ import annotations

import importlib.util
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report import Figure

if TYPE_CHECKING:
    import torch

    from glowplug.workloads.digits.data import Digits

SEED = 1000
JUDGE_SEED = 1
COUNT = 200
BAR = 0.98
CLAIM = "digits: generated ones read as asked"


def measure() -> list[Figure]:
    """Return the figures; without the training extra, a figure that says so."""
    if importlib.util.find_spec("torch") is None:
        return [Figure(CLAIM, "not measured: the judge needs glowplug[digits-train]", f">= {BAR:.0%}")]
    return _measured()


def _measured() -> list[Figure]:
    import torch

    from glowplug.workloads.digits.classifier import share_right, train_classifier
    from glowplug.workloads.digits.data import Digits, real_digits
    from glowplug.workloads.digits.network import Classifier, Generator
    from glowplug.workloads.digits.sampler import noise_of, sample
    from glowplug.workloads.digits.trainer import one_thread
    from glowplug.workloads.digits.values import Sampling

    known, unseen = real_digits()
    with one_thread():
        judge = train_classifier(unseen, JUDGE_SEED)
    weights = files("glowplug.workloads.digits") / "weights"
    labels = np.arange(COUNT) % 10
    noise = np.concatenate([noise_of(SEED, number, 1) for number in range(COUNT)])
    *_, pixels = sample(Generator((weights / "generator.onnx").read_bytes()), labels, noise, Sampling())
    made = Digits(torch.from_numpy(pixels), torch.from_numpy(labels))
    right = share_right(judge, made)
    reader = Classifier((weights / "classifier.onnx").read_bytes())
    read_right = float((reader(unseen.pixels.numpy()).argmax(axis=1) == unseen.labels.numpy()).mean())
    ours, theirs = _nearest(made.pixels, known.pixels), _nearest(unseen.pixels, known.pixels)
    spread, real_spread = _spread(made), _spread(unseen)
    return [
        Figure(CLAIM, f"{right:.1%} of {COUNT}", f">= {BAR:.0%}", right >= BAR, f"seed {SEED}, judge not shipped"),
        Figure("digits: the judge on real digits it has not seen", f"{share_right(judge, known):.2%} of {len(known)}"),
        Figure("digits: distance to the nearest training digit", f"{ours:.2f}, held-out real ones {theirs:.2f}"),
        Figure("digits: distance within a label", f"{spread:.2f}, real ones {real_spread:.2f}"),
        Figure("digits: the shipped reader on unseen digits", f"{read_right:.2%} of {len(unseen)}"),
    ]


def _nearest(pictures: torch.Tensor, known: torch.Tensor) -> float:
    """Return the median distance (L2 over 256 pixels in -1..1) to the nearest known picture."""
    return float(pictures.flatten(1).unsqueeze(1).sub(known.flatten(1)).norm(dim=2).min(dim=1).values.median())


def _spread(digits: Digits) -> float:
    """Return the mean distance between two pictures of the same label."""
    means = []
    for label in range(10):
        rows = digits.pixels[digits.labels == label].flatten(1)
        distances = rows.unsqueeze(1).sub(rows).norm(dim=2)
        means.append(float(distances.sum() / (len(rows) * (len(rows) - 1))))
    return float(np.mean(means))


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure.claim}: {figure.measured} {figure.bar}")
