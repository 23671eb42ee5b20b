"""Reading the pieces of a reply."""

from __future__ import annotations

from typing import Any

import pytest

from glowplug.errors import GlowplugError, InvalidInput, RemoteError
from glowplug.workloads.chat import reply as module
from glowplug.workloads.chat.reply import fault_of, read
from glowplug.workloads.chat.values import Delta, Ending, Message, Order


def piece(text: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], **more}


def test_the_text_comes_piece_by_piece_and_then_the_end() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    pieces = [piece(""), piece("Hel"), piece("lo"), piece(finish="stop"), usage]
    assert list(read("it", pieces)) == [Delta("Hel"), Delta("lo"), Ending("", "stop", 7, 2)]


def test_a_last_piece_may_hold_text_and_usage_too() -> None:
    last = piece("!", "length", usage={"prompt_tokens": 1, "completion_tokens": 1})
    assert list(read("it", [last])) == [Delta("!"), Ending("", "length", 1, 1)]


def test_tokens_that_are_not_told_are_none() -> None:
    assert list(read("it", [piece("a", "stop", usage=None)]))[-1] == Ending("", "stop", 0, 0)
    assert list(read("it", [piece("a", "stop", usage={"prompt_tokens": "7"})]))[-1] == Ending("", "stop", 0, 0)


@pytest.mark.parametrize("finish", ["stop", "eos", "content_filter"])
def test_any_other_end_is_a_stop(finish: str) -> None:
    assert list(read("it", [piece("a", finish)]))[-1] == Ending("", "stop", 0, 0)


def test_what_a_model_thinks_to_itself_is_no_reply() -> None:
    thought = {"choices": [{"delta": {"reasoning_content": "Hmm.", "content": None}, "finish_reason": None}]}
    assert next(read("it", [thought, piece("Yes", "stop")])) == Delta("Yes")


def test_a_reply_without_an_end_broke_off() -> None:
    pieces = read("the chat server http://x", [piece("Hel")])
    assert next(pieces) == Delta("Hel")
    with pytest.raises(RemoteError, match="the chat server http://x broke off in the middle"):
        next(pieces)


@pytest.mark.parametrize(
    "garbage",
    [{}, {"choices": None}, {"choices": "x"}, {"choices": [{}]}, {"choices": ["x"]}, {"choices": [{"delta": 1}]}],
)
def test_what_is_no_piece_of_a_reply_is_shown_in_short(garbage: dict[str, Any]) -> None:
    with pytest.raises(RemoteError, match="it sent what is no piece of a reply"):
        list(read("it", [{**garbage, "padding": "x" * 9000}]))


def test_a_reply_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_REPLY", 100)
    with pytest.raises(RemoteError, match="does not end its reply"):
        list(read("it", (piece("word ") for _ in range(1000))))


@pytest.mark.parametrize(
    ("told", "kind", "said"),
    [
        ({"code": 400, "message": "too long"}, InvalidInput, "messages: it does not take them: too long"),
        ({"type": "exceed_context_size_error", "message": "m"}, InvalidInput, "m"),
        ({"code": 500, "message": "cuda\nfell over"}, RemoteError, "it failed: cuda fell over"),
        ("no words", RemoteError, "it failed: no words"),
        ({}, RemoteError, "no reason given"),
        (None, RemoteError, "no reason given"),
    ],
)
def test_a_fault_is_the_callers_or_the_servers(told: Any, kind: type[GlowplugError], said: str) -> None:
    found = fault_of("it", told)
    assert type(found) is kind
    assert said in found.message
    with pytest.raises(kind):
        list(read("it", [piece("a"), {"error": told}]))


def test_an_order_says_only_what_was_chosen() -> None:
    messages = [Message("developer", "Be brief."), Message("user", "Hi")]
    assert Order(messages, 5).body("m") == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    chosen = Order(messages, 5, temperature=0.0, top_p=0.5, stop=["."], seed=0).body("m")
    assert (chosen["temperature"], chosen["top_p"], chosen["stop"], chosen["seed"]) == (0.0, 0.5, ["."], 0)
