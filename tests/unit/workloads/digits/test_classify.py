"""Reading, measured on real digits that the reader has not seen as pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits
from tests.unit.workloads.contexts import Remembering

from glowplug.errors import Canceled, InvalidInput
from glowplug.model import RunContext
from glowplug.workloads.digits.model import Digits


def on_paper(image: object, size: int) -> Image.Image:
    """Return a real digit as dark ink on light paper, with a border."""
    ink = Image.fromarray((np.asarray(image) / 16 * 255).astype(np.uint8)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    paper = Image.new("L", (size * 3 // 2, size * 2), 235)
    paper.paste(30, (size // 4, size // 2), ink)
    return paper


@pytest.mark.parametrize("size", [8, 28, 200])
def test_real_digits_are_read_right_in_any_size(digits: Digits, size: int) -> None:
    source, ctx = load_digits(), RunContext()
    chosen = np.random.default_rng(0).choice(len(source.target), 150, replace=False)
    right = sum(digits.classify(ctx, on_paper(source.images[i], size)).label == source.target[i] for i in chosen)
    assert right / len(chosen) >= 0.95


def test_the_answer_has_the_label_its_confidence_and_all_scores(digits: Digits) -> None:
    source = load_digits()
    reading = digits.classify(RunContext(), on_paper(source.images[0], 28))
    assert reading.label == source.target[0] == 0
    assert reading.confidence == max(reading.scores) == reading.scores[0]
    assert len(reading.scores) == 10
    assert sum(reading.scores) == pytest.approx(1, abs=1e-4)


def test_a_scribble_is_read_with_less_confidence_than_a_digit(digits: Digits) -> None:
    scribble = Image.new("L", (64, 64), 255)
    draw = ImageDraw.Draw(scribble)
    for at in range(0, 64, 8):
        draw.line((at, 0, 63 - at, 63), fill=0)
    digit = on_paper(load_digits().images[0], 64)
    assert digits.classify(RunContext(), scribble).confidence < digits.classify(RunContext(), digit).confidence


def test_an_empty_picture_is_refused(digits: Digits) -> None:
    with pytest.raises(InvalidInput, match="nothing is written on the image; send one digit") as caught:
        digits.classify(RunContext(), Image.new("RGB", (40, 40), "white"))
    assert caught.value.data["fields"] == ["image"]


def test_a_broken_picture_is_refused(digits: Digits, tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    on_paper(load_digits().images[0], 200).save(path)
    path.write_bytes(path.read_bytes()[:-400])
    with Image.open(path) as picture, pytest.raises(InvalidInput, match="the image is broken"):
        digits.classify(RunContext(), picture)


def test_a_canceled_reading_ends(digits: Digits, tmp_path: Path) -> None:
    with pytest.raises(Canceled):
        digits.classify(Remembering(tmp_path, stop=Canceled()), Image.new("L", (9, 9)))
