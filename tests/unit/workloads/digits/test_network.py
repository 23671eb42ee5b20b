"""Networks that come from anybody are opened with care; those in the package are what they should be."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from tests.unit.workloads.digits.graphs import LABEL, PIXELS, TIME, echo, infinite, mean, outside

from glowplug.errors import InvalidInput
from glowplug.workloads.digits.network import LARGEST_BYTES, Classifier, Generator, generator_in
from glowplug.workloads.digits.sampler import NO_LABEL, SIDE, noise_of

WEIGHTS = files("glowplug.workloads.digits") / "weights"


def written(folder: Path, data: bytes) -> Path:
    path = folder / "weights.onnx"
    path.write_bytes(data)
    return path


def test_a_generator_answers_with_a_velocity_for_each_digit() -> None:
    generator = Generator((WEIGHTS / "generator.onnx").read_bytes(), threads=1)
    velocity = generator(noise_of(0, 0, 11), np.linspace(0, 1, 11, dtype=np.float32), np.arange(NO_LABEL + 1))
    assert velocity.shape == (11, 1, SIDE, SIDE)
    assert np.isfinite(velocity).all()


def test_a_digit_does_not_depend_on_the_others_of_its_batch() -> None:
    generator = Generator((WEIGHTS / "generator.onnx").read_bytes(), threads=1)
    noise, time, label = noise_of(0, 0, 6), np.full(6, 0.5, np.float32), np.arange(6)
    together = generator(noise, time, label)
    alone = generator(noise[4:5], time[4:5], label[4:5])
    np.testing.assert_allclose(together[4:5], alone, atol=1e-5)


def test_a_classifier_answers_with_shares_that_add_up() -> None:
    classifier = Classifier((WEIGHTS / "classifier.onnx").read_bytes(), threads=1)
    shares = classifier(noise_of(0, 0, 5) * 100)
    assert shares.shape == (5, 10)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)


def test_a_generator_of_somebody_else_is_opened(tmp_path: Path) -> None:
    pixels = noise_of(0, 0, 2)
    generator = generator_in(written(tmp_path, echo()))
    assert np.array_equal(generator(pixels, np.ones(2, np.float32), np.array([1, 2])), pixels)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not an ONNX network"),
        (b"not a network at all", "not an ONNX network"),
        (echo((PIXELS,)), "it takes pixels, not pixels, time, label"),
        (echo((PIXELS, LABEL, TIME)), "it takes pixels, label, time"),
        (echo((("pixels", 1, ["n", 3, 64, 64]), TIME, LABEL)), "not a digits generator"),
        (mean(), "not a digits generator"),
        (infinite(), "not a digits generator"),
    ],
    ids=["empty", "text", "too-few-inputs", "other-order", "other-size", "a-number", "not-a-number"],
)
def test_what_is_no_generator_is_refused_with_what_to_send(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        generator_in(written(tmp_path, data))
    assert why in caught.value.message
    assert "digits.convert" in caught.value.message
    assert caught.value.data["fields"] == ["weights"]


def test_the_classifier_is_no_generator(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="it takes pixels"):
        generator_in(written(tmp_path, (WEIGHTS / "classifier.onnx").read_bytes()))


def test_a_network_that_points_to_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(np.float32(42).tobytes())
    for location in ("secret", str(tmp_path / "secret"), "../secret"):
        with pytest.raises(InvalidInput, match="not an ONNX network"):
            generator_in(written(tmp_path, outside(location)))


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as stream:
        stream.truncate(LARGEST_BYTES + 1)
    with pytest.raises(InvalidInput, match="more than 67108864 bytes"):
        generator_in(path)
