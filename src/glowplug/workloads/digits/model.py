"""The `digits` model: draws handwritten digits from words, reads them, and can train its own successor."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from glowplug.errors import BugError
from glowplug.load_context import LoadContext
from glowplug.model import File, Image, Model, RunContext, task
from glowplug.workloads import option_values
from glowplug.workloads.digits.prompt import digits_in
from glowplug.workloads.digits.values import Converted, Drawing, Reading, Sampling, Trained
from glowplug.workloads.extras import Deferred, imported

if TYPE_CHECKING:
    from glowplug.workloads.digits import conversion, drawing, network, picture, trainer, training
else:
    drawing = Deferred("glowplug.workloads.digits.drawing", "digits", "the digits model")
    network = Deferred("glowplug.workloads.digits.network", "digits", "the digits model")
    picture = Deferred("glowplug.workloads.digits.picture", "digits", "the digits model")
    training = Deferred("glowplug.workloads.digits.training", "digits-train", "digits.train")
    trainer = Deferred("glowplug.workloads.digits.trainer", "digits-train", "digits.train")
    conversion = Deferred("glowplug.workloads.digits.conversion", "digits-train", "digits.convert")

LARGEST_SEED = 2**53 - 1
"""The largest whole number that every JSON reader keeps."""
USUAL = Sampling()
TOLERANCE = 1e-4
A_ONE = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAPUlEQVR42iXKMRWAMBAFsLxTUCcgAQk4qxQsUAXUARKQ8Bm6ZYgk"
    "x34lhTYHxbxtSG+8ieTjWYfJAop2GvzQrBWr7w5C+QAAAABJRU5ErkJggg=="
)


class Digits(Model):
    """Draws with a small U-Net and reads with a small CNN, both trained on half of scikit-learn's real digits."""

    name: ClassVar[str] = "digits"
    version: ClassVar[str] = "1"
    devices: ClassVar[tuple[str, ...]] = ("cpu",)

    @classmethod
    def known_options(cls, options: Mapping[str, str]) -> Collection[str]:
        """Return the names of its options."""
        del options
        return ("threads",)

    @classmethod
    def prepare(cls, options: Mapping[str, str]) -> None:
        """Import the networks' runtime."""
        del options
        imported(network, drawing)

    def load(self, ctx: LoadContext) -> None:
        """Open both networks; option `threads` limits the cores that a call uses (0, the default, is all)."""
        threads = option_values.threads(ctx.options)
        self._open_generator = network.generator_in
        self._draw = drawing.draw
        with ctx.stage("read"):
            shipped = {name: _shipped(name) for name in ("generator.onnx", "classifier.onnx")}
        with ctx.stage("build"):
            self._generator = network.Generator(shipped["generator.onnx"], threads=threads)
            self._classifier = network.Classifier(shipped["classifier.onnx"], threads=threads)

    @task(example={"prompt": "seven", "count": 1, "seed": 7})
    def generate(
        self,
        ctx: RunContext,
        prompt: Annotated[str, MinLen(1), MaxLen(200)],
        count: Annotated[int, Ge(1), Le(64)] = 1,
        seed: Annotated[int, Ge(0), Le(LARGEST_SEED)] | None = None,
        scale: Annotated[int, Ge(1), Le(32)] = 12,
        sampling: Sampling = USUAL,
        weights: File | None = None,
    ) -> Drawing:
        """Draw handwritten digits from words: "seven", "7", or "four two" for the number 42.

        The words are mapped to ten labels; no understanding of language stands behind them. `weights` is an ONNX file
        from `digits.convert`, instead of the shipped one.
        """
        label = digits_in(prompt)
        chosen = secrets.randbelow(LARGEST_SEED) if seed is None else seed
        generator = self._generator if weights is None else self._open_generator(weights)
        return self._draw(ctx, generator, drawing.Order(prompt, label, count, chosen, scale, sampling))

    @task(example={"image": A_ONE}, short=True)
    def classify(self, ctx: RunContext, image: Image) -> Reading:
        """Read one handwritten digit from a picture, dark on light or light on dark."""
        ctx.check()
        scores = [round(float(score), 6) for score in self._classifier(picture.read(image))[0]]
        label = max(range(len(scores)), key=scores.__getitem__)
        return Reading(label, scores[label], scores)

    @task(example={"epochs": 60}, warm_up=False)
    def train(
        self,
        ctx: RunContext,
        epochs: Annotated[int, Ge(1), Le(1000)] = 60,
        batch: Annotated[int, Ge(1), Le(512)] = 64,
        learning_rate: Annotated[float, Gt(0), Le(0.1)] = 1e-3,
        seed: Annotated[int, Ge(0), Le(LARGEST_SEED)] = 0,
        pictures: Annotated[int, Ge(1)] | None = None,
    ) -> Trained:
        """Train the generator on the real digits, or on the first few `pictures` of them for a quick try."""
        return trainer.train(ctx, training.Recipe(epochs, batch, learning_rate, seed, pictures))

    @task(warm_up=False)
    def convert(self, ctx: RunContext, weights: File, format: Literal["onnx"] = "onnx") -> Converted:  # noqa: A002
        """Convert weights from `digits.train` to ONNX, checked against the original on fixed inputs."""
        original = conversion.load_network(weights)
        ctx.progress(1, 3, "converting")
        ctx.check()
        checked = conversion.converted(original)
        ctx.progress(2, 3, "checked")
        if not checked.max_abs_difference <= TOLERANCE:
            raise BugError(f"the {format} network is {checked.max_abs_difference:.2g} off, more than {TOLERANCE:.2g}")
        saved = ctx.save("digits.onnx", checked.data)
        return Converted(saved.uri, saved.sha256, format, checked.max_abs_difference, TOLERANCE)


def _shipped(name: str) -> bytes:
    return (files(__package__) / "weights" / name).read_bytes()
