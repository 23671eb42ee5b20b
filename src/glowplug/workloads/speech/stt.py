"""The `stt` model: speech written down."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Le, MaxLen

from glowplug.load_context import LoadContext
from glowplug.model import File, Model, RunContext, task
from glowplug.workloads import option_values
from glowplug.workloads.extras import Deferred, imported
from glowplug.workloads.speech import source
from glowplug.workloads.speech.values import Transcript

if TYPE_CHECKING:
    from glowplug.workloads.speech import decoding, whisper
else:
    decoding = Deferred("glowplug.workloads.speech.decoding", "speech", "the stt model")
    whisper = Deferred("glowplug.workloads.speech.whisper", "speech", "the stt model")

KNOWN = ("source", "revision", "device", "compute_type", "threads", "beam_size", "longest_seconds")
LONGEST_SECONDS = 7200.0
LONGEST_PROMPT = 2000
BEAM_SIZE = 5
LARGEST_BEAM = 20
USUAL_TYPES = {"cpu": "int8", "mps": "int8", "cuda": "float16"}
A_MOMENT_OF_SILENCE = (
    "data:audio/wav;base64,UklGRmQAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)


class Stt(Model):
    """Options: `source`, `revision`, `device`, `compute_type`, `threads`, `beam_size`, `longest_seconds`."""

    name: ClassVar[str] = "stt"
    version: ClassVar[str] = "1"
    required: ClassVar[bool] = False
    slots: ClassVar[int] = 2
    devices: ClassVar[tuple[str, ...]] = ("cuda", "cpu")

    @classmethod
    def known_options(cls, options: Mapping[str, str]) -> Collection[str]:
        """Return the names of the options above."""
        del options
        return KNOWN

    @classmethod
    def sources(cls, options: Mapping[str, str]) -> Mapping[str, str]:
        """Return the model's address, if it is fetched from object storage or lies in a folder."""
        return cls.weights or source.declared(options)

    @classmethod
    def prepare(cls, options: Mapping[str, str]) -> None:
        """Import the recognizer and the audio decoder."""
        del options
        imported(whisper, decoding)

    def load(self, ctx: LoadContext) -> None:
        """Find and open the model."""
        options = ctx.options
        self._beam_size = option_values.whole(options, "beam_size", BEAM_SIZE, least=1, most=LARGEST_BEAM)
        self._longest_seconds = option_values.seconds(options, "longest_seconds", LONGEST_SECONDS)
        device = options.get("device", ctx.device)
        compute_type = options.get("compute_type", USUAL_TYPES.get(device.partition(":")[0], "default"))
        threads = option_values.threads(options)
        self._transcribed, self._samples_of = whisper.transcribed, decoding.samples_of
        folder = ctx.weights.get("model")
        if folder is None:
            with ctx.stage("fetch"):
                folder = source.folder_of(options.get("source", source.PACKAGE_SOURCE), options.get("revision"))
        with ctx.stage("build"):
            place = whisper.Place(device, compute_type, threads)
            self._model = whisper.opened(source.checked(folder), place)

    def warm_up(self, ctx: LoadContext) -> None:
        """Read a second of silence through the whole network: the example is too short for it."""
        del ctx
        whisper.warm(self._model)

    def sleep(self) -> None:
        """Move the weights to host memory."""
        self._model.model.unload_model(to_cpu=True)

    def wake(self) -> None:
        """Move the weights back onto the card."""
        self._model.model.load_model()

    @task(example={"audio": A_MOMENT_OF_SILENCE}, serves="audio/transcriptions")
    def transcribe(
        self,
        ctx: RunContext,
        audio: File,
        language: Annotated[str, MaxLen(20)] | None = None,
        prompt: Annotated[str, MaxLen(LONGEST_PROMPT)] = "",
        vad: bool = False,
        beam_size: Annotated[int, Ge(1), Le(LARGEST_BEAM)] | None = None,
    ) -> Transcript:
        """Write down what is said in a recording, or in a video.

        `language` is a code such as "en", found out if absent; `prompt` has names and words that are likely to come;
        `vad` leaves out what is no speech before it is read.
        """
        wish = whisper.Wish(language, prompt, vad, beam_size or self._beam_size)
        samples = self._samples_of(audio, self._longest_seconds, ctx.check)
        return self._transcribed(self._model, samples, wish, ctx)
