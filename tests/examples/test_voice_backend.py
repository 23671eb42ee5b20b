"""The voice backend as its callers meet it: real processes, a real voice, a chat server that dies and comes back."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import wave
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.examples.programs import EXAMPLES, Program, running, served
from tests.journeys.system import free_port, until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

STAND_IN = [sys.executable, str(EXAMPLES / "voice_backend" / "ollama_stand_in.py"), "--port", "{port}"]
# Found before any installed library: as if faster-whisper were missing, wherever the tests run.
NO_WHISPER = "raise ModuleNotFoundError(\"No module named 'faster_whisper'\", name='faster_whisper')\n"
# The library's own interface over a model that can be told in advance: it counts what it was played.
WHISPER = """
import wave
from types import SimpleNamespace

class WhisperModel:
    def __init__(self, model, device, compute_type):
        assert (model, device, compute_type) == ("tiny.en", "cpu", "int8")

    def transcribe(self, audio, language, beam_size):
        with wave.open(audio) as heard:
            seconds = heard.getnframes() / heard.getframerate()
        words = [" What is 6", " times 7?"]
        return (SimpleNamespace(text=word) for word in words), SimpleNamespace(duration=seconds)
"""


@contextmanager
def backend(folder: Path, chat_port: int, whisper: str = NO_WHISPER) -> Iterator[Program]:
    library = folder / "library"
    library.mkdir(exist_ok=True)
    (library / "faster_whisper.py").write_text(whisper)
    environment = {
        "OLLAMA_HOST": f"127.0.0.1:{chat_port}",
        "VOICE_CHECK_SECONDS": "0.2",
        "PYTHONPATH": os.pathsep.join([str(library), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    with served(folder, "voice_backend", "backend:app", environment=environment) as program:
        program.wait_answering()
        yield program


@contextmanager
def ollama(folder: Path, port: int = 0) -> Iterator[Program]:
    with running(folder, STAND_IN, {}, port) as program:
        until(program.answers, "the chat server answers", log=program.log)
        yield program


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A backend that is ready, with chat and without speech-to-text."""
    folder = tmp_path_factory.mktemp("voice")
    with ollama(folder) as chat, backend(folder, chat.port) as program:
        program.wait_ready()
        yield program


