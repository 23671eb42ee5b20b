"""Drawing, as a plain object and with the shipped weights."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.workloads.contexts import Remembering
from tests.unit.workloads.digits.graphs import echo

from glowplug.errors import Canceled, Interrupted, InvalidInput, Stop
from glowplug.model import RunContext
from glowplug.workloads.digits.model import LARGEST_SEED, Digits
from glowplug.workloads.digits.values import Sampling

QUICK = Sampling(steps=2)


def test_a_word_becomes_a_png_file(digits: Digits, tmp_path: Path) -> None:
    ctx = Remembering(tmp_path)
    drawing = digits.generate(ctx, "a seven", seed=7, sampling=QUICK)
    assert drawing.images == ["artifact:local/digits-7-01.png"]
    assert (drawing.prompt, drawing.label, drawing.seed, drawing.sheet) == ("a seven", "7", 7, None)
    assert [artifact.media_type for artifact in ctx.saved] == ["image/png"]
    with Image.open(ctx.file("digits-7-01.png")) as picture:
        assert picture.size == (240, 240)


def test_several_pictures_come_with_a_sheet_of_all(digits: Digits, tmp_path: Path) -> None:
    ctx = Remembering(tmp_path)
    drawing = digits.generate(ctx, "3", count=4, seed=1, scale=2, sampling=QUICK)
    assert len(set(drawing.images)) == 4
    assert drawing.sheet == "artifact:local/sheet.png"
    with Image.open(ctx.file("sheet.png")) as board:
        assert board.size == (80, 80)
    pictures = {ctx.file(f"digits-3-0{number}.png").read_bytes() for number in range(1, 5)}
    assert len(pictures) == 4


def test_several_digits_stand_in_one_picture_in_their_order(digits: Digits, tmp_path: Path) -> None:
    ctx = Remembering(tmp_path)
    drawing = digits.generate(ctx, "four two", seed=5, scale=4)
    assert drawing.label == "42"
    with Image.open(ctx.file("digits-42-01.png")) as picture:
        assert picture.size == (36 * 4, 20 * 4)
        middle = picture.width // 2
        halves = picture.crop((0, 0, middle, 80)), picture.crop((middle, 0, picture.width, 80))
    assert [digits.classify(RunContext(tmp_path), half).label for half in halves] == [4, 2]


@pytest.mark.parametrize("label", range(10))
def test_every_label_is_drawn_so_that_the_reader_reads_it(digits: Digits, tmp_path: Path, label: int) -> None:
    ctx = Remembering(tmp_path)
    digits.generate(ctx, str(label), count=5, seed=2026, scale=4)
    read = []
    for artifact in ctx.saved[:5]:
        with Image.open(ctx.file(artifact.name)) as picture:
            read.append(digits.classify(ctx, picture).label)
    assert read.count(label) >= 4


def test_the_same_seed_draws_the_same_and_another_does_not(digits: Digits, tmp_path: Path) -> None:
    drawn = []
    for number, seed in enumerate((11, 11, 12)):
        ctx = Remembering(tmp_path / str(number))
        digits.generate(ctx, "3", seed=seed, sampling=QUICK)
        drawn.append(ctx.file("digits-3-01.png").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]


def test_without_a_seed_one_is_chosen_and_told_and_draws_the_same_again(digits: Digits, tmp_path: Path) -> None:
    first, again, other = (Remembering(tmp_path / name) for name in ("first", "again", "other"))
    chosen = digits.generate(first, "5", sampling=QUICK).seed
    assert 0 <= chosen <= LARGEST_SEED
    digits.generate(again, "5", seed=chosen, sampling=QUICK)
    assert first.file("digits-5-01.png").read_bytes() == again.file("digits-5-01.png").read_bytes()
    assert digits.generate(other, "5", sampling=QUICK).seed != chosen


def test_a_picture_does_not_depend_on_how_many_are_drawn(digits: Digits, tmp_path: Path) -> None:
    one, many = Remembering(tmp_path / "one"), Remembering(tmp_path / "many")
    digits.generate(one, "8", count=1, seed=4, scale=2, sampling=QUICK)
    digits.generate(many, "8", count=3, seed=4, scale=2, sampling=QUICK)
    with Image.open(one.file("digits-8-01.png")) as alone, Image.open(many.file("digits-8-01.png")) as together:
        pairs = zip(alone.tobytes(), together.tobytes(), strict=True)
    assert max(abs(a - b) for a, b in pairs) <= 2


def test_each_step_is_told_with_a_preview_of_what_is_there(digits: Digits, tmp_path: Path) -> None:
    ctx = Remembering(tmp_path)
    digits.generate(ctx, "42", count=3, seed=1, sampling=Sampling(steps=4))
    assert [(told.done, told.total) for told in ctx.told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert ctx.told[1].note == "step 2 of 4"
    previews = [told.preview for told in ctx.told if told.preview is not None]
    assert len(set(previews)) == 4
    for preview in previews:
        with Image.open(io.BytesIO(preview)) as picture:
            assert picture.format == "PNG"
            assert max(picture.size) <= 16 * 36 * 4


def test_many_pictures_are_drawn_in_parts_with_one_count_of_steps(digits: Digits, tmp_path: Path) -> None:
    ctx = Remembering(tmp_path)
    drawing = digits.generate(ctx, "12345678", count=17, seed=1, scale=1, sampling=Sampling(steps=2, guidance=1))
    assert len(drawing.images) == 17
    assert [(told.done, told.total) for told in ctx.told] == [(step, 6) for step in range(1, 7)]
    assert ctx.told[-1].note == "step 2 of 2, part 3 of 3"


@pytest.mark.parametrize("stop", [Canceled(), Interrupted()], ids=["canceled", "interrupted"])
@pytest.mark.parametrize("checks", [0, 3])
def test_a_stop_ends_the_drawing_at_the_next_step(digits: Digits, tmp_path: Path, stop: Stop, checks: int) -> None:
    ctx = Remembering(tmp_path, stop=stop, checks=checks)
    with pytest.raises(type(stop)):
        digits.generate(ctx, "7", sampling=Sampling(steps=50))
    assert len(ctx.told) == checks
    assert ctx.saved == []


def test_an_unknown_word_draws_nothing(digits: Digits, tmp_path: Path) -> None:
    ctx = Remembering(tmp_path)
    with pytest.raises(InvalidInput, match="what works: zero, one"):
        digits.generate(ctx, "a cat")
    assert ctx.told == ctx.saved == []


def test_other_weights_draw_other_pictures(digits: Digits, tmp_path: Path) -> None:
    weights = tmp_path / "own.onnx"
    weights.write_bytes(echo())
    shipped, own = Remembering(tmp_path / "shipped"), Remembering(tmp_path / "own")
    digits.generate(shipped, "7", seed=1, sampling=QUICK)
    digits.generate(own, "7", seed=1, sampling=QUICK, weights=weights)
    assert shipped.file("digits-7-01.png").read_bytes() != own.file("digits-7-01.png").read_bytes()


def test_weights_that_are_no_generator_draw_nothing(digits: Digits, tmp_path: Path) -> None:
    weights = tmp_path / "digits.safetensors"
    weights.write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(InvalidInput, match=r"send the ONNX file that digits\.convert makes"):
        digits.generate(RunContext(tmp_path), "7", weights=weights)
