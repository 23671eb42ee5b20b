"""The `tts` model: text read aloud, sentence by sentence."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge, Le, MaxLen, MinLen

from glowplug.errors import InvalidInput
from glowplug.load_context import LoadContext
from glowplug.model import Model, RunContext, task
from glowplug.workloads.extras import Deferred, imported
from glowplug.workloads.speech.engine import OWN, Engine, opened
from glowplug.workloads.speech.sentences import bounded, has_words
from glowplug.workloads.speech.values import AudioFormat, Piece, Recording

if TYPE_CHECKING:
    from glowplug.workloads.speech import encoding
else:
    encoding = Deferred("glowplug.workloads.speech.encoding", "speech", "the tts model")

LONGEST_SPEECH = 20_000
LONGEST_RECORDING = 200_000
LONGEST_SENTENCE = 280
LARGEST_SEED = 2**53 - 1
"""The largest whole number that every JSON reader keeps."""

THEIR_VOICES = frozenset(
    ("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse")
)
"""OpenAI's voices: their clients must name one, so where we have none of that name it means the default."""

Voice = Annotated[str, MaxLen(100)]
Speed = Annotated[float, Ge(0.25), Le(4)]
Seed = Annotated[int, Ge(0), Le(LARGEST_SEED)]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be read, and how."""

    text: str
    voice: str
    speed: float
    seed: int | None


class Tts(Model):
    """Options: `engine` ("hibari", the default, or module:function), `voices` and `threads` of hibari.

    An engine of one's own is handed all options, whatever their names.
    """

    name: ClassVar[str] = "tts"
    version: ClassVar[str] = "1"
    slots: ClassVar[int] = 4
    devices: ClassVar[tuple[str, ...]] = ("cpu",)

    @classmethod
    def known_options(cls, options: Mapping[str, str]) -> Collection[str] | None:
        """Return the names of the options above; None with an engine of one's own."""
        return ("engine", "voices", "threads") if options.get("engine", "hibari") in OWN else None

    @classmethod
    def prepare(cls, options: Mapping[str, str]) -> None:
        """Import the audio encoder."""
        del options
        imported(encoding)

    def load(self, ctx: LoadContext) -> None:
        """Open the engine and its voices."""
        self._turn = threading.Lock()
        self._encoder, self._sink = encoding.Encoder, encoding.Sink
        with ctx.stage("build"):
            self._engine: Engine = opened(ctx.options.get("engine", "hibari"), ctx.options)

    @task(example={"text": "The model is ready."}, serves="audio/speech")
    def speak(
        self,
        ctx: RunContext,
        text: Annotated[str, MinLen(1), MaxLen(LONGEST_SPEECH)],
        voice: Voice = "",
        speed: Speed = 1.0,
        format: AudioFormat = "wav",  # noqa: A002 - the word of the protocol
        seed: Seed | None = None,
    ) -> Iterator[Piece]:
        """Read a text aloud: the audio of each sentence as soon as it is spoken. The parts joined are one file.

        The same `seed` gives the same samples.
        """
        wish = self._checked(Wish(text, voice, speed, seed))
        sink = self._sink()
        with self._encoder(sink, format, self._engine.sample_rate) as encoder:
            for sentence, samples in self._spoken(ctx, wish):
                encoder.add(samples)
                yield Piece(b64encode(sink.take()).decode(), sentence, encoder.sample_rate)
            encoder.end()
        if rest := sink.take():
            yield Piece(b64encode(rest).decode(), "", encoder.sample_rate)

    @task(example={"text": "The model is ready."}, warm_up=False)
    def synthesize(
        self,
        ctx: RunContext,
        text: Annotated[str, MinLen(1), MaxLen(LONGEST_RECORDING)],
        voice: Voice = "",
        speed: Speed = 1.0,
        format: AudioFormat = "mp3",  # noqa: A002 - the word of the protocol
        seed: Seed | None = None,
    ) -> Recording:
        """Read a text aloud into one file."""
        wish = self._checked(Wish(text, voice, speed, seed))
        total, count, heard = len(self._sentences(text)), 0, 0
        path = ctx.scratch / f"speech.{format}"
        with self._encoder(path, format, self._engine.sample_rate) as encoder:
            for _, samples in self._spoken(ctx, wish):
                encoder.add(samples)
                count, heard = count + 1, heard + len(samples)
                ctx.progress(count, total, "sentences")
            encoder.end()
        saved = ctx.save(f"speech.{format}", path)
        seconds = round(heard / self._engine.sample_rate, 3)
        return Recording(saved.uri, format, encoder.sample_rate, seconds, count)

    def _checked(self, wish: Wish) -> Wish:
        engine = self._engine
        known = wish.voice in engine.voices or wish.voice not in THEIR_VOICES
        voice = (wish.voice if known else "") or engine.voices[0]
        if voice not in engine.voices:
            raise InvalidInput(f"voice: there is no {voice!r} here; choose one of {', '.join(engine.voices)}")
        slowest, fastest = engine.speeds
        if not slowest <= wish.speed <= fastest:
            span = f"from {slowest:g} to {fastest:g}" if slowest < fastest else f"{slowest:g} only"
            raise InvalidInput(f"speed: {engine.name} speaks at {span}, not at {wish.speed:g}")
        if not has_words(wish.text):
            raise InvalidInput("text: nothing in it can be spoken; it has neither letters nor figures")
        return Wish(wish.text, voice, wish.speed, wish.seed)

    def _sentences(self, text: str) -> list[str]:
        found = self._engine.sentences(text)
        return [part for sentence in found for part in bounded(sentence, LONGEST_SENTENCE) if has_words(part)]

    def _spoken(self, ctx: RunContext, wish: Wish) -> Iterator[tuple[str, Any]]:
        silent = True
        for sentence in self._sentences(wish.text):
            ctx.check()
            with self._turn:
                samples = self._engine.speak(sentence, wish.voice, wish.speed, wish.seed)
            if len(samples):
                silent = False
                yield sentence, samples
        if silent:
            raise InvalidInput(f"text: the voice {wish.voice} knows none of its letters")
