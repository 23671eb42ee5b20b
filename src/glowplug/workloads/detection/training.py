"""The training task: the data set is fetched and checked, the engine trains, and each epoch is told and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from glowplug.errors import InvalidInput
from glowplug.model import RunContext, checked_file_name
from glowplug.workloads.detection.dataset import CheckedDataset, checked
from glowplug.workloads.detection.engine import Engine, Epoch, TrainedWeights, TrainOrder
from glowplug.workloads.detection.report import SHOWN, Report
from glowplug.workloads.detection.unpacking import root_of, unpacked
from glowplug.workloads.detection.values import Dataset, FinalMetrics, Hyperparams, Output, Trained

SUFFIX = ".safetensors"
LAST_NAME = "last.safetensors"
REPORT_NAME = "dataset-report.txt"
LOGGED = 200


@dataclass(frozen=True, slots=True)
class Wish:
    """What the task was called with, and where it runs."""

    dataset: Dataset
    output: Output
    hyperparams: Hyperparams
    weights: Path | None
    device: str
    threads: int


def train(ctx: RunContext, engine: Engine, wish: Wish) -> Trained:
    """Check the data set, train from the last checkpoint if there is one, and save the weights.

    Raises:
        InvalidInput: the data set cannot be trained on, or a value is wrong.
    """
    name, notes = weights_name(wish.output.model_name)
    data = _data(ctx, wish)
    report = _reported(ctx, data.report)
    trained = engine.train(_order(ctx, wish, data), _Telling(ctx, wish.hyperparams.epochs))
    model, last = ctx.save(name, trained.best), ctx.save(_beside(name), trained.last)
    return Trained(
        model_path=model.uri,
        last_path=last.uri,
        final_metrics=_final(trained),
        training_time=trained.seconds,
        best_epoch=trained.best_epoch,
        stopped_early=trained.stopped_early,
        model=trained.model,
        engine=engine.name,
        names=list(data.names),
        images={"train": len(data.train), "val": len(data.val)},
        notes=[*notes, *data.notes, *trained.notes],
        warnings=data.report.shown(data.report.warnings),
        report=report,
    )


def weights_name(wanted: str) -> tuple[str, list[str]]:
    """Return the file name for the weights, and what is to be said if it is another than the wanted one.

    Weights are no pickles here, so that a name such as best.pt would say something untrue.
    """
    name = PurePath(checked_file_name(wanted, "output.model_name")).name
    if name.endswith(SUFFIX):
        return name, []
    right = f"{name.removesuffix('.pt').removesuffix('.pth')}{SUFFIX}"
    note = f"{name} became {right}: the weights are safetensors, which run no code"
    return checked_file_name(right, "output.model_name"), [note]


class _Telling:
    """Tells the run of batches and epochs, and keeps the checkpoints."""

    def __init__(self, ctx: RunContext, epochs: int) -> None:
        self._ctx = ctx
        self._epochs = epochs

    def batch(self, epoch: int, done: int, total: int) -> None:
        """Report progress, or stop."""
        self._ctx.check()
        self._ctx.progress((epoch - 1) * total + done, self._epochs * total, f"epoch {epoch} of {self._epochs}")

    def epoch(self, epoch: Epoch) -> None:
        """Report the epoch's numbers and keep its checkpoint."""
        self._ctx.metrics(
            epoch=epoch.number,
            total_epochs=epoch.total,
            train_loss=epoch.train_loss,
            box_loss=epoch.box_loss,
            cls_loss=epoch.cls_loss,
            dfl_loss=epoch.dfl_loss,
            mAP50=epoch.mAP50,
            mAP50_95=epoch.mAP50_95,
            precision=epoch.precision,
            recall=epoch.recall,
            epoch_seconds=epoch.seconds,
        )
        self._ctx.checkpoint(epoch.number, epoch.checkpoint)


def _data(ctx: RunContext, wish: Wish) -> CheckedDataset:
    epochs = wish.hyperparams.epochs

    def watch(done: int, total: int) -> None:
        ctx.check()
        ctx.progress(0, epochs, f"checking picture {done} of {total}")

    root = _root(wish.dataset, ctx.scratch / "data", ctx.check)
    return checked(root, seed=wish.hyperparams.seed, val_share=wish.hyperparams.val_share, watch=watch)


def _root(dataset: Dataset, folder: Path, check: Callable[[], None]) -> Path:
    if (dataset.s3_prefix is None) == (dataset.archive is None):
        raise InvalidInput(
            "dataset: name either s3_prefix, a folder in the store, or archive, a zip", fields=["dataset"]
        )
    if dataset.archive is not None:
        return unpacked(dataset.archive, folder, check)
    return root_of(dataset.s3_prefix or folder)


def _reported(ctx: RunContext, report: Report) -> str | None:
    """Log what is odd in the data set; returns the whole list's reference where it is too long for the result."""
    lines = list(report.lines())
    for line in lines[:LOGGED]:
        ctx.log(line)
    if len(report.warnings) <= SHOWN:
        return None
    return ctx.save(REPORT_NAME, "".join(f"{line}\n" for line in lines).encode()).uri


def _order(ctx: RunContext, wish: Wish, data: CheckedDataset) -> TrainOrder:
    resumed, asked = ctx.resume(), wish.hyperparams
    if resumed is not None:
        ctx.log(f"resumed after epoch {resumed.step} of {asked.epochs}")
    folder = ctx.scratch / "training"
    folder.mkdir()
    return TrainOrder(
        data=data,
        folder=folder,
        model=asked.model,
        epochs=asked.epochs,
        batch=asked.batch,
        imgsz=asked.imgsz,
        seed=asked.seed,
        device=wish.device,
        resume=None if resumed is None else resumed.path,
        weights=wish.weights,
        patience=asked.patience,
        threads=wish.threads,
        lr0=asked.lr0,
    )


def _final(trained: TrainedWeights) -> FinalMetrics:
    found = trained.metrics
    return FinalMetrics(found["mAP50"], found["mAP50_95"], found["loss"], trained.epochs)


def _beside(name: str) -> str:
    return LAST_NAME if name != LAST_NAME else f"last-epoch{SUFFIX}"
