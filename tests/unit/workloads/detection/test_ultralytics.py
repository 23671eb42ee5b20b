"""Ultralytics is for those who install it themselves: what is ours of it, tried with a stand-in for it."""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.unit.workloads.detection import stand_in
from tests.unit.workloads.detection.folders import picture

from glowplug.errors import Canceled, InvalidInput, MissingExtra, OutOfMemory, SettingsError
from glowplug.load_context import LoadContext
from glowplug.workloads.detection import tensors, ultralytics_engine, weights
from glowplug.workloads.detection.dataset import CheckedDataset, Sample
from glowplug.workloads.detection.engine import Box, Epoch, TrainedWeights, TrainOrder
from glowplug.workloads.detection.model import Detector
from glowplug.workloads.detection.ultralytics_engine import UltralyticsEngine, installed
from glowplug.workloads.detection.ultralytics_names import Network, chosen

EPOCHS = 5
BEST = 3


@dataclass
class Watching:
    """Remembers what it is told; keeps the checkpoint of each epoch in `folder`, and stops when `when` says so."""

    folder: Path
    when: Callable[[Watching], bool] = lambda watching: False
    epochs: list[Epoch] = field(default_factory=list)
    batches: list[tuple[int, int, int]] = field(default_factory=list)

    def batch(self, epoch: int, done: int, total: int) -> None:
        """Hear of a batch."""
        self.batches.append((epoch, done, total))
        if self.when(self):
            raise Canceled

    def epoch(self, epoch: Epoch) -> None:
        """Hear of an epoch."""
        self.epochs.append(epoch)
        epoch.checkpoint(self.folder / f"{epoch.number}")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it absent also where somebody has it, and what it sets undone."""
    monkeypatch.setattr(ultralytics_engine, "find_spec", lambda name: None)
    for name in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL", "YOLO_VERBOSE", "YOLO_CONFIG_DIR", "ULTRALYTICS_API_KEY"):
        monkeypatch.setenv(name, "as it was")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[stand_in.DetectionTrainer]]:
    before = torch.get_num_threads()
    yield stand_in.install(monkeypatch)
    torch.set_num_threads(before)


@pytest.fixture
def order(tmp_path: Path) -> Callable[..., TrainOrder]:
    samples = {
        split: tuple(Sample(picture(tmp_path / f"{split}{number}.png"), None) for number in range(count))
        for split, count in {"train": 4, "val": 2}.items()
    }
    numbers = iter(range(99))

    def made(**changed: Any) -> TrainOrder:
        folder = tmp_path / "runs" / str(next(numbers))
        folder.mkdir(parents=True)
        data = CheckedDataset(changed.pop("names", ("dot", "dash")), samples["train"], samples["val"], "digest")
        return TrainOrder(data, folder, **({"epochs": EPOCHS, "batch": 2, "imgsz": 64} | changed))

    return made


def trained(order: TrainOrder, when: Callable[[Watching], bool] | None = None) -> tuple[TrainedWeights, Watching]:
    torch.manual_seed(order.seed)
    watching = Watching(order.folder) if when is None else Watching(order.folder, when)
    return UltralyticsEngine().train(order, watching), watching


def canceled(order: TrainOrder, when: Callable[[Watching], bool]) -> Watching:
    torch.manual_seed(order.seed)
    watching = Watching(order.folder, when)
    with pytest.raises(Canceled):
        UltralyticsEngine().train(order, watching)
    return watching


def same(one: Path, other: Path) -> bool:
    first, second = (weights.read(path, "ultralytics").state for path in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# Having it or not.


def test_without_it_the_load_ends_with_the_command_and_the_licence() -> None:
    with pytest.raises(
        MissingExtra, match=r"pip install ultralytics\. Its licence, AGPL-3\.0, reaches your program too"
    ):
        Detector().load(LoadContext(options={"engine": "ultralytics"}))
    with pytest.raises(MissingExtra):
        installed()


def test_without_something_that_it_needs_the_load_says_what(
    library: type[stand_in.DetectionTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ultralytics_engine, "find_spec", lambda name: object())
    assert installed(2).name == "ultralytics"
    monkeypatch.delitem(sys.modules, ultralytics_engine.LIBRARY)
    monkeypatch.setitem(sys.modules, "ultralytics.utils", None)
    with pytest.raises(MissingExtra, match=r"ultralytics\.utils is missing\. .* pip install ultralytics"):
        installed()


def test_another_engine_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError, match="known engines are libreyolo, ultralytics"):
        Detector().load(LoadContext(options={"engine": "darknet"}))


def test_its_licence_stands_on_it() -> None:
    assert (UltralyticsEngine.name, UltralyticsEngine.licence) == ("ultralytics", "AGPL-3.0-only")


def test_while_it_is_imported_it_is_shut_in_and_no_settings_of_it_stay(
    library: type[stand_in.DetectionTrainer],
) -> None:
    shut_in = importlib.import_module(ultralytics_engine.LIBRARY).shut_in
    with shut_in():
        folder = Path(os.environ["YOLO_CONFIG_DIR"])
        settings = json.loads((folder / "Ultralytics/settings.json").read_text())
        assert not any(settings.values())
        assert {"sync", "wandb", "mlflow", "api_key"} <= settings.keys()
        assert (os.environ["YOLO_OFFLINE"], os.environ["YOLO_AUTOINSTALL"]) == ("true", "false")
        assert "ULTRALYTICS_API_KEY" not in os.environ
    assert not folder.exists()


# Names.


@pytest.mark.parametrize(
    ("model", "network"),
    [
        ("small", Network("yolov8", "n")),
        ("Large", Network("yolov8", "l")),
        ("yolov8s", Network("yolov8", "s")),
        ("yolo11n.pt", Network("yolo11", "n")),
        ("yolov9c.yaml", Network("yolov9", "c")),
    ],
)
def test_networks_have_the_names_that_it_knows_them_by(model: str, network: Network) -> None:
    assert chosen(model) == network
    assert network.file == f"{network.family}{network.size}.yaml"


@pytest.mark.parametrize(
    "model",
    ["", "yolox", "../yolov8n", "yolov8n.yaml/../x", "http://example.com/x.pt", "rtdetr-l", "yolov8t", "yolov9n"],
)
def test_nothing_else_is_a_network(model: str) -> None:
    with pytest.raises(InvalidInput, match=r"hyperparams\.model: .* is not known; known are .*yolo11n\|s\|m\|l\|x"):
        chosen(model)


# Weights.


def test_a_pickle_is_not_opened_here_either(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(b"PK\x03\x04" + b"x" * 100)
    with pytest.raises(InvalidInput, match="may run code when it is opened"):
        UltralyticsEngine().open(tmp_path / "best.pt", "cpu")


@pytest.mark.parametrize(
    ("family", "size", "said"),
    [
        ("/tmp/of-somebody-else/yolov8", "n", "is no network of ultralytics"),
        ("yolov8", "", "is no network"),
        ("yolov8", "nsm", "is no network"),
        ("yolov8", "s", "not the tensors of yolov8s"),
    ],
)
def test_weights_name_no_network_but_its_own(
    library: type[stand_in.DetectionTrainer], tmp_path: Path, family: str, size: str, said: str
) -> None:
    weights.Weights("ultralytics", family, size, ("dot",), 64, {"x": torch.zeros(1)}).write(tmp_path / "weights")
    with pytest.raises(InvalidInput, match=said):
        UltralyticsEngine().open(tmp_path / "weights", "cpu")


# Looking and converting.


def test_what_it_finds_comes_most_confident_first_and_with_the_threads_that_are_given(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder]
) -> None:
    result, _ = trained(order(epochs=1))
    torch.set_num_threads(1)
    finder = UltralyticsEngine(threads=2).open(result.best, "cpu")
    image = Image.new("RGB", (64, 64))
    first, second = finder.find([image, image], 0.25, 0.45, 64)
    assert first == second == [Box("dash", 0.75, (4, 5, 6, 7)), Box("dot", 0.5, (0, 1, 2, 3))]
    finder.find([image], 0.25, 0.45, 64)
    assert finder._detector.looked == (2, 2)
    assert finder.find([], 0.25, 0.45, 64) == []
    assert torch.get_num_threads() == 1


def test_the_network_is_written_where_it_is_wanted(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder], tmp_path: Path
) -> None:
    result, _ = trained(order(epochs=1))
    torch.set_num_threads(1)
    UltralyticsEngine().export_onnx(result.best, tmp_path / "it.is", 64)
    assert (tmp_path / "it.is").read_bytes() == b"onnx"
    assert not (tmp_path / "it.onnx").exists()
    assert torch.get_num_threads() == 1


# Training.


def test_every_epoch_and_batch_is_told_and_the_best_epoch_is_kept(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder]
) -> None:
    result, watching = trained(order())
    assert [epoch.number for epoch in watching.epochs] == [1, 2, 3, 4, 5]
    assert watching.batches[:5] == [(1, 0, 2), (1, 1, 2), (1, 2, 2), (1, 2, 2), (2, 0, 2)]
    assert (result.best_epoch, result.epochs, result.stopped_early) == (BEST, EPOCHS, False)
    assert result.metrics == {"loss": watching.epochs[-1].train_loss, "mAP50": 0.8, "mAP50_95": 0.4}
    last = watching.epochs[-1]
    assert last.train_loss == last.box_loss + last.cls_loss + last.dfl_loss
    assert weights.read(result.best, "ultralytics").names == ("dot", "dash")
    assert not same(result.best, result.last)
    assert result.notes == ("trained by ultralytics, whose licence is AGPL-3.0-only",)


def test_it_takes_no_more_threads_than_it_is_given(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder]
) -> None:
    torch.set_num_threads(2)
    trained(order(epochs=1))
    assert [trainer.threads for trainer in stand_in.DetectionTrainer.made[-1:]] == [1]
    assert torch.get_num_threads() == 2


def test_no_pickle_stays_that_it_could_open_again(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder]
) -> None:
    asked = order(epochs=1)
    trained(asked)
    assert list(asked.folder.rglob("*.cache")) == []


def test_a_resumed_run_ends_as_the_undisturbed_one_and_counts_all_its_time(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder]
) -> None:
    whole, _ = trained(order())
    first = canceled(order(), lambda watching: len(watching.epochs) == 2)
    second, watching = trained(order(resume=first.folder / "2"))
    assert [epoch.number for epoch in watching.epochs] == [3, 4, 5]
    assert (second.metrics, second.best_epoch, second.epochs) == (whole.metrics, whole.best_epoch, whole.epochs)
    assert same(second.best, whole.best)
    assert same(second.last, whole.last)
    assert second.seconds > sum(epoch.seconds for epoch in watching.epochs)
    assert second.seconds > tensors.read(first.folder / "2", "x")["told"]["seconds"]


def test_a_run_that_was_over_but_not_told_is_told_without_training(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder]
) -> None:
    asked = order()
    whole, _ = trained(asked)
    again, watching = trained(order(resume=asked.folder / str(EPOCHS)))
    assert watching.epochs == []
    assert again.metrics == whole.metrics
    assert same(again.best, whole.best)


def test_patience_counts_across_attempts_and_a_run_that_ended_by_it_stays_ended(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder]
) -> None:
    library.quality = (0.0, 0.3, 0.1, 0.2, 0.9)
    first = canceled(order(patience=2), lambda watching: len(watching.epochs) == 3)
    asked = order(patience=2, resume=first.folder / "3")
    second, watching = trained(asked)
    assert [epoch.number for epoch in watching.epochs] == [4]
    assert (second.stopped_early, second.best_epoch, second.epochs) == (True, 2, 4)
    third, watching = trained(order(patience=2, resume=asked.folder / "4"))
    assert watching.epochs == []
    assert third.stopped_early


def test_a_checkpoint_of_another_run_or_engine_is_refused(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder], tmp_path: Path
) -> None:
    asked = order(epochs=1)
    trained(asked)
    with pytest.raises(InvalidInput, match=r'another training \(\{"seed": \[0, 6\]\}\); start a new job'):
        trained(order(epochs=1, seed=6, resume=asked.folder / "1"))
    tensors.write(tmp_path / "other", {"kind": "detector checkpoint"})
    with pytest.raises(InvalidInput, match="of another training"):
        trained(order(resume=tmp_path / "other"))


def test_a_run_stops_at_the_first_batch_and_within_a_validation(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder]
) -> None:
    assert len(canceled(order(), lambda watching: True).batches) == 1
    validated = canceled(order(), lambda watching: watching.batches.count((1, 2, 2)) == 2)
    assert validated.epochs == []


def test_a_loss_that_is_no_number_ends_the_run_with_what_to_change(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_in.DetectionModel, "forward", lambda self, batch: self.head(batch).sum() * math.nan)
    with pytest.raises(InvalidInput, match=r"no longer a number; try a lower hyperparams\.lr0"):
        trained(order())


def test_a_full_card_is_told_in_words_and_smaller_batches_are_noted(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder], monkeypatch: pytest.MonkeyPatch
) -> None:
    library.fails = torch.cuda.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(OutOfMemory, match=r"batches of 2 pictures of 64 pixels; lower hyperparams\.batch"):
        trained(order())
    library.fails = None
    begun = library._loader
    monkeypatch.setattr(
        library, "_loader", lambda self, folder: (setattr(self, "batch_size", 1), begun(self, folder))[1]
    )
    result, _ = trained(order(epochs=1))
    assert result.notes[-1] == "no room for batches of 2: trained in such of 1"


def test_pictures_that_it_leaves_out_are_told(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder]
) -> None:
    library.lost = 1
    result, _ = trained(order(epochs=1))
    assert "ultralytics left out 2 of the pictures" in result.notes[-1]


def test_training_goes_on_from_weights_of_other_classes_but_of_no_other_network(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder]
) -> None:
    first, _ = trained(order(epochs=1))
    result, _ = trained(order(epochs=1, names=("dot",), weights=first.best, imgsz=60))
    assert result.notes[1:] == (
        "imgsz 60 became 64, a multiple of 32",
        "2 tensors of the given weights are for other classes and were left out",
    )
    assert result.imgsz == 64
    with pytest.raises(InvalidInput, match="weights: of yolov8n, not of yolo11n; name their model"):
        trained(order(model="yolo11n", weights=first.best))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_picture_too_small_to_be_a_batch_alone_is_refused_in_words(
    library: type[stand_in.DetectionTrainer], order: Callable[..., TrainOrder], batch: int
) -> None:
    with pytest.raises(InvalidInput, match="too small for a batch of one picture; ask for 64"):
        trained(order(imgsz=32, batch=batch))