def turn(socket: ClientConnection, said: str | bytes) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Say something and return what comes back until the turn is over: JSON and audio."""
    socket.send(said if isinstance(said, bytes) else json.dumps({"type": "text", "text": said}))
    told: list[dict[str, Any]] = []
    sounds: list[bytes] = []
    while not told or not is_last(told[-1]):
        frame = socket.recv(timeout=30)
        if isinstance(frame, bytes):
            sounds.append(frame)
        else:
            told.append(json.loads(frame))
    return [one for one in told if one["type"] not in ("audio", "reply_done")], sounds


def is_last(frame: dict[str, Any]) -> bool:
    """Say whether a frame ends a turn, or refuses to begin one."""
    return frame["type"] == "reply_done" or (frame["type"] == "error" and "turn" not in frame)


def reply_of(told: list[dict[str, Any]]) -> str:
    return "".join(one["text"] for one in told if one["type"] == "reply_delta")


def seconds_of(wav: bytes) -> float:
    """Return the length of a sound, having checked that it is one."""
    assert wav[:4] == b"RIFF"
    assert wav[8:12] == b"WAVE"
    with wave.open(io.BytesIO(wav)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 24_000)
        frames = sound.readframes(sound.getnframes())
        assert max(frames) > 0, "silence"
        return float(sound.getnframes() / sound.getframerate())


def close_code(url: str, **options: Any) -> int | None:
    """Return the code with which a socket is closed, or refused before it was one."""
    with connect(url, open_timeout=10, **options) as socket:
        try:
            socket.recv(timeout=10)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None
    raise AssertionError("the socket stays open")


def test_the_whole_wait_is_seen_from_the_first_moment_to_the_last(tmp_path: Path) -> None:
    with ollama(tmp_path) as chat, backend(tmp_path, chat.port) as program:
        pictures = program.follow()
    first, last = pictures[0], pictures[-1]
    assert set(first["services"]) == {"tts", "chat", "stt"}
    assert last["ready"] is True
    assert last["state"] == "READY"
    assert last["progress"] == 100
    assert last["startup_time_ms"] > 0
    assert [one["progress"] for one in pictures] == sorted(one["progress"] for one in pictures)
    assert all(one["ready"] is False for one in pictures[:-1])
    assert last["services"]["tts"]["ready"] is True
    assert last["services"]["tts"]["warmup_time_ms"] > 0
    assert last["services"]["chat"]["model"] == "llama3.2"
    assert last["errors"] == []


def test_what_is_not_installed_is_unavailable_and_holds_back_nothing(voice: Program) -> None:
    stt = voice.service("stt")
    assert (stt["ready"], stt["status"], stt["reason"]) == (False, "unavailable", "not_installed")
    assert voice.body()["ready"] is True


def test_health_tells_of_each_service(voice: Program) -> None:
    health = voice.http.get("/api/health").json()
    assert health["status"] == "healthy"
    assert (health["tts_available"], health["chat_available"], health["stt_available"]) == (True, True, False)
    assert (health["model_loaded"], health["ready"], health["ready_state"]) == (True, True, "READY")


def test_words_come_back_as_words_and_as_speech(voice: Program) -> None:
    with connect(voice.websocket_url("/ws/conversation")) as socket:
        told, sounds = turn(socket, "What is 6 times 7?")
    assert reply_of(told) == "That makes 42."
    (sound,) = sounds
    assert 0.5 < seconds_of(sound) < 5


def test_each_sentence_is_spoken_by_itself_and_a_longer_answer_takes_longer(voice: Program) -> None:
    with connect(voice.websocket_url("/ws/conversation")) as socket:
        told, sounds = turn(socket, "Good morning to everybody who is listening to this conversation")
    assert reply_of(told).count(".") == 2
    assert len(sounds) == 2
    assert sum(map(seconds_of, sounds)) > 3


def test_a_conversation_is_remembered_from_turn_to_turn(voice: Program) -> None:
    with connect(voice.websocket_url("/ws/conversation")) as socket:
        turn(socket, "Good morning")
        told, _ = turn(socket, "Good evening")
    assert "turn 2" in reply_of(told)


def test_speech_without_an_ear_is_an_error_and_the_conversation_goes_on(voice: Program) -> None:
    with connect(voice.websocket_url("/ws/conversation")) as socket:
        told, sounds = turn(socket, b"RIFF....WAVE")
        assert [(one["type"], one["component"]) for one in told] == [("error", "stt")]
        assert sounds == []
        told, _ = turn(socket, "1 plus 1")
    assert reply_of(told) == "That makes 2."


@pytest.mark.parametrize("said", ["", "   ", "x" * 4001])
def test_nothing_and_too_much_are_refused_in_a_sentence(voice: Program, said: str) -> None:
    with connect(voice.websocket_url("/ws/conversation")) as socket:
        told, sounds = turn(socket, said)
    assert told[0]["type"] == "error"
    assert "what you say" in told[0]["message"] or "4000 characters" in told[0]["message"]
    assert sounds == []


def test_what_cannot_be_spoken_is_no_sound_at_all(voice: Program) -> None:
    assert voice.http.post("/api/speech", json={"text": "日本"}).content == b""


def test_two_talk_at_once_and_each_gets_the_own_answer(voice: Program) -> None:
    answers: dict[int, str] = {}

    def talk(number: int) -> None:
        with connect(voice.websocket_url("/ws/conversation")) as socket:
            answers[number] = reply_of(turn(socket, f"{number} times 10")[0])

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == {number: f"That makes {number * 10}." for number in range(4)}


def test_a_caller_who_hangs_up_in_the_middle_leaves_nothing_behind(voice: Program) -> None:
    with connect(voice.websocket_url("/ws/conversation")) as socket:
        socket.send("Good morning to everybody who is listening")
    with connect(voice.websocket_url("/ws/conversation")) as socket:
        assert reply_of(turn(socket, "2 plus 2")[0]) == "That makes 4."
    assert "Traceback" not in voice.log()


def test_a_page_of_another_site_gets_no_conversation(voice: Program) -> None:
    url = voice.websocket_url("/ws/conversation")
    with pytest.raises(Exception, match="403"), connect(url, origin=Origin("https://elsewhere.example")):
        pass
    with connect(url, origin=Origin(voice.url)) as socket:
        assert reply_of(turn(socket, "3 plus 3")[0]) == "That makes 6."


def test_the_test_socket_says_back_what_it_hears(voice: Program) -> None:
    with connect(voice.websocket_url("/ws/test")) as socket:
        socket.send("anybody there?")
        assert socket.recv(timeout=10) == "anybody there?"


def test_the_page_brings_the_overlay_and_opens_its_socket_only_once_ready(voice: Program) -> None:
    page = voice.http.get("/").text
    # A component that is named here decides, optional or not: without its library the page would never be ready.
    assert '<glowplug-overlay src="/api/ready" mode="blocking">' in page
    assert page.index("await whenReady") < page.index("new Talk")
    assert voice.http.get("/glowplug/overlay.js").status_code == 200


def test_speech_and_chat_can_be_asked_for_alone(voice: Program) -> None:
    spoken = voice.http.post("/api/speech", json={"text": "Hello there."})
    assert spoken.headers["content-type"] == "audio/wav"
    assert 0.5 < seconds_of(spoken.content) < 4
    assert voice.http.post("/api/chat", json={"text": "7 minus 3"}).json() == {"reply": "That makes 4."}
    assert voice.http.post("/api/chat", json={"text": ""}).status_code == 422


def test_warming_up_again_keeps_everything_ready(voice: Program) -> None:
    answer = voice.http.post("/api/warmup")
    assert answer.status_code == 200, answer.text
    assert voice.body()["ready"] is True


def test_speech_is_heard_where_the_library_is_installed(tmp_path: Path) -> None:
    with ollama(tmp_path) as chat, backend(tmp_path, chat.port, WHISPER) as program:
        program.wait_ready()
        until(lambda: program.service("stt")["ready"], "the ear is ready", log=program.log)
        question = program.http.post("/api/speech", json={"text": "What is six times seven?"}).content
        with connect(program.websocket_url("/ws/conversation")) as socket:
            told, sounds = turn(socket, question)
            assert told[0] == {"type": "transcript", "turn": 1, "text": "What is 6 times 7?"}
            assert reply_of(told) == "That makes 42."
            assert seconds_of(sounds[0]) > 0.5
            told, sounds = turn(socket, b"RIFF, but not a sound")
            assert (told[0]["type"], told[0]["component"], sounds) == ("error", "stt", [])


def test_before_the_chat_is_there_a_conversation_is_closed_with_try_again_later(tmp_path: Path) -> None:
    with backend(tmp_path, free_port()) as program:
        until(lambda: program.body()["state"] == "ERROR", "the chat is given up", log=program.log)
        assert close_code(program.websocket_url("/ws/conversation")) == 1013
        with connect(program.websocket_url("/ws/test")) as socket:
            socket.send("still")
            assert socket.recv(timeout=10) == "still"


def test_a_chat_server_that_is_missing_at_the_start_is_an_error_with_its_reason_and_can_be_retried(
    tmp_path: Path,
) -> None:
    port = free_port()
    with ExitStack() as later, backend(tmp_path, port) as program:
        until(lambda: program.body()["state"] == "ERROR", "the chat is given up", log=program.log)
        body = program.body()
        assert "connection refused" in body["services"]["chat"]["error"]
        assert any("Chat" in sentence and "connection refused" in sentence for sentence in body["errors"])
        until(lambda: program.service("tts")["ready"], "the voice is ready all the same", log=program.log)
        assert program.http.post("/api/speech", json={"text": "Hello."}).status_code == 200
        assert program.http.post("/api/chat", json={"text": "Hello."}).status_code == 503
        later.enter_context(ollama(tmp_path, port))
        assert program.http.post("/api/ready/retry/chat").status_code in (200, 202)
        program.wait_ready()
        assert program.http.post("/api/chat", json={"text": "1 plus 2"}).json() == {"reply": "That makes 3."}


def test_a_model_that_the_chat_server_has_not_got_is_named_with_the_command_that_gets_it(tmp_path: Path) -> None:
    environment = {"VOICE_CHAT_MODEL": "mistral"}
    with ollama(tmp_path) as chat:
        environment["OLLAMA_HOST"] = chat.url
        with served(tmp_path, "voice_backend", "backend:app", environment=environment) as program:
            program.wait_answering()
            until(lambda: program.body()["state"] == "ERROR", "the chat is given up", log=program.log)
            assert "ollama pull mistral" in program.service("chat")["error"]


def test_a_chat_server_that_dies_later_takes_nothing_else_with_it_and_is_taken_back(tmp_path: Path) -> None:
    with ExitStack() as again, ollama(tmp_path) as chat, backend(tmp_path, chat.port) as program:
        program.wait_ready()
        with connect(program.websocket_url("/ws/conversation")) as socket:
            os.kill(chat.process.pid, signal.SIGKILL)
            chat.process.wait(10)
            told, _ = turn(socket, "Anybody there?")
            assert (told[-1]["type"], told[-1]["component"]) == ("error", "chat")
            until(lambda: not program.service("chat")["ready"], "the chat is noticed to be gone", log=program.log)

            body = program.body()
            assert (body["ready"], body["state"]) == (True, "READY")
            assert "connection refused" in body["services"]["chat"]["error"]
            assert program.http.get("/readyz").status_code == 200
            refused = program.http.post("/api/chat", json={"text": "Hello"})
            assert refused.status_code == 503
            assert program.http.post("/api/speech", json={"text": "Still here."}).status_code == 200
            assert close_code(program.websocket_url("/ws/conversation")) == 1013

            again.enter_context(ollama(tmp_path, chat.port))
            until(lambda: program.service("chat")["ready"], "the chat is back", log=program.log)
            assert reply_of(turn(socket, "5 plus 5")[0]) == "That makes 10."
        assert program.http.post("/api/chat", json={"text": "8 times 8"}).json() == {"reply": "That makes 64."}
