"""A conversation over the gateway: three models in their own processes, a client at the other end of a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.system import MODELS, System, system
from tests.models.speaking import FAIL, HOLD, RATE, STOPPED
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

SPEAKING = [f"{MODELS / 'speaking.py'}:{name}" for name in ("Chat", "Voice", "Ear")]
PATIENCE_SECONDS = 20.0


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Yield a Glowplug with a chat, a voice and an ear, all ready."""
    with system(tmp_path_factory.mktemp("talkative")) as made:
        made.up(*SPEAKING)
        made.wait_ready("chat", "tts", "stt")
        yield made


def talk(plug: System, query: str = "", **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{plug.port}/ws/conversation{query}", open_timeout=PATIENCE_SECONDS, **options)


def frames(socket: ClientConnection, *last: str) -> list[dict[str, Any]]:
    """Return the frames up to one of these types; a sound has its bytes as `data`."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["type"] not in last:
        frame = json.loads(socket.recv(timeout=PATIENCE_SECONDS))
        if frame["type"] == "audio":
            frame["data"] = socket.recv(timeout=PATIENCE_SECONDS)
        found.append(frame)
    return found


def say(socket: ClientConnection, text: str) -> None:
    socket.send(json.dumps({"type": "text", "text": text}))


def answer(socket: ClientConnection, text: str) -> list[dict[str, Any]]:
    say(socket, text)
    return frames(socket, "reply_done")


def written(told: list[dict[str, Any]]) -> str:
    return "".join(frame["text"] for frame in told if frame["type"] == "reply_delta")


def test_words_are_answered_in_words_and_sounds(talkative: System) -> None:
    with talk(talkative) as socket:
        told = answer(socket, "good morning")
    assert written(told) == "You said good morning. This is turn 1."
    sounds = [frame for frame in told if frame["type"] == "audio"]
    assert [sound["sentence"] for sound in sounds] == ["You said good morning.", "This is turn 1."]
    assert {sound["sample_rate"] for sound in sounds} == {RATE}
    assert all(sound["data"].startswith(b"RIFF") for sound in sounds)


def test_what_the_voice_said_is_understood_by_the_ear(talkative: System) -> None:
    with talk(talkative) as socket:
        (sound, *_) = (frame for frame in answer(socket, "hello") if frame["type"] == "audio")
        socket.send(sound["data"])
        told = frames(socket, "reply_done")
    assert told[0] == {"type": "transcript", "turn": 2, "text": "You said hello."}
    assert written(told).endswith("This is turn 2.")


def test_raw_samples_come_as_they_are_made(talkative: System) -> None:
    with talk(talkative, "?format=pcm") as socket:
        sounds = [frame for frame in answer(socket, "hello") if frame["type"] == "audio"]
    assert len(sounds) > 2
    heard = b"".join(sound["data"] for sound in sounds).decode("utf-16-le")
    assert heard == "You said hello.This is turn 1."


def test_interrupting_stops_the_model_itself(talkative: System) -> None:
    with talk(talkative) as socket:
        before = int(written(answer(socket, STOPPED)))
        say(socket, HOLD)
        frames(socket, "reply_delta")
        say(socket, STOPPED)
        assert frames(socket, "interrupted")[-1] == {"type": "interrupted", "turn": 2}
        assert int(written(frames(socket, "reply_done"))) == before + 1


def test_leaving_stops_the_model_too(talkative: System) -> None:
    with talk(talkative) as socket:
        before = int(written(answer(socket, STOPPED)))
        say(socket, HOLD)
        frames(socket, "reply_delta")
    with talk(talkative) as socket:
        assert int(written(answer(socket, STOPPED))) == before + 1


def test_a_model_that_fails_in_the_middle_is_told_and_the_conversation_goes_on(talkative: System) -> None:
    with talk(talkative) as socket:
        told = answer(socket, FAIL)
        (error,) = (frame for frame in told if frame["type"] == "error")
        assert (error["component"], error["code"]) == ("chat", "task_failed")
        assert written(answer(socket, "still there?")).startswith("You said still there?")


def test_audio_that_is_none_is_refused_in_the_models_own_words(talkative: System) -> None:
    with talk(talkative) as socket:
        socket.send(b"RIFF" + bytes(64))
        error, _ = frames(socket, "reply_done")
        assert (error["component"], error["code"]) == ("stt", "invalid_input")
        assert "no WAV file" in error["message"]
        assert written(answer(socket, "hello"))


def test_a_page_of_another_site_gets_no_conversation(talkative: System) -> None:
    with pytest.raises(InvalidStatus, match="403"), talk(talkative, origin=Origin("https://elsewhere.example")):
        pass
    with talk(talkative, origin=Origin(f"http://127.0.0.1:{talkative.port}")) as socket:
        assert written(answer(socket, "hello"))


@pytest.mark.parametrize(
    ("query", "told"), [("?chat=nobody", "nobody"), ("?format=midi", "wav"), ("?tts=chat", "chat")]
)
def test_a_model_or_a_format_that_is_not_there_is_refused_with_a_reason(
    talkative: System, query: str, told: str
) -> None:
    with talk(talkative, query) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=PATIENCE_SECONDS)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert told in closed.value.rcvd.reason


def test_the_test_socket_says_back_what_it_hears(talkative: System) -> None:
    with connect(f"ws://127.0.0.1:{talkative.port}/ws/test") as socket:
        for said in ("anybody?", b"\0\1\2"):
            socket.send(said)
            assert socket.recv(timeout=PATIENCE_SECONDS) == said


def test_a_recording_is_kept_no_longer_than_it_is_listened_to(talkative: System) -> None:
    with talk(talkative) as socket:
        (sound, *_) = (frame for frame in answer(socket, "hello") if frame["type"] == "audio")
        socket.send(sound["data"])
        frames(socket, "reply_done")
    assert not list((talkative.folder / "data" / "artifacts").glob("inputs/**/speech.*"))


@pytest.mark.chaos
def test_a_real_voice_is_understood_by_a_real_ear(tmp_path: Path) -> None:
    with system(tmp_path, HF_HUB_OFFLINE="1") as plug:
        plug.up("tts", "stt", SPEAKING[0])
        plug.wait_ready("chat", "tts", "stt")
        with talk(plug, "?language=en") as socket:
            (sound, *_) = (frame for frame in answer(socket, "the train leaves at noon") if frame["type"] == "audio")
            assert sound["data"].startswith(b"RIFF")
            socket.send(sound["data"])
            transcript, *_ = frames(socket, "reply_done")
    assert "the train leaves at noon" in transcript["text"].lower()
