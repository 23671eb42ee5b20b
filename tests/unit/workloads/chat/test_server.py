"""A chat server that is real, dies and comes back: llama.cpp's own, with a tiny model."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.models.tiny_gguf import REPLY, tiny_gguf
from tests.servers.llama import MODEL, LlamaServer, running_llama
from tests.servers.ports import wait_until
from tests.unit.workloads.chat.calls import Stopping, answered, collect, loaded, said

from glowplug.errors import Canceled, DeadlineExceeded, SettingsError, Unreachable
from glowplug.load_context import LoadContext
from glowplug.model import RunContext
from glowplug.workloads.chat.model import Chat

KEY = "a-key-that-nobody-may-see"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    path = tiny_gguf(tmp_path_factory.mktemp("server") / "endless.gguf", endless=True)
    with running_llama(path) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    with running_llama(tiny_gguf(tmp_path_factory.mktemp("guarded") / "tiny.gguf"), key=KEY) as running:
        yield running


@pytest.fixture
def chat(server: LlamaServer) -> Iterator[Chat]:
    model = loaded(server=server.url, model=MODEL, silence_seconds="20")
    yield model
    model.unload()


def idle(server: LlamaServer) -> None:
    wait_until(lambda: server.replying() == 0, "the server stops to reply", limit=10)


def test_a_reply_comes_word_by_word_with_its_tokens(chat: Chat) -> None:
    text, ending = answered(chat, max_tokens=10)
    assert text == REPLY
    assert (ending.finish_reason, ending.completion_tokens) == ("length", 10)
    assert ending.prompt_tokens > 5


def test_the_choices_of_the_caller_reach_the_server(chat: Chat) -> None:
    text, ending = answered(chat, stop=["I"], seed=3, temperature=0.1, top_p=0.5)
    assert (text, ending.finish_reason) == ("Hello there, ", "stop")


def test_the_only_model_of_a_server_needs_no_name(server: LlamaServer) -> None:
    model = loaded(server=f"{server.url}/v1/")
    assert answered(model, max_tokens=2)[0] == "Hello there"
    model.unload()


def test_a_model_that_the_server_does_not_have_is_named_with_the_fix(server: LlamaServer) -> None:
    with pytest.raises(
        SettingsError, match=r"has no model llama3\.2 \(it has tiny\); with Ollama: ollama pull llama3\.2"
    ):
        Chat().load(LoadContext(options={"server": server.url, "model": "llama3.2"}))


def test_a_caller_that_stops_stops_the_server_too(chat: Chat, server: LlamaServer, tmp_path: Path) -> None:
    got: list[str] = []
    reading = chat.reply(Stopping(tmp_path, lambda: len(got) >= 5), said("Hello?"), max_tokens=60_000)
    with pytest.raises(Canceled):
        collect(reading, got)
    idle(server)


def test_a_reply_that_nobody_reads_on_stops_the_server_too(chat: Chat, server: LlamaServer) -> None:
    reading = chat.reply(RunContext(), said("Hello?"), max_tokens=60_000)
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    idle(server)


def test_a_caller_that_stops_is_heard_while_the_server_stands_still(
    chat: Chat, server: LlamaServer, tmp_path: Path
) -> None:
    stop = threading.Event()
    server.stop(for_now=True)
    try:
        timer = threading.Timer(0.2, stop.set)
        timer.start()
        with pytest.raises(Canceled):
            list(chat.reply(Stopping(tmp_path, stop.is_set), said("Hello?")))
        timer.join()
    finally:
        server.stop(for_now=False)
    idle(server)


def test_a_server_that_stands_still_is_given_up_on(server: LlamaServer) -> None:
    model = loaded(server=server.url, silence_seconds="0.5")
    server.stop(for_now=True)
    try:
        with pytest.raises(DeadlineExceeded, match=rf"{server.url} has been silent for 0\.5 seconds"):
            answered(model)
    finally:
        server.stop(for_now=False)
        model.unload()


def test_a_server_that_dies_is_named_until_it_is_back(chat: Chat, server: LlamaServer) -> None:
    chat.check()
    reading = chat.reply(RunContext(), said("Hello?"), max_tokens=60_000)
    next(reading)
    server.kill()
    try:
        with pytest.raises(Unreachable, match=f"{server.url} broke off"):
            list(reading)
        with pytest.raises(Unreachable, match=f"{server.url} does not answer; start it"):
            answered(chat)
        with pytest.raises(Unreachable, match=f"{server.url} does not answer; start it"):
            chat.check()
        with pytest.raises(Unreachable, match=f"{server.url} does not answer; start it"):
            Chat().load(LoadContext(options={"server": server.url}))
    finally:
        server.start()
    chat.check()
    assert answered(chat, max_tokens=2)[0] == "Hello there"


def test_several_conversations_are_answered_at_once(chat: Chat) -> None:
    heard: list[str] = []
    threads = [threading.Thread(target=lambda: heard.append(answered(chat, max_tokens=10)[0])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == [REPLY] * 6


def test_an_unload_breaks_off_what_is_under_way(server: LlamaServer) -> None:
    model = loaded(server=server.url)
    reading = model.reply(RunContext(), said("Hello?"), max_tokens=60_000)
    next(reading)
    model.unload()
    idle(server)
    reading.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("key", [None, "another-key-00000000"], ids=["no key", "a wrong one"])
def test_a_server_that_wants_a_key_says_so_at_the_load(
    guarded: LlamaServer, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    options = {"server": guarded.url}
    if key:
        monkeypatch.setenv("LLM_KEY", key)
        options["api_key_env"] = "LLM_KEY"
    with pytest.raises(SettingsError, match=r"refuses the key.*api_key_env") as refused:
        Chat().load(LoadContext(options=options))
    assert "another-key" not in refused.value.message


def test_with_its_key_it_answers_and_the_key_is_in_no_log(
    guarded: LlamaServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LLM_KEY", KEY)
    with caplog.at_level(logging.DEBUG):
        model = loaded(server=guarded.url, api_key_env="LLM_KEY")
        assert answered(model)[0] == REPLY
        model.unload()
    assert KEY not in caplog.text
