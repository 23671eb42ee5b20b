"""A GGUF model in this process: a real llama.cpp, a tiny Llama whose reply is known."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.models.tiny_gguf import REPLY, tiny_gguf
from tests.unit.workloads.chat.calls import Stopping, answered, collect, loaded, said

from glowplug.errors import Canceled, InvalidInput, SettingsError
from glowplug.load_context import LoadContext
from glowplug.model import RunContext
from glowplug.workloads.chat.gguf import file_in
from glowplug.workloads.chat.model import Chat
from glowplug.workloads.chat.values import Ending, Message


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf")


@pytest.fixture(scope="module")
def chat(folder: Path) -> Iterator[Chat]:
    model = loaded({"gguf": tiny_gguf(folder / "tiny.gguf")}, threads="1", context="2048", max_tokens="64")
    yield model
    model.unload()


@pytest.fixture(scope="module")
def endless(folder: Path) -> Iterator[Chat]:
    path = tiny_gguf(folder / "endless.gguf", endless=True)
    model = loaded(gguf=str(path), threads="1", context="65536", max_tokens="64")
    yield model
    model.unload()


def test_it_says_its_sentence_and_counts_the_tokens(chat: Chat) -> None:
    text, ending = answered(chat)
    assert text == REPLY
    assert ending.finish_reason == "stop"
    assert ending.completion_tokens == 11
    assert ending.prompt_tokens > 10


def test_it_is_cut_at_max_tokens_of_the_call_or_of_the_option(chat: Chat, endless: Chat) -> None:
    text, ending = answered(chat, max_tokens=2)
    assert (text, ending.finish_reason, ending.completion_tokens) == ("Hello there", "length", 2)
    assert answered(endless)[1].completion_tokens == 64


def test_it_stops_before_a_word_that_ends_it(chat: Chat) -> None:
    text, ending = answered(chat, stop=["am", "never"], temperature=0.0, top_p=0.9, seed=7)
    assert (text, ending.finish_reason) == ("Hello there, I ", "stop")
    assert answered(chat, stop="there")[0] == "Hello "


def test_several_conversations_are_answered_at_once(chat: Chat) -> None:
    heard: list[str] = []
    threads = [threading.Thread(target=lambda: heard.append(answered(chat)[0])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == [REPLY] * 6


def test_a_caller_that_stops_ends_the_work_on_its_reply(endless: Chat, tmp_path: Path) -> None:
    got: list[str] = []
    reading = endless.reply(Stopping(tmp_path, lambda: len(got) >= 5), said("Hello?"), max_tokens=60_000)
    with pytest.raises(Canceled):
        collect(reading, got)
    for answer in endless._engine._replies:  # type: ignore[attr-defined]
        answer.join(timeout=10)
        assert not answer.is_alive()
    assert answered(endless, max_tokens=3)[0] == "Hello there,"


def test_a_reply_that_nobody_reads_on_is_stopped_too(endless: Chat) -> None:
    reading = endless.reply(RunContext(), said("Hello?"), max_tokens=60_000)
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    for answer in endless._engine._replies:  # type: ignore[attr-defined]
        answer.join(timeout=10)
        assert not answer.is_alive()


def test_an_unload_ends_what_is_under_way(folder: Path) -> None:
    model = loaded({"gguf": tiny_gguf(folder / "again.gguf", endless=True)}, context="65536")
    reading = model.reply(RunContext(), said("Hello?"), max_tokens=60_000)
    next(reading)
    model.unload()
    assert not any(thread.name == "glowplug-chat" and thread.is_alive() for thread in threading.enumerate())
    reading.close()  # type: ignore[attr-defined]


def test_a_conversation_longer_than_the_context_is_the_callers_error(chat: Chat) -> None:
    with pytest.raises(InvalidInput, match=r"messages: the model tiny\.gguf does not take them.*context"):
        answered(chat, "word " * 5000)
    assert answered(chat)[0] == REPLY


def test_the_instructions_of_the_option_come_first_unless_the_caller_has_some(folder: Path) -> None:
    model = loaded({"gguf": tiny_gguf(folder / "kind.gguf")}, system="Be kind to everybody.")
    plain, instructed = (
        list(model.reply(RunContext(), messages))[-1]
        for messages in (said("Hi"), [Message("system", "Be"), Message("user", "Hi")])
    )
    model.unload()
    assert isinstance(plain, Ending)
    assert isinstance(instructed, Ending)
    assert plain.prompt_tokens > instructed.prompt_tokens


def test_nobody_can_reach_it_from_outside(folder: Path) -> None:
    before = doors()
    model = loaded({"gguf": tiny_gguf(folder / "closed.gguf")})
    assert answered(model)[0] == REPLY
    opened = doors() - before
    model.unload()
    assert not [path for path in opened if not path.startswith("/")], "a port"
    assert not [path for path in opened if Path(path).exists()], "a socket that can be found"


def doors() -> set[str]:
    """Return where this process listens: ports, and sockets in the file system."""
    found = psutil.Process().net_connections("all")
    return {str(one.laddr) for one in found if one.status in (psutil.CONN_LISTEN, psutil.CONN_NONE) and not one.raddr}


def test_nothing_outside_is_leaned_on(chat: Chat) -> None:
    chat.check()


@pytest.mark.parametrize("kept", [0, 3, 100, 5_000, 200_000])
def test_a_file_that_is_cut_short_is_named(folder: Path, tmp_path: Path, kept: int) -> None:
    whole = tiny_gguf(folder / "whole.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[:kept])
    with pytest.raises(SettingsError, match=r"cut\.gguf (is no GGUF file|cannot be opened: damaged or cut short)"):
        Chat().load(LoadContext(options={"gguf": str(cut)}))


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    pickled = tmp_path / "model.gguf"
    pickled.write_bytes(b"\x80\x04\x95 a pickle, which nobody opens")
    with pytest.raises(SettingsError, match="is no GGUF file"):
        Chat().load(LoadContext(options={"gguf": str(pickled)}))


@pytest.mark.parametrize(
    ("option", "value"), [("context", "12"), ("context", "much"), ("threads", "-1"), ("gpu_layers", "all")]
)
def test_a_wrong_option_is_named(folder: Path, option: str, value: str) -> None:
    path = tiny_gguf(folder / "options.gguf")
    with pytest.raises(SettingsError, match=f"option {option}="):
        Chat().load(LoadContext(options={"gguf": str(path), option: value}))


def test_a_server_and_a_file_are_one_too_many(folder: Path) -> None:
    path = tiny_gguf(folder / "both.gguf")
    with pytest.raises(SettingsError, match="set one of them"):
        Chat().load(LoadContext(options={"gguf": str(path), "server": "http://127.0.0.1:1"}))


def test_an_address_and_a_file_are_the_platforms_to_fetch_and_read(folder: Path) -> None:
    path = str(tiny_gguf(folder / "source.gguf"))
    assert Chat.sources({"gguf": "s3://models/chat.gguf"}) == {"gguf": "s3://models/chat.gguf"}
    assert Chat.sources({"gguf": path}) == {"gguf": path}
    assert Chat.sources({"gguf": "/no/such/file"}) == Chat.sources({}) == {}


def test_only_a_model_of_its_own_takes_room_on_a_card() -> None:
    assert Chat.estimate({}, {"server": "http://127.0.0.1:1"}) == Chat.estimate({}, {}) == 0
    assert Chat.estimate({}, {"gguf": "/models/chat.gguf"}) is None


def test_a_folder_holds_one_model_perhaps_in_parts(tmp_path: Path) -> None:
    for name in ("big-00001-of-00002.gguf", "big-00002-of-00002.gguf", "mmproj-big.gguf", "README.md"):
        (tmp_path / name).touch()
    assert file_in(tmp_path).name == "big-00001-of-00002.gguf"
    (tmp_path / "other.gguf").touch()
    with pytest.raises(SettingsError, match=r"one model is expected.*other\.gguf"):
        file_in(tmp_path)
    with pytest.raises(SettingsError, match="no file"):
        file_in(tmp_path / "missing.gguf")


@pytest.mark.parametrize(
    ("texts", "message"), [(["x" * 1001], "1001 characters in all, more than 1000"), ([" ", "\n"], "nothing is said")]
)
def test_messages_are_bounded_and_not_empty(folder: Path, texts: list[str], message: str) -> None:
    model = loaded({"gguf": tiny_gguf(folder / "bounds.gguf")}, longest_prompt="1000")
    with pytest.raises(InvalidInput, match=message):
        answered(model, *texts)
    model.unload()
