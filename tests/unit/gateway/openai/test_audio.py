"""Speech and transcripts in OpenAI's words."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from glowplug.errors import InvalidInput, TaskFailed
from glowplug.gateway.openai.audio import heard, piece, speech_format, spoken, transcript
from glowplug.gateway.openai.shapes import SpeechRequest, TranscriptionRequest
from glowplug.store import TaskInfo

FORMATS = {"enum": ["wav", "pcm", "mp3"]}
TTS = TaskInfo(
    "t.speak", input_schema={"properties": {"text": {}, "voice": {}, "speed": {}, "format": FORMATS, "pitch": {}}}
)
PLAIN = TaskInfo("t.speak", input_schema={"properties": {"text": {}}})
OPEN = TaskInfo("t.speak", input_schema={"properties": {"text": {}, "format": {"type": "string"}, "instructions": {}}})
STT = TaskInfo(
    "s.hear", input_schema={"properties": {"audio": {}, "language": {}, "prompt": {}, "beam": {"type": "integer"}}}
)
RESULT = {
    "text": " Hello there. You.",
    "language": "en",
    "duration_seconds": 3661.5,
    "segments": [
        {"start_seconds": 0.0, "end_seconds": 1.2345, "text": " Hello\nthere."},
        {"start_seconds": 3661.0, "end_seconds": 3661.5, "text": "You --> me."},
    ],
}


def speech(task: TaskInfo = TTS, **body: Any) -> dict[str, Any]:
    body = {"model": "t", "input": "hi", **body}
    return spoken(task, msgspec.convert(body, SpeechRequest), body)


def wish(**body: Any) -> TranscriptionRequest:
    return msgspec.convert({"model": "s", **body}, TranscriptionRequest)


class TestSpeech:
    def test_a_text_with_all_that_can_be_said_of_it(self) -> None:
        made = speech(voice="ann", speed=1.5, response_format="pcm", pitch=2, instructions="slowly")
        assert made == {"text": "hi", "voice": "ann", "speed": 1.5, "format": "pcm", "pitch": 2}

    def test_a_voice_may_be_an_object(self) -> None:
        assert speech(voice={"id": "ann"})["voice"] == "ann"
        assert "voice" not in speech(voice={})

    def test_without_a_wish_the_format_is_openais_or_else_the_tasks_first(self) -> None:
        assert speech()["format"] == "mp3"
        assert speech_format(OPEN, SpeechRequest(model="t", input="x")) == "wav"
        assert speech(PLAIN) == {"text": "hi"}

    def test_instructions_go_to_a_task_that_knows_them(self) -> None:
        assert speech(OPEN, instructions="slowly")["instructions"] == "slowly"

    @pytest.mark.parametrize("form", ["flac", "ogg", "", "x" * 100])
    def test_a_format_that_the_task_has_not_is_refused_with_those_it_has(self, form: str) -> None:
        with pytest.raises(InvalidInput, match="there are: wav, pcm, mp3") as raised:
            speech(response_format=form)
        assert raised.value.data["fields"][0]["path"] == "response_format"

    def test_a_format_that_nobody_knows_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="response_format"):
            speech(OPEN, response_format="cassette")

    def test_nothing_cannot_be_spoken(self) -> None:
        with pytest.raises(InvalidInput, match="input"):
            speech(input="")

    def test_a_piece_of_the_file(self) -> None:
        assert piece({"audio": base64.b64encode(b"RIFF").decode(), "text": "x"}) == b"RIFF"
        assert piece({"audio": ""}) == b""

    @pytest.mark.parametrize("value", [{}, {"audio": 3}, {"audio": "?"}, "x", None])
    def test_a_value_without_sound_is_the_tasks_fault(self, value: Any) -> None:
        with pytest.raises(TaskFailed, match="audio"):
            piece(value)


class TestTranscription:
    def test_what_is_said_of_a_recording(self) -> None:
        form = {"model": "s", "language": "de", "prompt": "names", "beam": "5", "user": "ann", "audio": "trick"}
        assert heard(STT, wish(language="de", prompt="names"), form) == {
            "language": "de",
            "prompt": "names",
            "beam": 5,
        }

    def test_a_temperature_goes_to_a_task_that_knows_it(self) -> None:
        knowing = TaskInfo("s.hear", input_schema={"properties": {"temperature": {"type": "number"}}})
        assert heard(knowing, wish(temperature=0.5), {}) == {"temperature": 0.5}
        assert heard(STT, wish(temperature=0.5), {}) == {}

    @pytest.mark.parametrize("said", [{"stream": True}, {"timestamp_granularities": ["word"]}])
    def test_what_cannot_be_had_is_refused_by_name(self, said: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput) as raised:
            heard(STT, wish(**said), {})
        assert raised.value.data["fields"][0]["path"] == next(iter(said))

    def test_times_of_segments_are_fine(self) -> None:
        assert heard(STT, wish(timestamp_granularities=["segment"]), {}) == {}

    def test_as_json(self) -> None:
        told, media_type = transcript(wish(), RESULT)
        assert (told, media_type) == (
            {"text": RESULT["text"], "usage": {"type": "duration", "seconds": 3661.5}},
            "application/json",
        )

    def test_as_text(self) -> None:
        assert transcript(wish(response_format="text"), RESULT)[0] == "Hello there. You.\n"

    def test_as_verbose_json(self) -> None:
        told, _ = transcript(wish(response_format="verbose_json"), RESULT)
        assert isinstance(told, dict)
        assert (told["task"], told["language"], told["duration"]) == ("transcribe", "en", 3661.5)
        assert told["segments"][1] == {"id": 1, "start": 3661.0, "end": 3661.5, "text": "You --> me."}

    def test_as_srt(self) -> None:
        assert transcript(wish(response_format="srt"), RESULT)[0] == (
            "1\n00:00:00,000 --> 00:00:01,234\nHello there.\n\n2\n01:01:01,000 --> 01:01:01,500\nYou -> me.\n\n"
        )

    def test_as_vtt(self) -> None:
        told, media_type = transcript(wish(response_format="vtt"), RESULT)
        assert media_type == "text/vtt; charset=utf-8"
        assert isinstance(told, str)
        assert told.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.234\nHello there.\n\n01:01:01.000")

    @pytest.mark.parametrize("form", ["json", "text", "srt", "vtt", "verbose_json"])
    def test_silence_is_a_transcript_too(self, form: str) -> None:
        transcript(wish(response_format=form), {"text": ""})

    @pytest.mark.parametrize(
        "result",
        [
            None,
            "text",
            {},
            {"text": None},
            {"text": "a", "duration_seconds": "x"},
            {"text": "a", "segments": [{"text": "a", "start_seconds": 0.0}]},
            {"text": "a", "segments": [{"text": "a", "start_seconds": None, "end_seconds": 1.0}]},
        ],
    )
    def test_a_result_without_text_is_the_tasks_fault(self, result: Any) -> None:
        with pytest.raises(TaskFailed, match="no transcript"):
            transcript(wish(), result)
