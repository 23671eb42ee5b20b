"""The stand-in for Ollama speaks its API: what a client of the real one relies on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.examples.programs import EXAMPLES, Program, running
from tests.journeys.system import until

COMMAND = [sys.executable, str(EXAMPLES / "voice_backend" / "ollama_stand_in.py"), "--port", "{port}"]


@pytest.fixture(scope="module")
def ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder: Path = tmp_path_factory.mktemp("ollama")
    with running(folder, COMMAND, {}) as program:
        until(program.answers, "it answers", log=program.log)
        yield program


def ask(ollama: Program, *said: str, **more: Any) -> Any:
    messages = [{"role": "user", "content": text} for text in said]
    return ollama.http.post("/api/chat", json={"model": "llama3.2", "messages": messages, **more})


def test_it_says_that_it_runs(ollama: Program) -> None:
    assert ollama.http.get("/").text == "Ollama is running"
    assert "version" in ollama.http.get("/api/version").json()


def test_it_lists_its_model(ollama: Program) -> None:
    (model,) = ollama.http.get("/api/tags").json()["models"]
    assert model["name"] == model["model"] == "llama3.2:latest"


def test_an_answer_comes_as_lines_of_json_and_the_last_is_done(ollama: Program) -> None:
    answer = ask(ollama, "What is 6 times 7?")
    assert answer.headers["content-type"] == "application/x-ndjson"
    frames = [json.loads(line) for line in answer.text.splitlines()]
    assert [frame["done"] for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert frames[-1]["done_reason"] == "stop"
    assert "".join(frame["message"]["content"] for frame in frames) == "That makes 42."


def test_an_answer_comes_whole_when_asked_for(ollama: Program) -> None:
    body = ask(ollama, "Good morning", stream=False).json()
    assert body["done"] is True
    assert body["message"]["content"] == "You said 2 words. The longest one is morning."


@pytest.mark.parametrize(
    ("said", "answer"),
    [("12 plus 30", "42"), ("50 minus 8", "42"), ("6 x 7", "42"), ("it is -2 * 3", "-6"), ("...", "not hear")],
)
def test_what_it_says_is_worked_out(ollama: Program, said: str, answer: str) -> None:
    assert answer in ask(ollama, said, stream=False).json()["message"]["content"]


def test_it_remembers_the_turns_it_is_told_of(ollama: Program) -> None:
    assert "turn 2" in ask(ollama, "One", "Two", stream=False).json()["message"]["content"]


def test_without_messages_it_only_loads(ollama: Program) -> None:
    body = ask(ollama, stream=False).json()
    assert (body["done"], body["done_reason"], body["message"]["content"]) == (True, "load", "")


def test_the_length_of_an_answer_can_be_bounded(ollama: Program) -> None:
    answer = ask(ollama, "One two three four", stream=False, options={"num_predict": 2})
    assert answer.json()["message"]["content"].split() == ["You", "said"]


def test_another_model_is_not_found(ollama: Program) -> None:
    answer = ollama.http.post("/api/chat", json={"model": "mistral", "messages": []})
    assert answer.status_code == 404
    assert answer.json() == {"error": "model 'mistral' not found"}


def test_clients_of_openai_find_its_model_and_are_answered_whole_or_in_events(ollama: Program) -> None:
    (model,) = ollama.http.get("/v1/models").json()["data"]
    asked = {"model": model["id"], "messages": [{"role": "user", "content": "6 times 7"}]}
    whole = ollama.http.post("/v1/chat/completions", json=asked).json()
    assert whole["choices"][0]["message"]["content"] == "That makes 42."
    events = ollama.http.post("/v1/chat/completions", json=asked | {"stream": True}).text.split("\n\n")[:-1]
    assert events[-1] == "data: [DONE]"
    deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == "That makes 42."
    assert ollama.http.post("/v1/chat/completions", json=asked | {"model": "mistral"}).status_code == 404
