"""The engine hibari (Apache-2.0): English voices distilled from Kokoro, on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glowplug.errors import InvalidInput, MissingExtra, SettingsError, Unreachable
from glowplug.workloads import option_values

try:
    from hibari import SAMPLE_RATE, Hibari
    from hibari.voices import DEFAULT, VOICES
except ModuleNotFoundError as error:
    if error.name != "hibari":
        raise
    raise MissingExtra.of("speech", "the tts model") from error

SLOWEST, FASTEST = 0.5, 2.0
SHOWN_CHARACTERS = 60


class HibariEngine:
    """The voices that were asked for, in memory."""

    name = "hibari"
    licence = "Apache-2.0"
    sample_rate: int = SAMPLE_RATE
    speeds = (SLOWEST, FASTEST)

    def __init__(self, voices: Mapping[str, Any]) -> None:
        self._voices = voices
        self.voices = tuple(voices)

    def sentences(self, text: str) -> Sequence[str]:
        """Return the sentences of `text`."""
        found: list[str] = Hibari.split_sentences(text)
        return found

    def speak(self, sentence: str, voice: str, speed: float, seed: int | None) -> NDArray[np.float32]:
        """Return the samples of a sentence."""
        try:
            samples: NDArray[np.float32] = self._voices[voice](sentence, speed=speed, seed=seed)
        except (ValueError, IndexError, KeyError) as error:
            # What its rules for numbers and words were not written for, such as a number of a hundred figures.
            shown = sentence[:SHOWN_CHARACTERS]
            raise InvalidInput(f"text: the voice {voice} cannot read {shown!r}; write it in words") from error
        return samples


def opened(options: Mapping[str, str]) -> HibariEngine:
    """Open the `voices` (names with commas between; the first is the default), with `threads` cores each.

    Raises:
        SettingsError: there is no such voice.
        Unreachable: a voice that is not in the package could not be downloaded.
    """
    names = list(dict.fromkeys(name.strip() for name in options.get("voices", DEFAULT).split(",") if name.strip()))
    unknown = [name for name in names if name not in VOICES]
    if unknown or not names:
        raise SettingsError(f"option voices={options.get('voices')!r}: the voices of hibari are {', '.join(VOICES)}")
    cores = option_values.threads(options, usual=1)
    return HibariEngine({name: _voice(name, cores) for name in names})


def _voice(name: str, threads: int) -> Any:
    try:
        voice = Hibari(voice=name, threads=threads)
    except RuntimeError as error:
        raise Unreachable(f"the voice {name}: {' '.join(str(error).split())[:300]}") from error
    # Its rules of pronunciation are read at the first sentence, which is part of the load here.
    voice.phonemize("Ready.")
    return voice
