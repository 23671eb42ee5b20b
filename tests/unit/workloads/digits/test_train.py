"""Training: epochs are told, each is a checkpoint, and a resumed run ends where the uninterrupted one does."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.workloads.contexts import Remembering

from glowplug.errors import Canceled, Corrupt, Interrupted, InvalidInput
from glowplug.model import Resumed
from glowplug.workloads.digits.model import Digits
from glowplug.workloads.digits.values import Sampling

torch = pytest.importorskip("torch", reason="NOT TESTED: digits.train and digits.convert need glowplug[digits-train]")

SMALL = {"epochs": 3, "batch": 16, "pictures": 40}
STEPS_PER_EPOCH = 3


def weights(ctx: Remembering) -> bytes:
    return ctx.file("digits.safetensors").read_bytes()


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Beside other work on the machine, threads that wait for one another take many times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Remembering:
    """A run that nothing disturbed."""
    ctx = Remembering(tmp_path_factory.mktemp("straight"))
    Digits().train(ctx, **SMALL)
    return ctx


def test_each_epoch_is_told_with_its_loss(straight: Remembering) -> None:
    assert [told["epoch"] for told in straight.measured] == [1, 2, 3]
    losses = [told["loss"] for told in straight.measured]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]


def test_each_step_is_told_against_the_steps_of_the_whole_run(straight: Remembering) -> None:
    assert [(told.done, told.total) for told in straight.told] == [(step, 9) for step in range(1, 10)]
    assert straight.told[3].note == "epoch 2 of 3"


def test_each_epoch_ends_with_a_picture_of_what_it_draws_by_now(straight: Remembering) -> None:
    shown = [told.done for told in straight.told if told.preview is not None]
    assert shown == [3, 6, 9]
    with Image.open(io.BytesIO(straight.told[2].preview or b"")) as picture:
        assert picture.format == "PNG"


def test_the_last_checkpoint_stands_for_the_last_epoch(straight: Remembering) -> None:
    resumed = straight.resume()
    assert resumed is not None
    assert resumed.step == 3


def test_the_same_recipe_gives_the_same_weights_and_another_seed_does_not(
    straight: Remembering, tmp_path: Path
) -> None:
    again, other = Remembering(tmp_path / "again"), Remembering(tmp_path / "other")
    trained = Digits().train(again, **SMALL)
    Digits().train(other, **SMALL, seed=1)
    assert weights(again) == weights(straight) != weights(other)
    assert (trained.weights, trained.epochs, trained.seed) == ("artifact:local/digits.safetensors", 3, 0)
    assert trained.sha256 == again.saved[0].sha256
    assert trained.loss == again.measured[-1]["loss"]


@pytest.mark.parametrize("checks", range(STEPS_PER_EPOCH, 3 * STEPS_PER_EPOCH))
def test_a_run_interrupted_at_any_step_resumes_to_the_very_same_weights(
    straight: Remembering, tmp_path: Path, checks: int
) -> None:
    first = Remembering(tmp_path / "first", stop=Interrupted(), checks=checks)
    with pytest.raises(Interrupted):
        Digits().train(first, **SMALL)
    resumed = first.resume()
    assert resumed is not None
    assert resumed.step == checks // STEPS_PER_EPOCH
    second = Remembering(tmp_path / "second", resumed=resumed)
    Digits().train(second, **SMALL)
    assert second.lines == [f"resumed after epoch {resumed.step} of 3"]
    assert [told["epoch"] for told in second.measured] == list(range(resumed.step + 1, 4))
    assert weights(second) == weights(straight)


def test_a_run_resumed_after_its_last_epoch_only_saves(straight: Remembering, tmp_path: Path) -> None:
    ctx = Remembering(tmp_path, resumed=straight.resume())
    trained = Digits().train(ctx, **SMALL)
    assert trained.loss is None
    assert ctx.told == []
    assert weights(ctx) == weights(straight)


def test_a_canceled_run_saves_nothing(tmp_path: Path) -> None:
    ctx = Remembering(tmp_path, stop=Canceled(), checks=1)
    with pytest.raises(Canceled):
        Digits().train(ctx, **SMALL)
    assert ctx.saved == []
    assert ctx.resume() is None


def test_a_checkpoint_of_another_recipe_is_refused(straight: Remembering, tmp_path: Path) -> None:
    ctx = Remembering(tmp_path, resumed=straight.resume())
    with pytest.raises(InvalidInput, match="the checkpoint is of another recipe"):
        Digits().train(ctx, epochs=3, batch=8, pictures=40)


@pytest.mark.parametrize("size", [0, 7, 100, 5000])
def test_a_damaged_checkpoint_is_told_as_such(straight: Remembering, tmp_path: Path, size: int) -> None:
    resumed = straight.resume()
    assert resumed is not None
    path = tmp_path / "checkpoint"
    path.write_bytes(resumed.path.read_bytes()[:size])
    with pytest.raises(Corrupt, match="not a safetensors file: checkpoint"):
        Digits().train(Remembering(tmp_path / "run", resumed=Resumed(1, path)), **SMALL)


def test_weights_in_place_of_a_checkpoint_are_told_as_corrupt(straight: Remembering, tmp_path: Path) -> None:
    resumed = Resumed(1, straight.file("digits.safetensors"))
    with pytest.raises(Corrupt, match="lacks"):
        Digits().train(Remembering(tmp_path, resumed=resumed), **SMALL)


def test_a_loss_that_leaves_the_numbers_names_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="try a lower learning_rate") as caught:
        Digits().train(Remembering(tmp_path), epochs=40, batch=8, pictures=16, learning_rate=1e18)
    assert caught.value.data["fields"] == ["learning_rate"]


@pytest.mark.parametrize(("pictures", "batch"), [(1, 64), (5, 2), (3, 3)])
def test_the_smallest_runs_work_too(tmp_path: Path, pictures: int, batch: int) -> None:
    ctx = Remembering(tmp_path)
    Digits().train(ctx, epochs=1, batch=batch, pictures=pictures)
    assert len(ctx.told) == math.ceil(pictures / batch)


def test_more_pictures_than_there_are_is_all_of_them(tmp_path: Path) -> None:
    ctx = Remembering(tmp_path, stop=Canceled(), checks=1)
    with pytest.raises(Canceled):
        Digits().train(ctx, epochs=1, batch=512, pictures=10**9)
    assert ctx.told[0].total == 2


def test_what_was_trained_can_be_converted_and_drawn_with(
    digits: Digits, straight: Remembering, tmp_path: Path
) -> None:
    ctx = Remembering(tmp_path / "convert")
    converted = digits.convert(ctx, straight.file("digits.safetensors"))
    assert converted.model == "artifact:local/digits.onnx"
    assert converted.format == "onnx"
    assert converted.max_abs_difference <= converted.tolerance == 1e-4
    assert converted.sha256 == ctx.saved[0].sha256
    drawn = Remembering(tmp_path / "draw")
    digits.generate(drawn, "7", seed=1, sampling=Sampling(steps=2), weights=ctx.file("digits.onnx"))
    assert drawn.file("digits-7-01.png").exists()


def test_converting_twice_gives_the_same_file(digits: Digits, straight: Remembering, tmp_path: Path) -> None:
    first, second = (
        digits.convert(Remembering(tmp_path / name), straight.file("digits.safetensors")) for name in ("a", "b")
    )
    assert first.sha256 == second.sha256


def test_a_canceled_conversion_saves_nothing(digits: Digits, straight: Remembering, tmp_path: Path) -> None:
    ctx = Remembering(tmp_path, stop=Canceled())
    with pytest.raises(Canceled):
        digits.convert(ctx, straight.file("digits.safetensors"))
    assert ctx.saved == []


@pytest.mark.parametrize("data", [b"", b"no weights", b"\x02\0\0\0\0\0\0\0{}"], ids=["empty", "text", "no-tensors"])
def test_what_is_no_weights_file_is_not_converted(digits: Digits, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "weights"
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match=r"weights: not what digits\.train saves"):
        digits.convert(Remembering(tmp_path / "run"), path)


def test_a_checkpoint_is_not_taken_for_weights(digits: Digits, straight: Remembering, tmp_path: Path) -> None:
    resumed = straight.resume()
    assert resumed is not None
    with pytest.raises(InvalidInput, match=r"not what digits\.train saves"):
        digits.convert(Remembering(tmp_path), resumed.path)


def test_a_conversion_that_is_off_is_not_saved(
    digits: Digits, straight: Remembering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glowplug.workloads.digits.model.TOLERANCE", 0.0)
    ctx = Remembering(tmp_path)
    with pytest.raises(Exception, match="off, more than 0"):
        digits.convert(ctx, straight.file("digits.safetensors"))
    assert ctx.saved == []
