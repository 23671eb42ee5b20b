"""Text to speech to text, with real models: the words come back."""

from __future__ import annotations

import base64
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.unit.workloads.contexts import Remembering, RememberingLoad
from tests.unit.workloads.speech.sounds import RATE, decoded, png, tone, wav, written

from glowplug.errors import Canceled, InvalidInput, SettingsError
from glowplug.load_context import LoadContext
from glowplug.model import RunContext
from glowplug.workloads.speech import blocks
from glowplug.workloads.speech.source import folder_of
from glowplug.workloads.speech.stt import A_MOMENT_OF_SILENCE, Stt
from glowplug.workloads.speech.tts import Tts
from glowplug.workloads.speech.values import AudioFormat

TEXT = "Hello there. Seven little models are waiting for a warm engine! Are you ready?"
FORMATS: tuple[AudioFormat, ...] = ("wav", "pcm", "flac", "mp3", "opus", "aac")


@pytest.fixture(scope="session")
def tts() -> Tts:
    model = Tts()
    model.load(LoadContext())
    return model


@pytest.fixture(scope="session")
def stt() -> Stt:
    model = Stt()
    model.load(LoadContext(options={"threads": "1", "beam_size": "1", "longest_seconds": "60"}))
    model.warm_up(LoadContext())
    return model


@pytest.fixture(scope="session")
def spoken(tts: Tts) -> dict[AudioFormat, bytes]:
    return {kind: _spoken(tts, TEXT, kind) for kind in FORMATS}


def _spoken(tts: Tts, text: str, kind: AudioFormat) -> bytes:
    return b"".join(base64.b64decode(piece.audio) for piece in tts.speak(RunContext(), text, format=kind, seed=1))


def words(text: str) -> list[str]:
    return re.sub(r"\b7\b", "seven", re.sub(r"[^a-z0-9 ]", "", text.lower())).split()


@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_the_words_come_back(stt: Stt, spoken: dict[AudioFormat, bytes], tmp_path: Path, kind: AudioFormat) -> None:
    context = Remembering(tmp_path)
    heard = stt.transcribe(context, written(tmp_path, spoken[kind]))
    assert words(heard.text) == words(TEXT)
    assert heard.language == "en"
    assert heard.duration_seconds == pytest.approx(6.25, abs=0.1)
    assert heard.text == " ".join(segment.text for segment in heard.segments)
    assert 0 <= heard.segments[0].start_seconds < heard.segments[-1].end_seconds <= heard.duration_seconds
    assert context.told[0].done == 0
    assert context.told[-1].total == pytest.approx(heard.duration_seconds, abs=0.01)


