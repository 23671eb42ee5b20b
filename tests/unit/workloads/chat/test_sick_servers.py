"""Chat servers that answer garbage, hang, refuse or never end: each is a clear error, and the next call goes well."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from tests.unit.workloads.chat.calls import answered, loaded, said
from tests.unit.workloads.chat.sick import EVENTS, GOOD, MODELS, Answer, SickServer, delta, event, running_sick

from glowplug.errors import (
    DeadlineExceeded,
    GlowplugError,
    InvalidInput,
    RateLimited,
    RemoteError,
    SettingsError,
    Unreachable,
)
from glowplug.load_context import LoadContext
from glowplug.model import RunContext
from glowplug.workloads.chat import server
from glowplug.workloads.chat.model import Chat

KEY = "a-key-that-nobody-may-see"
JSON = "application/json"


@pytest.fixture(scope="module")
def running() -> Iterator[SickServer]:
    with running_sick() as server:
        yield server


@pytest.fixture
def sick(running: SickServer) -> SickServer:
    running.chat, running.models = GOOD, MODELS
    running.asked.clear()
    return running


@pytest.fixture
def chat(sick: SickServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    monkeypatch.setenv("LLM_KEY", KEY)
    model = loaded(server=sick.url, silence_seconds="20", api_key_env="LLM_KEY")
    yield model
    sick.chat = GOOD
    assert answered(model)[0] == "Hello"
    model.unload()


def refusal(status: int, message: str, **headers: str) -> Answer:
    return Answer((json.dumps({"error": {"message": message}}).encode(),), status, JSON, headers)


@pytest.mark.parametrize(
    ("answer", "kind", "said_"),
    [
        (Answer((b"<html>It works!</html>",), media_type="text/html"), RemoteError, "does not speak OpenAI's protocol"),
        (Answer((b"{}",), media_type=JSON), RemoteError, "does not speak OpenAI's protocol"),
        (Answer((event("no JSON"),)), RemoteError, "no piece of a reply: no JSON"),
        (Answer((event([1, 2]),)), RemoteError, "no piece of a reply"),
        (Answer((event({"choices": [{"delta": None}]}),)), RemoteError, "no piece of a reply"),
        (Answer((b"\xff\xfe\x00" * 100,)), RemoteError, "broke off in the middle"),
        (Answer(()), RemoteError, "broke off in the middle"),
        (Answer((delta("Hel"),)), RemoteError, "broke off in the middle"),
        (Answer((delta("Hel"), event("[DONE]"))), RemoteError, "broke off in the middle"),
        (Answer((delta("Hel"),), headers={"content-length": "9999"}), Unreachable, "broke off"),
        (Answer((delta("Hel"), event({"error": {"message": "out of\nmemory"}}))), RemoteError, "failed: out of memory"),
        (refusal(400, "bad words"), InvalidInput, "messages: .* does not take them: bad words"),
        (
            refusal(401, f"wrong key {KEY}"),
            RemoteError,
            r"refuses the key: wrong key \[hidden\]; see option api_key_env",
        ),
        (refusal(404, "no such model"), RemoteError, "has no model sick .*ollama pull sick"),
        (refusal(429, "slow down"), RateLimited, "asked too much: slow down"),
        (refusal(500, "oh"), RemoteError, "answers 500: oh"),
        (Answer((b"Bad Gateway",), 502, "text/plain"), RemoteError, "answers 502: Bad Gateway"),
        (Answer((b"x" * 9000,), 503, "text/plain"), RemoteError, "answers 503: x{200}…$"),
        (Answer((), 307, headers={"location": "http://127.0.0.1:1/"}), RemoteError, "leads elsewhere"),
    ],
)
def test_it_is_a_clear_error(
    chat: Chat, sick: SickServer, answer: Answer, kind: type[GlowplugError], said_: str
) -> None:
    sick.chat = answer
    with pytest.raises(GlowplugError, match=said_) as failed:
        answered(chat)
    assert type(failed.value) is kind
    assert sick.url in failed.value.message
    assert KEY not in failed.value.message


def test_a_server_says_when_to_ask_again(chat: Chat, sick: SickServer) -> None:
    sick.chat = refusal(429, "slow down", **{"retry-after": "7"})
    with pytest.raises(RateLimited) as told:
        answered(chat)
    assert told.value.data["retry_after"] == 7


@pytest.mark.parametrize("parts", [(), (delta("Hel"),), (b": still here\n\n", delta("Hel"), b": still here\n\n")])
def test_a_server_that_hangs_is_given_up_on_after_its_silence(sick: SickServer, parts: tuple[bytes, ...]) -> None:
    model = loaded(server=sick.url, silence_seconds="0.4")
    hold = threading.Event()
    sick.chat = Answer(parts, held=hold)
    with pytest.raises(DeadlineExceeded, match=r"has been silent for 0\.4 seconds"):
        answered(model)
    hold.set()
    model.unload()


def test_words_are_given_as_they_come_and_not_at_the_end(chat: Chat, sick: SickServer) -> None:
    hold = threading.Event()
    sick.chat = Answer((delta("Hel"),), held=hold)
    reading = chat.reply(RunContext(), said("Hello?"))
    assert next(reading).text == "Hel"
    hold.set()
    with pytest.raises(RemoteError, match="broke off"):
        next(reading)


@pytest.mark.parametrize("part", [b"x" * 100_000, b"data: xxx\n" * 10_000], ids=["a line", "lines"])
def test_an_event_without_end_is_not_read_on(chat: Chat, sick: SickServer, part: bytes) -> None:
    sick.chat = Answer((b"data: ", *[part] * 20))
    with pytest.raises(RemoteError, match="an event of more than"):
        answered(chat)


def test_pieces_without_words_and_without_end_are_not_read_on(
    chat: Chat, sick: SickServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_PIECES", 100)
    sick.chat = Answer((event({"choices": []}) * 200,))
    with pytest.raises(RemoteError, match="does not end its reply: 101 pieces"):
        answered(chat)


def test_half_characters_and_counts_that_are_none_do_no_harm(chat: Chat, sick: SickServer) -> None:
    half = event('{"choices": [{"delta": {"content": "a\\ud800b"}, "finish_reason": "stop"}]}')
    usage = event({"choices": [], "usage": {"prompt_tokens": -5, "completion_tokens": 10**30}})
    sick.chat = Answer((half, usage, event("[DONE]")))
    text, ending = answered(chat)
    assert (text, ending.prompt_tokens, ending.completion_tokens) == ("a?b", 0, 0)


def test_a_refusal_without_end_is_not_read_on(chat: Chat, sick: SickServer) -> None:
    sick.chat = Answer((b"x" * 100_000,) * 60, 500, "text/plain")
    with pytest.raises(RemoteError, match="an answer of more than"):
        answered(chat)


@pytest.mark.parametrize(
    ("models", "kind", "said_"),
    [
        (Answer((b"Ollama is running",), media_type="text/plain"), RemoteError, "does not list its models"),
        (Answer((b'{"data": [1]}',), media_type=JSON), RemoteError, "does not list its models"),
        (Answer((b'{"models": []}',), media_type=JSON), RemoteError, "does not list its models"),
        (Answer((b'{"data": null}',), media_type=JSON), SettingsError, "ollama pull NAME"),
        (Answer((b'{"data": [{"id": "a"}, {"id": "b"}]}',), media_type=JSON), SettingsError, "set option model.*a, b"),
        (refusal(401, "who are you"), SettingsError, "refuses the key"),
        (refusal(404, "not here"), SettingsError, "has no model"),
        (refusal(503, "loading"), RemoteError, "answers 503: loading"),
    ],
)
def test_a_load_says_what_is_wrong_with_the_list_of_models(
    sick: SickServer, models: Answer, kind: type[GlowplugError], said_: str
) -> None:
    sick.models = models
    with pytest.raises(GlowplugError, match=said_) as failed:
        Chat().load(LoadContext(options={"server": sick.url}))
    assert type(failed.value) is kind


def test_a_load_hears_a_first_word(sick: SickServer) -> None:
    sick.chat = refusal(500, "no room for the model")
    with pytest.raises(RemoteError, match="no room for the model"):
        Chat().load(LoadContext(options={"server": sick.url}))


def test_ollama_may_leave_out_the_tag_latest(sick: SickServer) -> None:
    sick.models = Answer((b'{"data": [{"id": "llama3.2:latest"}, {"id": "phi4:latest"}]}',), media_type=JSON)
    model = loaded(server=sick.url, model="llama3.2")
    assert answered(model)[0] == "Hello"
    assert {asked["model"] for asked in sick.asked} == {"llama3.2"}
    model.unload()


def test_a_failed_load_leaves_no_thread(sick: SickServer) -> None:
    sick.models = refusal(500, "oh")
    before = set(threading.enumerate())
    with pytest.raises(RemoteError):
        Chat().load(LoadContext(options={"server": sick.url}))
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "glowplug-chat"]


def test_events_of_a_stream_may_be_cut_anywhere(chat: Chat, sick: SickServer) -> None:
    stream = delta("Grüße") + delta(" an alle", "stop") + event("[DONE]")
    sick.chat = Answer(tuple(bytes([byte]) for byte in stream), media_type=f"{EVENTS}; charset=utf-8")
    assert answered(chat)[0] == "Grüße an alle"
