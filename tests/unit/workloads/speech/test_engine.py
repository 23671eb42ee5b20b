"""The contract of text-to-speech engines, with one of a test's own."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.unit.workloads.contexts import Remembering
from tests.unit.workloads.speech.sounds import decoded

from glowplug.errors import Canceled, InvalidInput, SettingsError
from glowplug.load_context import LoadContext
from glowplug.model import RunContext
from glowplug.workloads.speech.engine import opened
from glowplug.workloads.speech.tts import Tts

OWN = f"{__name__}:beeps"


class Beeps:
    """A tenth of a second a word; it has no speeds, and a rate that Opus cannot do."""

    name = "beeps"
    licence = "none"
    sample_rate = 22_050
    voices = ("low", "high")
    speeds = (1.0, 1.0)

    def __init__(self) -> None:
        self.said: list[str] = []

    def sentences(self, text: str) -> Sequence[str]:
        return [f"{part}." for part in text.split(".") if part]

    def speak(self, sentence: str, voice: str, speed: float, seed: int | None) -> np.ndarray:
        del speed, seed
        self.said.append(sentence)
        pitch = 0.2 if voice == "high" else 0.05
        words = 0 if "mute" in sentence else len(sentence.split())
        return np.sin(np.arange(words * 2205) * pitch).astype(np.float32) * 3


def beeps(options: Mapping[str, str]) -> Beeps:
    del options
    return Beeps()


def loaded() -> tuple[Tts, Beeps]:
    model = Tts()
    model.load(LoadContext(options={"engine": OWN}))
    return model, model._engine  # type: ignore[return-value]


def joined(model: Tts, text: str, **wishes: object) -> bytes:
    return b"".join(base64.b64decode(piece.audio) for piece in model.speak(RunContext(), text, **wishes))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "opus", "ogg", "aac"])
def test_any_engine_gets_every_format_whatever_its_rate(kind: str) -> None:
    model, _ = loaded()
    seconds, rate = decoded(joined(model, "one two three. four five.", format=kind))
    assert seconds == pytest.approx(0.5, abs=0.1)
    assert rate == (48_000 if kind in ("opus", "ogg") else 22_050)


def test_what_is_louder_than_full_scale_is_cut_and_does_not_wrap_around() -> None:
    model, _ = loaded()
    samples = np.frombuffer(joined(model, "one.", format="pcm"), "<i2")
    assert samples.max() == 32767
    assert samples.min() == -32767
    assert np.abs(np.diff(samples.astype(int))).max() < 20_000


def test_the_first_voice_is_the_default_and_an_unknown_one_is_refused_with_the_list() -> None:
    model, _ = loaded()
    assert joined(model, "one.") == joined(model, "one.", voice="low") != joined(model, "one.", voice="high")
    with pytest.raises(InvalidInput, match="voice: there is no 'odd' here; choose one of low, high"):
        joined(model, "one.", voice="odd")


def test_a_voice_that_openais_clients_must_name_is_the_default_where_nobody_has_it() -> None:
    model, _ = loaded()
    assert joined(model, "one.", voice="alloy") == joined(model, "one.")


def test_an_engine_without_speeds_refuses_one() -> None:
    model, _ = loaded()
    with pytest.raises(InvalidInput, match=r"speed: beeps speaks at 1 only, not at 1\.5"):
        joined(model, "one.", speed=1.5)


def test_sentences_come_one_by_one_and_only_as_they_are_asked_for() -> None:
    model, engine = loaded()
    speaking = model.speak(RunContext(), "one.two.three.")
    assert next(speaking).text == "one."
    assert engine.said == ["one."]
    speaking.close()
    assert engine.said == ["one."]


def test_a_long_sentence_is_said_in_parts() -> None:
    model, engine = loaded()
    joined(model, "word " * 200)
    assert len(engine.said) > 3
    assert max(map(len, engine.said)) <= 280


def test_what_the_engine_cannot_say_is_passed_over_unless_it_is_all() -> None:
    model, _ = loaded()
    spoken = [piece.text for piece in model.speak(RunContext(), "one.mute.!!.two.")]
    assert spoken == ["one.", "two."]
    with pytest.raises(InvalidInput, match="knows none of its letters"):
        joined(model, "mute.")


def test_a_caller_that_stops_is_heard_between_sentences(tmp_path: Path) -> None:
    model, engine = loaded()
    with pytest.raises(Canceled):
        list(model.speak(Remembering(tmp_path, stop=Canceled(), checks=2), "one.two.three."))
    assert engine.said == ["one.", "two."]


def test_a_recording_tells_its_progress_and_what_it_is(tmp_path: Path) -> None:
    model, _ = loaded()
    context = Remembering(tmp_path)
    made = model.synthesize(context, "one two.three.", format="flac")
    assert [(told.done, told.total) for told in context.told] == [(1, 2), (2, 2)]
    assert (made.audio, made.format, made.sample_rate, made.sentences) == (context.saved[0].uri, "flac", 22_050, 2)
    assert made.duration_seconds == pytest.approx(0.3)
    assert decoded(context.file("speech.flac").read_bytes()) == (pytest.approx(0.3), 22_050)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("espeak", "expected hibari or module:function"),
        ("no_such_module_anywhere:opened", r"no module no_such_module_anywhere \(looked from /"),
        ("json.no_such.module:opened", r"no module json\.no_such "),
        ("my_piper.py:", "expected hibari or module:function"),
        ("../my_piper:opened", "expected hibari"),
        (".my_piper:opened", "expected hibari"),
        (f"{__name__}:nothing", "has no nothing"),
        (":opened", "expected hibari"),
    ],
)
def test_an_engine_that_is_not_there_is_a_wrong_option(target: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        opened(target, {})


@pytest.fixture
def written_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the name of an engine that lies in the folder that we are in, which nobody put on the path."""
    (tmp_path / "an_engine_of_ones_own.py").write_text(f"from {__name__} import beeps as opened\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    yield "an_engine_of_ones_own:opened"
    sys.modules.pop("an_engine_of_ones_own", None)


def test_an_engine_is_looked_for_in_the_folder_we_are_in(written_engine: str) -> None:
    assert opened(written_engine, {}).name == "beeps"


def test_what_an_engine_of_ones_own_lacks_is_told_as_it_is(written_engine: str) -> None:
    Path("an_engine_of_ones_own.py").write_text("import not_installed_anywhere\n")
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        opened(written_engine, {})


@pytest.mark.parametrize(("option", "value"), [("voices", "heart,nobody"), ("voices", ","), ("threads", "many")])
def test_wrong_options_of_hibari_are_named(option: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"option {option}="):
        opened("hibari", {option: value})
