"""Texts in, vectors out, in OpenAI's words."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from glowplug.errors import InvalidInput, TaskFailed
from glowplug.gateway.openai.embeddings import MOST_TEXTS, answer, inputs
from glowplug.gateway.openai.shapes import EmbeddingsRequest
from glowplug.store import TaskInfo

PLAIN = TaskInfo("e.embed", input_schema={"properties": {"text": {}}})
CUTTING = TaskInfo("e.embed", input_schema={"properties": {"text": {}, "dimensions": {}, "prefix": {}}})


def asked(value: Any, task: TaskInfo = PLAIN, body: dict[str, Any] | None = None, **more: Any) -> list[dict[str, Any]]:
    return inputs(task, EmbeddingsRequest("e", value, **more), {"input": value, **(body or {})})


class TestInputs:
    def test_a_text_is_one_call_and_a_list_as_many(self) -> None:
        assert asked("a") == [{"text": "a"}]
        assert asked(["a", "b"]) == [{"text": "a"}, {"text": "b"}]

    @pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]]])
    def test_tokens_are_refused_with_what_to_send_instead(self, tokens: Any) -> None:
        with pytest.raises(InvalidInput, match="send the text") as raised:
            asked(tokens)
        assert raised.value.data["fields"][0]["path"] == "input"

    @pytest.mark.parametrize("value", ["", [], ["a", ""], None, 3, {"text": "a"}, [None], ["a", {}]])
    def test_what_is_no_text_is_refused(self, value: Any) -> None:
        with pytest.raises(InvalidInput, match="input: "):
            asked(value)

    def test_too_many_at_once_are_refused(self) -> None:
        assert len(asked(["a"] * MOST_TEXTS)) == MOST_TEXTS
        with pytest.raises(InvalidInput, match="several requests"):
            asked(["a"] * (MOST_TEXTS + 1))

    def test_dimensions_go_to_a_task_that_knows_them(self) -> None:
        assert asked("a", CUTTING, dimensions=2) == [{"text": "a", "dimensions": 2}]
        with pytest.raises(InvalidInput, match="one length alone"):
            asked("a", dimensions=2)

    def test_so_do_other_fields(self) -> None:
        body = {"prefix": "query", "user": "ann", "dimensions": None, "text": "trick"}
        assert asked("a", CUTTING, body) == [{"text": "a", "prefix": "query"}]


RESULTS = [
    {"embedding": [0.5, -1.25], "tokens": 2, "truncated": False},
    {"embedding": [1.0, 0.0], "tokens": 3, "truncated": True},
]


class TestAnswer:
    def test_vectors_as_numbers(self) -> None:
        assert answer(EmbeddingsRequest("e", "a"), RESULTS) == {
            "object": "list",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [0.5, -1.25]},
                {"object": "embedding", "index": 1, "embedding": [1.0, 0.0], "truncated": True},
            ],
            "model": "e",
            "usage": {"prompt_tokens": 5, "total_tokens": 5},
        }

    def test_vectors_as_base64_of_little_endian_floats(self) -> None:
        made = answer(EmbeddingsRequest("e", "a", encoding_format="base64"), RESULTS)
        data = base64.b64decode(made["data"][0]["embedding"])
        assert struct.unpack("<2f", data) == (0.5, -1.25)

    @pytest.mark.parametrize(
        "result",
        [
            {},
            {"embedding": "x"},
            {"embedding": None},
            {"embedding": [None]},
            {"embedding": ["x"]},
            {"embedding": [1.0], "tokens": "x"},
            [1.0],
            None,
        ],
    )
    @pytest.mark.parametrize("encoding", ["float", "base64"])
    def test_a_task_that_gives_no_vector_is_at_fault(self, result: Any, encoding: Any) -> None:
        with pytest.raises(TaskFailed, match="embedding"):
            answer(EmbeddingsRequest("e", "a", encoding_format=encoding), [result])

    def test_so_is_one_whose_numbers_are_too_large_for_base64(self) -> None:
        with pytest.raises(TaskFailed, match="32 bits"):
            answer(EmbeddingsRequest("e", "a", encoding_format="base64"), [{"embedding": [1e300]}])

    def test_a_task_that_counts_no_tokens_is_fine(self) -> None:
        made = answer(EmbeddingsRequest("e", "a"), [{"embedding": [1, 2.5], "tokens": None}])
        assert (made["data"][0]["embedding"], made["usage"]["total_tokens"]) == ([1, 2.5], 0)
