"""Conversations in OpenAI's words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from glowplug.errors import InvalidInput, TaskFailed
from glowplug.gateway.openai.chat import LONGEST_REPLY, Conversation, given, names
from glowplug.gateway.openai.shapes import ChatRequest
from glowplug.store import TaskInfo

NAMES = ("messages", "temperature", "top_p", "max_tokens", "stop", "seed", "top_k")
TASK = TaskInfo("c.chat", input_schema={"properties": {name: {} for name in NAMES}})
STRUCTURED = TaskInfo("c.chat", input_schema={"properties": {"messages": {}, "response_format": {}}})
HELLO = {"role": "user", "content": "hello"}
END = {"text": "", "finish_reason": "length", "prompt_tokens": 3, "completion_tokens": 2}


def asked(task: TaskInfo = TASK, **body: Any) -> dict[str, Any]:
    body = {"model": "c", "messages": [HELLO], **body}
    return given(task, msgspec.convert(body, ChatRequest), body)


class TestGiven:
    def test_a_bare_conversation(self) -> None:
        assert asked() == {"messages": [HELLO]}

    def test_what_is_said_of_the_reply_goes_along(self) -> None:
        said = {"temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ["a", "b"], "max_tokens": 9}
        assert asked(**said) == {"messages": [HELLO], **said}

    def test_one_stop_word_is_a_list_of_one(self) -> None:
        assert asked(stop="a")["stop"] == ["a"]

    def test_the_newer_name_of_a_limit_goes_first(self) -> None:
        assert asked(max_tokens=9, max_completion_tokens=5)["max_tokens"] == 5

    @pytest.mark.parametrize(
        ("said", "expected"), [({"max_completion_tokens": 5}, {"max_tokens": "max_completion_tokens"}), ({}, {})]
    )
    def test_a_refusal_speaks_of_the_limit_by_the_name_that_was_used(
        self, said: dict[str, Any], expected: dict[str, str]
    ) -> None:
        wish = ChatRequest(model="m", messages=[], max_tokens=9, **said)
        assert names(wish) == expected

    def test_fields_beside_the_protocol_go_to_a_task_that_knows_them(self) -> None:
        made = asked(top_k=40, user="ann", frequency_penalty=1)
        assert made == {"messages": [HELLO], "top_k": 40}

    def test_parts_of_text_are_joined(self) -> None:
        parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
        assert asked(messages=[{"role": "user", "content": parts}]) == {"messages": [HELLO]}

    def test_a_message_without_content_is_empty(self) -> None:
        assert asked(messages=[{"role": "assistant"}, HELLO])["messages"][0] == {"role": "assistant", "content": ""}

    def test_the_developers_word_is_the_systems(self) -> None:
        assert asked(messages=[{"role": "developer", "content": "be brief"}])["messages"][0]["role"] == "system"

    @pytest.mark.parametrize(
        "part", [{"type": "image_url", "image_url": {}}, {"type": "text"}, {}, {"type": "text", "text": 3}]
    )
    def test_other_parts_are_refused(self, part: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match=r"messages\.1\.content") as raised:
            asked(messages=[HELLO, {"role": "user", "content": [part]}])
        assert raised.value.data["fields"][0]["path"] == "messages.1.content"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("messages", []),
            ("n", 2),
            ("tools", [{"type": "function"}]),
            ("functions", [{"name": "f"}]),
            ("logprobs", True),
            ("response_format", {"type": "json_object"}),
        ],
    )
    def test_what_cannot_be_had_is_refused_by_name(self, name: str, value: Any) -> None:
        with pytest.raises(InvalidInput) as raised:
            asked(**{name: value})
        assert raised.value.data["fields"][0]["path"] == name

    @pytest.mark.parametrize(
        ("name", "value"), [("n", 1), ("tools", []), ("logprobs", False), ("response_format", {"type": "text"})]
    )
    def test_what_asks_for_nothing_special_is_fine(self, name: str, value: Any) -> None:
        assert asked(**{name: value}) == {"messages": [HELLO]}

    def test_a_form_of_answer_goes_to_a_task_that_knows_it(self) -> None:
        assert asked(STRUCTURED, response_format={"type": "json_object"})["response_format"] == {"type": "json_object"}


class TestConversation:
    def talk(self, **more: Any) -> Conversation:
        return Conversation("id1", "c", 12, **more)

    def test_the_whole_reply_with_its_usage(self) -> None:
        talk = self.talk()
        for value in ({"text": "one "}, {"text": "two"}, END):
            talk.take(value)
        whole = talk.whole()
        assert whole["choices"][0]["message"]["content"] == "one two"
        assert whole["choices"][0]["finish_reason"] == "length"
        assert whole["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        assert (whole["id"], whole["object"], whole["created"], whole["model"]) == ("id1", "chat.completion", 12, "c")

    def test_chunk_by_chunk(self) -> None:
        talk = self.talk()
        chunks = [talk.first(), talk.next({"text": "one"}), talk.next(END), *talk.last()]
        assert chunks[2] is None
        choices = [chunk["choices"][0] for chunk in chunks if chunk]
        assert [choice["delta"] for choice in choices] == [{"role": "assistant", "content": ""}, {"content": "one"}, {}]
        assert [choice["finish_reason"] for choice in choices] == [None, None, "length"]
        assert all("usage" not in chunk for chunk in chunks if chunk)

    def test_the_usage_comes_in_a_chunk_of_its_own_if_it_is_wanted(self) -> None:
        talk = self.talk(includes_usage=True)
        assert talk.first()["usage"] is None
        talk.next(END)
        last = list(talk.last())[-1]
        assert (last["choices"], last["usage"]["total_tokens"]) == ([], 5)

    def test_a_task_that_ends_without_a_word_about_it_has_stopped(self) -> None:
        talk = self.talk()
        talk.take({"text": "one"})
        assert (talk.whole()["choices"][0]["finish_reason"], talk.whole()["usage"]) == ("stop", None)

    def test_a_reply_without_an_end_is_not_kept_for_ever(self) -> None:
        talk = self.talk()
        talk.take({"text": "y" * LONGEST_REPLY})
        with pytest.raises(TaskFailed, match="more than"):
            talk.take({"text": "y"})

    @pytest.mark.parametrize("value", ["one", {}, {"text": 3}, None, [1]])
    def test_a_value_without_text_is_the_tasks_fault(self, value: Any) -> None:
        with pytest.raises(TaskFailed, match="without a text"):
            self.talk().take(value)

    @pytest.mark.parametrize("counts", [{"prompt_tokens": "x"}, {"completion_tokens": [1]}, {"finish_reason": 3}])
    def test_nor_is_one_whose_counts_are_none(self, counts: dict[str, Any]) -> None:
        with pytest.raises(TaskFailed, match="another shape"):
            self.talk().take({"text": "", "finish_reason": "stop", **counts})
