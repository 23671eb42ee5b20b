"""The `detector` model: trains, converts and uses object detectors, over HTTP or by messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from glowplug.errors import SettingsError
from glowplug.load_context import LoadContext
from glowplug.model import File, Model, RunContext, task
from glowplug.workloads.detection.values import Dataset, Hyperparams, Output, Trained
from glowplug.workloads.extras import Deferred

if TYPE_CHECKING:
    from glowplug.workloads.detection import libreyolo_engine, training
    from glowplug.workloads.detection.engine import Engine
else:
    training = Deferred("glowplug.workloads.detection.training", "detection", "detector.train")
    libreyolo_engine = Deferred("glowplug.workloads.detection.libreyolo_engine", "detection", "the detector model")

USUAL_OUTPUT, USUAL_HYPERPARAMS = Output(), Hyperparams()


class Detector(Model):
    """Options: `engine` (libreyolo, the default), `threads` (0, the default, is all cores)."""

    name: ClassVar[str] = "detector"
    version: ClassVar[str] = "1"

    def load(self, ctx: LoadContext) -> None:
        """Import the engine; the networks themselves come with each call."""
        self._threads = _threads(ctx.options.get("threads", "0"))
        self._device = ctx.device
        with ctx.stage("import"):
            self._engine = _engine(ctx.options.get("engine", "libreyolo"))

    @task(warm_up=False)
    def train(
        self,
        ctx: RunContext,
        dataset: Dataset,
        output: Output = USUAL_OUTPUT,
        hyperparams: Hyperparams = USUAL_HYPERPARAMS,
        weights: File | None = None,
    ) -> Trained:
        """Train a detector on a YOLO-format data set: a folder in the store or an uploaded zip.

        The data set is checked line by line before. `weights`, from an earlier training, are gone on from.
        """
        wish = training.Wish(dataset, output, hyperparams, weights, self._device, self._threads)
        return training.train(ctx, self._engine, wish)


def _engine(name: str) -> Engine:
    if name == "libreyolo":
        return libreyolo_engine.LibreYoloEngine()
    raise SettingsError(f"option engine={name!r}: known engines are libreyolo")


def _threads(value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise SettingsError(f"option threads={value!r}: a whole number is expected, 0 for all cores")
    return int(value)