def test_a_long_recording_is_read_in_parts_whose_times_go_on(
    stt: Stt, spoken: dict[AudioFormat, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "LONGEST_BLOCK", 2 * RATE)
    monkeypatch.setattr(blocks, "LOOKED_THROUGH", RATE)
    heard = stt.transcribe(RunContext(), written(tmp_path, spoken["wav"]))
    assert len(set(words(heard.text)) & set(words(TEXT))) >= 10
    starts = [segment.start_seconds for segment in heard.segments]
    assert starts == sorted(starts)
    assert heard.segments[-1].end_seconds == pytest.approx(6.25, abs=1)
    assert heard.duration_seconds == pytest.approx(6.25, abs=0.1)


def test_pauses_are_left_out_only_if_asked(stt: Stt, spoken: dict[AudioFormat, bytes], tmp_path: Path) -> None:
    samples = np.frombuffer(spoken["pcm"], "<i2")
    paused = np.concatenate([np.zeros(48_000, "<i2"), samples])
    path = written(tmp_path, wav(paused, 24_000))
    heard = stt.transcribe(RunContext(), path, vad=True, language="en", prompt="Glowplug")
    assert words(heard.text) == words(TEXT)
    assert heard.segments[0].start_seconds >= 1
    assert heard.duration_seconds == pytest.approx(8.25)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_pieces_of_a_stream_are_one_playable_file(spoken: dict[AudioFormat, bytes], kind: AudioFormat) -> None:
    seconds, rate = decoded(spoken[kind], kind)
    assert seconds == pytest.approx(6.25, abs=0.1)
    assert rate == (48_000 if kind == "opus" else 24_000)


def test_each_sentence_comes_with_its_own_audio(tts: Tts) -> None:
    pieces = list(tts.speak(RunContext(), TEXT, format="pcm"))
    assert [piece.text for piece in pieces] == [
        "Hello there.",
        "Seven little models are waiting for a warm engine!",
        "Are you ready?",
    ]
    assert {piece.sample_rate for piece in pieces} == {24_000}
    assert all(len(base64.b64decode(piece.audio)) > 24_000 for piece in pieces)


def test_the_same_seed_speaks_the_same_and_no_seed_does_not(tts: Tts) -> None:
    def speak(seed: int | None) -> str:
        return next(tts.speak(RunContext(), "Hello.", seed=seed)).audio

    assert speak(1) == speak(1) != speak(2)
    assert speak(None) != speak(None)


def test_a_faster_voice_takes_less_time_and_one_too_fast_is_refused(tts: Tts) -> None:
    def seconds(speed: float) -> float:
        return tts.synthesize(RunContext(), "Hello there.", speed=speed, format="wav").duration_seconds

    assert seconds(2.0) < seconds(1.0) < seconds(0.5)
    with pytest.raises(InvalidInput, match=r"speed: hibari speaks at from 0\.5 to 2, not at 4"):
        seconds(4.0)


def test_a_recording_is_a_file_with_its_length_in_its_head(tts: Tts, tmp_path: Path) -> None:
    context = Remembering(tmp_path)
    made = tts.synthesize(context, TEXT, format="wav", seed=1)
    data = context.file("speech.wav").read_bytes()
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    assert made.sentences == 3
    assert decoded(data)[0] == pytest.approx(made.duration_seconds, abs=0.01)


@pytest.mark.parametrize("text", ["???", " \n ", "😀", "\x00\x01", "你好", "हैलो"])
def test_what_cannot_be_spoken_is_the_callers_error(tts: Tts, text: str) -> None:
    with pytest.raises(InvalidInput, match="text: "):
        list(tts.speak(RunContext(), text))


def test_a_number_that_the_rules_cannot_read_is_the_callers_error(tts: Tts) -> None:
    with pytest.raises(InvalidInput, match="write it in words"):
        list(tts.speak(RunContext(), "1" * 270))


def test_two_callers_may_speak_at_once(tts: Tts) -> None:
    heard: dict[int, list[str]] = {}

    def speak(number: int) -> None:
        heard[number] = [piece.audio for piece in tts.speak(RunContext(), TEXT, seed=number)]

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == {
        number: [piece.audio for piece in tts.speak(RunContext(), TEXT, seed=number)] for number in range(3)
    }


def test_a_picture_is_refused_and_the_next_recording_is_heard(stt: Stt, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not a file of WAV"):
        stt.transcribe(RunContext(), written(tmp_path, png()))
    assert stt.transcribe(RunContext(), written(tmp_path, wav(tone(0.5)))).duration_seconds == 0.5


def test_a_language_that_the_model_does_not_know_is_refused(stt: Stt, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="language: this model does not know 'de'; it knows en"):
        stt.transcribe(RunContext(), written(tmp_path, wav(tone(0.5))), language="de")


def test_a_recording_longer_than_the_option_allows_is_refused(stt: Stt, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="longer than 60 seconds"):
        stt.transcribe(RunContext(), written(tmp_path, wav(tone(61))))


def test_the_example_is_a_file_that_can_be_read(stt: Stt, tmp_path: Path) -> None:
    data = base64.b64decode(A_MOMENT_OF_SILENCE.partition(",")[2], validate=True)
    assert stt.transcribe(RunContext(), written(tmp_path, data)).text == ""


def test_a_caller_that_stops_is_heard_between_segments(
    stt: Stt, spoken: dict[AudioFormat, bytes], tmp_path: Path
) -> None:
    class StopsAtTheFirst(Remembering):
        def check(self) -> None:
            if self.told:
                raise Canceled

    context = StopsAtTheFirst(tmp_path)
    with pytest.raises(Canceled):
        stt.transcribe(context, written(tmp_path, spoken["wav"]))
    assert [told.done for told in context.told] == [0]


def test_the_load_names_its_stages_and_a_mac_uses_its_processor() -> None:
    context = RememberingLoad(source=str(folder_of("package")), threads="1")
    context.device = "mps"
    model = Stt()
    model.load(context)
    assert context.stages == ["fetch", "build"]
    assert model._model.model.device == "cpu"


def test_weights_come_back_from_host_memory(stt: Stt, spoken: dict[AudioFormat, bytes], tmp_path: Path) -> None:
    stt.sleep()
    stt.wake()
    assert words(stt.transcribe(RunContext(), written(tmp_path, spoken["wav"])).text) == words(TEXT)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Return a folder like the package's, its weights missing."""
    for path in folder_of("package").iterdir():
        if path.name != "model.bin":
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_weights_that_are_cut_short_are_named(broken: Path) -> None:
    with (folder_of("package") / "model.bin").open("rb") as whole:
        (broken / "model.bin").write_bytes(whole.read(1_000_000))
    with pytest.raises(SettingsError, match="cannot be opened as a Whisper model"):
        Stt().load(LoadContext(options={"source": str(broken)}))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("device", "tpu"),
        ("device", "cuda:x"),
        ("compute_type", "int3"),
        ("threads", "-1"),
        ("beam_size", "0"),
        ("longest_seconds", "inf"),
        ("longest_seconds", "long"),
    ],
)
def test_a_wrong_option_is_named(option: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"option {option}="):
        Stt().load(LoadContext(options={option: value}))
