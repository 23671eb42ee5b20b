"""The one module that trains: a dozen small pictures, one epoch or two."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tests.unit.workloads.contexts import Remembering, RememberingLoad
from tests.unit.workloads.detection.folders import write as write_by_hand
from tests.unit.workloads.detection.folders import zipped

from glowplug.errors import Canceled, Interrupted, InvalidInput, SettingsError, Stop, UserError
from glowplug.load_context import LoadContext
from glowplug.model import Resumed
from glowplug.workloads.detection import samples, tensors, weights
from glowplug.workloads.detection.model import Detector
from glowplug.workloads.detection.values import Dataset, Hyperparams, Output, Trained

EPOCHS = 2
QUICK = Hyperparams(model="tiny", epochs=EPOCHS, batch=6, imgsz=64, seed=5)
NUMBERS = ("train_loss", "box_loss", "cls_loss", "dfl_loss", "mAP50", "mAP50_95")


class StoppedInTraining(Remembering):
    """Raises `stop` at the first check after so many batches of all epochs."""

    def __init__(self, scratch: Path, stop: Stop, batches: int) -> None:
        super().__init__(scratch)
        self._at = stop, batches

    def check(self) -> None:
        stop, batches = self._at
        if self.told and self.told[-1].note.startswith("epoch") and self.told[-1].done >= batches:
            raise stop


@dataclass(frozen=True)
class Run:
    """A finished run, and what its context was told."""

    result: Trained
    ctx: Remembering

    @property
    def numbers(self) -> list[list[float]]:
        return [[told[name] for name in NUMBERS] for told in self.ctx.measured]

    @property
    def model(self) -> Path:
        return self.ctx.file("best.safetensors")


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    before = torch.get_num_threads()
    model = Detector()
    model.load(LoadContext(options={"threads": "1"}))
    yield model
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = samples.Recipe({"train": 12, "val": 4}, side=64)
    return samples.write(tmp_path_factory.mktemp("shapes"), recipe)


@pytest.fixture(scope="module")
def whole(detector: Detector, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing disturbed."""
    return trained(detector, shapes, Remembering(tmp_path_factory.mktemp("whole") / "scratch"))


def trained(model: Detector, root: Path, ctx: Remembering, hyperparams: Hyperparams = QUICK, **more: Any) -> Run:
    result = model.train(ctx, Dataset(s3_prefix=root), hyperparams=hyperparams, **more)
    return Run(result, ctx)


def stopped(model: Detector, root: Path, ctx: Remembering, stop: type[Stop] = Canceled) -> Remembering:
    with pytest.raises(stop):
        trained(model, root, ctx)
    return ctx


