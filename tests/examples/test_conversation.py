"""The conversation's guide, its client and its app, as their readers run them."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.examples.programs import EXAMPLES, ROOT, Program, running, served
from tests.journeys.system import until
from tests.unit.gateway.served import serving
from websockets.sync.client import connect

PAGE = ROOT / "docs" / "guide" / "conversation.md"
CLIENT = EXAMPLES / "conversation" / "client.py"
STAND_IN = [sys.executable, str(EXAMPLES / "voice_backend" / "ollama_stand_in.py"), "--port", "{port}"]
TALKATIVE = [sys.executable, "-m", "tests.examples.talkative", "{port}"]


async def test_the_app_and_the_client_of_the_guide_understand_each_other() -> None:
    app_block, client_block = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    app: dict[str, Any] = {"__name__": "guide"}
    client: dict[str, Any] = {"__name__": "guide"}
    exec(compile(app_block, "guide: app", "exec"), app)
    exec(compile(client_block, "guide: client", "exec"), client)
    async with app["app"].router.lifespan_context(app["app"]), serving(app["app"]) as url:
        await app["ready"].wait_until_ready(timeout=20)
        async with asyncio.timeout(20):
            answer = await client["ask"](f"{url.replace('http', 'ws')}/ws/conversation", "Do you hear me?")
    assert answer == "So I hear."


def client(program: Program, said: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CLIENT), program.websocket_url("/ws/conversation"), *options]
    return subprocess.run(command, input=said, capture_output=True, text=True, timeout=60, check=False)


def test_the_client_shows_answers_keeps_sounds_and_says_why_it_was_sent_away(tmp_path: Path) -> None:
    port_of_nobody = {"OLLAMA_HOST": "127.0.0.1:9"}
    with served(tmp_path, "voice_backend", "backend:app", environment=port_of_nobody) as program:
        until(program.answers, "it answers", log=program.log)
        done = client(program, "hello\n")
        assert done.returncode == 1
        assert "closed by the server (1013)" in done.stderr
    with running(tmp_path, TALKATIVE, {"TALKATIVE_ENDS": "1"}) as program:
        program.wait_ready()
        done = client(program, "hello\n\nonce more\n", "--save", str(tmp_path / "out"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["You said hello. ", "You said once more. "]
    assert [path.read_bytes()[:4] for path in sorted((tmp_path / "out").iterdir())] == [b"RIFF"] * 2


@pytest.mark.chaos
def test_the_app_speaks_with_glowplugs_own_models_and_understands_what_it_said(tmp_path: Path) -> None:
    with running(tmp_path, STAND_IN, {}) as chat:
        until(chat.answers, "the chat server answers", log=chat.log)
        environment = {"TALK_CHAT": f"server={chat.url} model=llama3.2", "HF_HUB_OFFLINE": "1"}
        with served(tmp_path, "conversation", "app:app", environment=environment) as program:
            program.wait_ready()
            assert '"./talk.js"' in program.http.get("/").text
            assert "class Talk" in program.http.get("/talk.js").text
            until(lambda: program.service("stt")["ready"], "the ear is ready", log=program.log)
            with connect(program.websocket_url("/ws/conversation")) as socket:
                socket.send(json.dumps({"type": "text", "text": "What is 6 times 7?"}))
                sounds = [frame for frame in frames(socket) if isinstance(frame, bytes)]
                assert sounds
                socket.send(sounds[0])
                (transcript, *_) = (frame for frame in frames(socket) if not isinstance(frame, bytes))
    assert "42" in transcript["text"] or "forty" in transcript["text"].lower()


def frames(socket: Any) -> list[Any]:
    """Return everything up to the end of the turn."""
    found: list[Any] = []
    while not found or isinstance(found[-1], bytes) or found[-1]["type"] != "reply_done":
        frame = socket.recv(timeout=60)
        found.append(frame if isinstance(frame, bytes) else json.loads(frame))
    return found
