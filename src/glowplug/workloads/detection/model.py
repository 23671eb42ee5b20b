"""The `detector` model: trains, converts and uses object detectors, over HTTP or by messages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Le, MaxLen, MinLen

from glowplug.errors import SettingsError
from glowplug.load_context import LoadContext
from glowplug.model import File, Model, RunContext, task
from glowplug.workloads import option_values
from glowplug.workloads.detection.use_values import (
    MOST_IMAGES,
    Converted,
    Inferred,
    OnnxOutput,
    Params,
    PictureFile,
    Place,
)
from glowplug.workloads.detection.values import Dataset, Hyperparams, Output, Trained
from glowplug.workloads.extras import Deferred, imported

if TYPE_CHECKING:
    from glowplug.workloads.detection import conversion, inference, libreyolo_engine, training, ultralytics_engine
    from glowplug.workloads.detection.engine import Engine
else:
    training = Deferred("glowplug.workloads.detection.training", "detection", "detector.train")
    conversion = Deferred("glowplug.workloads.detection.conversion", "detection", "detector.convert")
    inference = Deferred("glowplug.workloads.detection.inference", "detection", "detector.infer")
    libreyolo_engine = Deferred("glowplug.workloads.detection.libreyolo_engine", "detection", "the detector model")
    ultralytics_engine = Deferred("glowplug.workloads.detection.ultralytics_engine", "detection", "the detector model")

USUAL_OUTPUT, USUAL_HYPERPARAMS = Output(), Hyperparams()
USUAL_ONNX, USUAL_PLACE, USUAL_PARAMS = OnnxOutput(), Place(), Params()
NO_IMAGES: tuple[PictureFile, ...] = ()


class Detector(Model):
    """Options: `engine` (libreyolo, the default, or ultralytics), `threads` (0, the default, is all cores)."""

    name: ClassVar[str] = "detector"
    version: ClassVar[str] = "1"

    @classmethod
    def known_options(cls, options: Mapping[str, str]) -> Collection[str]:
        """Return the names of the options above."""
        del options
        return ("engine", "threads")

    @classmethod
    def prepare(cls, options: Mapping[str, str]) -> None:
        """Import the engine."""
        imported(libreyolo_engine if options.get("engine", "libreyolo") == "libreyolo" else ultralytics_engine)

    def load(self, ctx: LoadContext) -> None:
        """Make the engine ready; the networks themselves come with each call."""
        self._threads = option_values.threads(ctx.options)
        self._device = ctx.device
        self._engine = _engine(ctx.options.get("engine", "libreyolo"), self._threads)

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

    @task(warm_up=False)
    def convert(
        self,
        ctx: RunContext,
        model_path: File,
        format: Annotated[str, MaxLen(40)] = "onnx",  # noqa: A002 - the name on the wire
        output: OnnxOutput = USUAL_ONNX,
        imgsz: Annotated[int, Ge(32), Le(2048)] | None = None,
        images: Annotated[tuple[PictureFile, ...], MaxLen(100)] = NO_IMAGES,
    ) -> Converted:
        """Write a trained detector as ONNX, for square pictures of `imgsz` pixels, by default those of its training.

        The two have to find the same in `images`, or in drawn ones.
        """
        wish = conversion.Wish(model_path, format, output.model_name, imgsz, images, self._threads)
        return conversion.convert(ctx, self._engine, wish)

    @task(warm_up=False)
    def infer(
        self,
        ctx: RunContext,
        model_path: File,
        images: Annotated[tuple[PictureFile, ...], MinLen(1), MaxLen(MOST_IMAGES)],
        output: Place = USUAL_PLACE,
        params: Params = USUAL_PARAMS,
    ) -> Inferred:
        """Look for things in pictures with a trained detector, or with one in ONNX."""
        del output
        wish = inference.Wish(model_path, images, params, self._device, self._threads)
        return inference.infer(ctx, self._engine, wish)


def _engine(name: str, threads: int) -> Engine:
    if name == "libreyolo":
        return libreyolo_engine.LibreYoloEngine(threads)
    if name == "ultralytics":
        return ultralytics_engine.installed(threads)
    raise SettingsError(f"option engine={name!r}: known engines are libreyolo, ultralytics")