def read(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def same(one: Path, other: Path) -> bool:
    first, second = read(one), read(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_every_epoch_is_told_as_the_messages_want_it(whole: Run) -> None:
    assert [told["epoch"] for told in whole.ctx.measured] == [1, 2]
    assert {told["total_epochs"] for told in whole.ctx.measured} == {EPOCHS}
    assert all(loss > 0 for numbers in whole.numbers for loss in numbers[:4])


def test_progress_goes_forward_batch_by_batch(whole: Run) -> None:
    training = [told for told in whole.ctx.told if told.note.startswith("epoch")]
    assert {told.total for told in training} == {EPOCHS * 2}
    assert {told.done for told in training} == {0, 1, 2, 3, 4}
    assert [told.done for told in training] == sorted(told.done for told in training)
    assert whole.ctx.told[0].note == "checking picture 1 of 16"


def test_the_result_says_what_was_trained(whole: Run) -> None:
    result = whole.result
    assert result.model_path == "artifact:local/best.safetensors"
    assert result.last_path == "artifact:local/last.safetensors"
    assert result.final_metrics.training_epochs == EPOCHS
    assert result.final_metrics.final_loss == whole.numbers[-1][0]
    assert result.final_metrics.final_mAP50 == whole.numbers[result.best_epoch - 1][4]
    assert (result.engine, result.model, result.stopped_early) == ("libreyolo", "yolo9-t", False)
    assert (result.names, result.images) == (list(samples.NAMES), {"train": 12, "val": 4})
    assert result.training_time > 0
    assert (result.notes, result.warnings, result.report) == ([], [], None)


def test_the_weights_say_by_themselves_what_they_are(whole: Run) -> None:
    held = weights.read(whole.model, "libreyolo")
    assert (held.model, held.imgsz, held.names) == ("yolo9-t", 64, samples.NAMES)
    assert not any(name.startswith("aux") for name in held.state)


def test_nothing_is_written_beside_the_scratch_folder(
    detector: Detector, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = {path: path.stat().st_mtime_ns for path in shapes.rglob("*")}
    stopped(detector, shapes, StoppedInTraining(tmp_path / "scratch", Canceled(), 1))
    assert list((tmp_path / "here").iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in shapes.rglob("*")} == before


@pytest.mark.parametrize("checks", [0, 3])
def test_a_run_stops_while_its_data_set_is_checked(
    detector: Detector, shapes: Path, tmp_path: Path, checks: int
) -> None:
    stopped(detector, shapes, Remembering(tmp_path / "scratch", stop=Canceled(), checks=checks))
    assert not (tmp_path / "scratch/training").exists()


@pytest.mark.parametrize("batches", [0, 2], ids=["at the first batch", "before the validation"])
def test_a_run_stops_within_an_epoch(detector: Detector, shapes: Path, tmp_path: Path, batches: int) -> None:
    ctx = stopped(detector, shapes, StoppedInTraining(tmp_path / "scratch", Canceled(), batches))
    assert ctx.measured == []
    assert ctx.resume() is None


def test_a_resumed_run_ends_as_the_undisturbed_one(
    detector: Detector, shapes: Path, whole: Run, tmp_path: Path
) -> None:
    first = stopped(detector, shapes, StoppedInTraining(tmp_path / "first", Interrupted(), 3), Interrupted)
    checkpoint = first.resume()
    assert checkpoint is not None
    assert checkpoint.step == 1
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    kept = Resumed(checkpoint.step, shutil.copy(checkpoint.path, tmp_path / "kept"))
    second = trained(detector, shapes, Remembering(tmp_path / "second", resumed=kept))
    assert first.measured[0]["train_loss"] == whole.ctx.measured[0]["train_loss"]
    assert [*Run(whole.result, first).numbers, *second.numbers] == whole.numbers
    assert same(second.model, whole.model)
    assert same(second.ctx.file("last.safetensors"), whole.ctx.file("last.safetensors"))
    assert second.result.final_metrics == whole.result.final_metrics
    assert second.ctx.lines[-1] == "resumed after epoch 1 of 2"
    assert second.result.training_time > second.ctx.measured[-1]["epoch_seconds"]


def test_a_run_that_was_over_but_not_told_is_told_without_training_or_leaving_a_trace(
    detector: Detector, shapes: Path, whole: Run, tmp_path: Path
) -> None:
    ctx = Remembering(tmp_path / "scratch", resumed=whole.ctx.resume())
    chance = random.getstate(), torch.get_rng_state()
    again = trained(detector, shapes, ctx)
    assert random.getstate() == chance[0]
    assert torch.equal(torch.get_rng_state(), chance[1])
    assert ctx.measured == []
    assert again.result.final_metrics == whole.result.final_metrics
    assert same(again.model, whole.model)


def test_a_checkpoint_of_another_run_is_refused(detector: Detector, shapes: Path, whole: Run, tmp_path: Path) -> None:
    ctx = Remembering(tmp_path / "scratch", resumed=whole.ctx.resume())
    with pytest.raises(InvalidInput, match=r'another training \(\{"seed": \[5, 6\]\}\); start a new job'):
        trained(detector, shapes, ctx, Hyperparams(model="tiny", epochs=EPOCHS, batch=6, imgsz=64, seed=6))


def test_training_goes_on_from_given_weights_of_other_classes(detector: Detector, whole: Run, tmp_path: Path) -> None:
    box = "0 0.5 0.5 0.2 0.2\n"
    root = write_by_hand(tmp_path / "set", {"train/a": box, "train/b": box}, 'names: ["dot"]\n')
    archive = zipped(root, tmp_path / "set.zip")
    ctx = Remembering(tmp_path / "scratch")
    result = detector.train(
        ctx,
        Dataset(archive=archive),
        Output(model_name="best.pt"),
        Hyperparams(model="yolov8n", epochs=1, batch=-1, imgsz=60),
        whole.model,
    )
    assert result.names == ["dot"]
    assert result.images == {"train": 1, "val": 1}
    assert result.model_path == "artifact:local/best.safetensors"
    told = "; ".join(result.notes)
    assert "best.pt became best.safetensors" in told
    assert "no val split: 1 of the training pictures" in told
    assert "yolov8n was asked for" in told
    assert "imgsz 60 became 64" in told
    assert "for other classes and were left out" in told


@pytest.mark.parametrize(
    ("hyperparams", "said"),
    [
        (Hyperparams(model="resnet50"), "hyperparams.model: 'resnet50' is not known; known are small, tiny"),
        (Hyperparams(model="../../weights.pt"), "is not known"),
    ],
)
def test_an_unknown_model_is_refused_by_name(
    detector: Detector, shapes: Path, tmp_path: Path, hyperparams: Hyperparams, said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        trained(detector, shapes, Remembering(tmp_path / "scratch"), hyperparams)
    assert said in caught.value.message


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x02}q\x00.", b"PK\x03\x04...", b"\xff" * 40, b"\x08\0\0\0\0\0\0\0{}      "]
)
def test_weights_of_another_kind_are_refused_and_a_pickle_is_not_opened(
    detector: Detector, shapes: Path, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "given").write_bytes(data)
    with pytest.raises(InvalidInput) as caught:
        trained(detector, shapes, Remembering(tmp_path / "scratch"), weights=tmp_path / "given")
    assert caught.value.message.startswith("weights: ")
    if data.startswith((b"\x80", b"PK")):
        assert "make a safetensors file of it with `python -m glowplug.workloads.detection.weights" in str(caught.value)


def test_a_data_set_that_cannot_be_trained_on_is_refused_before_training(detector: Detector, tmp_path: Path) -> None:
    root = write_by_hand(tmp_path / "set", {"train/a": "7 0.5 0.5 0.2 0.2\n", "val/b": "0 0.5 0.5 0.2 0.2\n"})
    ctx = Remembering(tmp_path / "scratch")
    with pytest.raises(InvalidInput) as caught:
        trained(detector, root, ctx)
    assert "labels/train/a.txt:1: error: class 7 has no name; the last class is 1" in caught.value.message
    assert not (tmp_path / "scratch/training").exists()


@pytest.mark.parametrize("dataset", [Dataset(), Dataset(s3_prefix=Path("a"), archive=Path("b"))])
def test_a_data_set_is_named_once(detector: Detector, tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(InvalidInput, match=r"name either s3_prefix, .* or archive"):
        detector.train(Remembering(tmp_path / "scratch"), dataset)


def test_a_folder_of_the_name_images_above_the_scratch_is_refused(
    detector: Detector, shapes: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="move the data folder"):
        trained(detector, shapes, Remembering(tmp_path / "images"))


@pytest.mark.parametrize(
    ("options", "said"), [({"engine": "darknet"}, "known engines are"), ({"threads": "many"}, "a whole number")]
)
def test_a_wrong_option_names_the_right_ones(options: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Detector().load(RememberingLoad(**options))


def test_a_checkpoint_of_libreyolo_becomes_weights_without_running_what_it_holds(whole: Run, tmp_path: Path) -> None:
    held = weights.read(whole.model, "libreyolo")
    names = dict(enumerate(held.names))
    plain = {"model": dict(held.state), "names": names, "nc": 3, "model_family": "yolo9", "size": "t", "imgsz": 64}
    torch.save(plain, tmp_path / "best.pt")
    weights.of_libreyolo(tmp_path / "best.pt").write(tmp_path / "best.safetensors")
    assert same(tmp_path / "best.safetensors", whole.model)
    torch.save({**plain, "code": print}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="one that holds code"):
        weights.of_libreyolo(tmp_path / "evil.pt")


def test_a_tree_of_tensors_comes_back_as_it_was(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    tree = {"a": [shared, shared[1:3], None], "b": {0: {"x": torch.tensor(True)}, "1": 2.5}, "c": [torch.zeros(0)]}
    tensors.write(tmp_path / "tree", tree)
    back = tensors.read(tmp_path / "tree", "x")
    assert [value.tolist() for value in back["a"][:2]] == [[0, 1, 2, 3], [1, 2]]
    assert back["a"][2] is None
    assert list(back["b"]) == [0, "1"]
    assert json.dumps(back["b"]["1"]) == "2.5"


@pytest.mark.parametrize(
    ("foreign", "held"),
    [({"conv_in.weight": torch.zeros(1), "up.0": torch.zeros(1)}, " (it holds 'conv_in.weight')"), ({}, "")],
)
def test_tensors_of_something_else_are_told_from_a_detector(
    foreign: dict[str, torch.Tensor], held: str, tmp_path: Path
) -> None:
    save_file(foreign, tmp_path / "unet.safetensors", {"format": "pt"})
    with pytest.raises(InvalidInput) as refused:
        weights.read(tmp_path / "unet.safetensors", "libreyolo")
    said = "these are tensors of something else, not a file that detector.train writes"
    assert refused.value.message == f"model_path: {said}{held}"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"size": "zz"}, "yolo9-zz is no network of libreyolo"),
        ({"family": "rtdetr"}, "rtdetr-t is no network of libreyolo"),
        ({"imgsz": 10**9}, "a picture size of 1000000000"),
        ({"imgsz": 0}, "a picture size of 0"),
        ({"imgsz": float("inf")}, "infinity"),
        ({"names": []}, "0 class names"),
        ({"names": ["a", "b\n", "c"]}, "a class name is too long or cannot be printed"),
        ({"state": {"x": 1}}, "x holds no numbers of a network"),
        ({"state": {1: torch.zeros(1)}}, "1 holds no numbers of a network"),
        ({"state": {"x": torch.zeros(1, dtype=torch.float8_e4m3fn)}}, "x holds no numbers of a network"),
        ({"state": {"x": torch.zeros(1, dtype=torch.int8)}}, "x holds no numbers of a network"),
        ({"state": {"x": torch.zeros(1, dtype=torch.complex64)}}, "x holds no numbers of a network"),
        ({"state": {"x": torch.tensor([1.0, float("nan")])}}, "some of its numbers are none"),
    ],
)
def test_weights_that_say_what_cannot_be_are_refused_in_words(
    detector: Detector, whole: Run, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    path = tmp_path / "odd.safetensors"
    tensors.write(path, tensors.read(whole.model, "model_path") | changed)
    with pytest.raises(InvalidInput, match=said):
        detector.convert(Remembering(tmp_path / "run"), path)


def test_a_picture_too_small_to_be_trained_on_alone_is_refused_in_words(detector: Detector, tmp_path: Path) -> None:
    root = write_by_hand(tmp_path / "set")
    with pytest.raises(InvalidInput, match="too small for batches of one picture; ask for 64"):
        trained(detector, root, Remembering(tmp_path / "run"), Hyperparams(model="tiny", epochs=1, batch=1, imgsz=32))
