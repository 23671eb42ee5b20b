"""A conversation with real models: speech to text, a reply by a real chat server, text to speech."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.journeys.system import MODELS, System, system, until
from tests.models.tiny_gguf import REPLY, tiny_gguf
from tests.servers.llama import LlamaServer, running_llama
from websockets.sync.client import ClientConnection, connect

PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    with running_llama(tiny_gguf(tmp_path_factory.mktemp("chat") / "tiny.gguf")) as running:
        yield running


@pytest.fixture(scope="module")
def talkative(server: LlamaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with system(tmp_path_factory.mktemp("real"), HF_HUB_OFFLINE="1") as made:
        options = ["--option", f"server={server.url}", "--option", "threads=1", "--option", "beam_size=1"]
        made.up("tts", "stt", MODELS / "quick_chat.py", options=options)
        made.wait_ready("tts", "stt", "chat")
        yield made


def answer(socket: ClientConnection, utterance: str | bytes) -> list[dict[str, Any]]:
    """Say something, and return the frames up to the end of the reply; a sound has its bytes as `data`."""
    socket.send(utterance if isinstance(utterance, bytes) else json.dumps({"type": "text", "text": utterance}))
    found: list[dict[str, Any]] = []
    while not found or found[-1]["type"] != "reply_done":
        found.append(json.loads(socket.recv(timeout=PATIENCE_SECONDS)))
        if found[-1]["type"] == "audio":
            found[-1]["data"] = socket.recv(timeout=PATIENCE_SECONDS)
    return found


def test_what_is_spoken_is_heard_answered_and_spoken_again(talkative: System) -> None:
    with connect(f"ws://127.0.0.1:{talkative.port}/ws/conversation", open_timeout=PATIENCE_SECONDS) as socket:
        first = answer(socket, "Good morning.")
        (sound,) = (frame["data"] for frame in first if frame["type"] == "audio")
        second = answer(socket, sound)
    assert "".join(frame["text"] for frame in first if frame["type"] == "reply_delta") == REPLY
    assert second[0]["type"] == "transcript"
    assert second[0]["text"].lower().replace(",", "") == REPLY.lower().replace(",", "")
    assert [frame["type"] for frame in second].count("audio") == 1


def test_a_chat_server_that_dies_is_told_while_the_rest_goes_on(talkative: System, server: LlamaServer) -> None:
    hello = {"messages": [{"role": "user", "content": "Hello?"}]}
    server.kill()
    try:
        failed = talkative.http.post("/v1/run/chat.reply", json=hello)
        assert (failed.status_code, failed.json()["code"]) == (502, "unreachable")
        assert f"{server.url} does not answer; start it" in failed.json()["detail"]
        until(lambda: not component(talkative, "chat")["ready"], "the chat shows that its server is gone")
        assert server.url in component(talkative, "chat")["error"]
        assert talkative.get("/api/ready")["ready"], "the whole"
        spoken = talkative.wait_done(talkative.submit("tts.synthesize", text="Still here.", format="wav"))
        assert spoken["state"] == "completed"
    finally:
        server.start()
    until(lambda: component(talkative, "chat")["ready"], "the chat is well again")
    assert REPLY.partition(" ")[0] in talkative.http.post("/v1/run/chat.reply", json=hello).text


def component(plug: System, name: str) -> dict[str, Any]:
    """Return a model as the page of readiness shows it."""
    return dict(plug.get("/api/ready")["services"][name])


def test_the_pieces_of_a_speech_are_a_file_over_http_too(talkative: System) -> None:
    told = talkative.http.post("/v1/run/tts.speak", json={"text": "One. Two.", "format": "wav"}).text
    values = [json.loads(line.removeprefix("data:")) for line in told.splitlines() if line.startswith("data:")]
    pieces = [value for value in values if value and "audio" in value]
    assert [piece["text"] for piece in pieces] == ["One.", "Two."]
    assert base64.b64decode(pieces[0]["audio"]).startswith(b"RIFF")


def test_a_picture_is_no_speech(talkative: System) -> None:
    picture = "data:audio/wav;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(64)).decode()
    refused = talkative.http.post("/v1/run/stt.transcribe", json={"audio": picture})
    assert refused.status_code == 422
    assert "not a file of WAV" in refused.json()["detail"]
    assert component(talkative, "stt")["ready"]
