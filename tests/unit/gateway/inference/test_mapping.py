"""Between tensors and tasks."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from glowplug.errors import InvalidInput
from glowplug.gateway.inference.mapping import LARGEST_BATCH, inputs, metadata, outputs
from glowplug.gateway.inference.shapes import RequestOutput, TensorMetadata
from glowplug.gateway.inference.tensors import Tensor
from glowplug.store import TaskInfo

INPUT = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "times": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "scale": {"type": "number"},
        "loud": {"type": "boolean"},
        "mode": {"enum": ["a", "b"]},
        "vector": {"type": "array", "items": {"type": "number"}},
        "grid": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
        "words": {"type": "array", "items": {"type": "string"}},
        "image": {"type": "string", "format": "artifact"},
        "box": {"$ref": "#/$defs/Box"},
        "any": {},
    },
    "$defs": {"Box": {"type": "object", "properties": {"x": {"type": "integer"}}}},
}
OUTPUT = {
    "$ref": "#/$defs/Result",
    "$defs": {
        "Result": {
            "type": "object",
            "properties": {"score": {"type": "number"}, "names": {"type": "array", "items": {"type": "string"}}},
        }
    },
}
TASK = TaskInfo("m.task", input_schema=INPUT, output_schema=OUTPUT)
BARE = TaskInfo("m.bare", output_schema={"type": "string"})


def asked(*tensors: Tensor, **parameters: Any) -> list[dict[str, Any]]:
    return inputs(TASK, tensors, parameters)


def column(*values: Any, task: TaskInfo = BARE) -> Tensor:
    """Return the only output of a task that gave these values."""
    (made,) = outputs(task, values, [])
    return made


class TestMetadata:
    def test_of_a_task_with_parameters_of_all_kinds(self) -> None:
        made = metadata("m.task", "3", TASK)
        assert (made.name, made.versions, made.platform) == ("m.task", ["3"], "glowplug")
        assert [(put.name, put.datatype, len(put.shape)) for put in made.inputs] == [
            ("text", "BYTES", 1),
            ("times", "INT64", 1),
            ("scale", "FP64", 1),
            ("loud", "BOOL", 1),
            ("mode", "BYTES", 1),
            ("vector", "FP64", 2),
            ("grid", "INT64", 3),
            ("words", "BYTES", 2),
            ("image", "BYTES", 1),
            ("box", "BYTES", 1),
            ("any", "BYTES", 1),
        ]
        assert made.outputs == [TensorMetadata("score", "FP64", [-1]), TensorMetadata("names", "BYTES", [-1, -1])]

    def test_a_result_that_is_no_object_is_called_output(self) -> None:
        assert metadata("m.bare", "1", BARE).outputs == [TensorMetadata("output", "BYTES", [-1])]


class TestInputs:
    def test_the_first_axis_is_the_batch(self) -> None:
        text = Tensor("text", "BYTES", (2,), [b"a", "ü".encode()])
        vector = Tensor("vector", "FP32", (2, 3), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        assert asked(text, vector) == [
            {"text": "a", "vector": [1.0, 2.0, 3.0]},
            {"text": "ü", "vector": [4.0, 5.0, 6.0]},
        ]

    def test_axes_of_one_around_a_single_value_do_not_count(self) -> None:
        assert asked(Tensor("times", "INT64", (2, 1, 1), [3, 4])) == [{"times": 3}, {"times": 4}]

    def test_a_tensor_of_one_place_goes_with_every_other(self) -> None:
        made = asked(Tensor("text", "BYTES", (3,), [b"a", b"b", b"c"]), Tensor("times", "INT64", (1,), [2]))
        assert [(one["text"], one["times"]) for one in made] == [("a", 2), ("b", 2), ("c", 2)]

    def test_parameters_are_the_same_for_all(self) -> None:
        made = asked(Tensor("text", "BYTES", (2,), [b"a", b"b"]), scale=0.5, priority=3, task="task")
        assert made == [{"scale": 0.5, "text": "a"}, {"scale": 0.5, "text": "b"}]

    def test_files_are_references_data_urls_or_bytes(self) -> None:
        made = asked(Tensor("image", "BYTES", (3,), [b"artifact:inputs/1/a.png", b"data:,x", b"\x89PNG"]))
        data = "data:application/octet-stream;base64," + base64.b64encode(b"\x89PNG").decode()
        assert [one["image"] for one in made] == ["artifact:inputs/1/a.png", "data:,x", data]

    def test_lists_of_words_and_grids(self) -> None:
        assert asked(Tensor("words", "BYTES", (1, 2), [b"a", b"b"])) == [{"words": ["a", "b"]}]
        assert asked(Tensor("grid", "INT64", (1, 2, 2), [1, 2, 3, 4])) == [{"grid": [[1, 2], [3, 4]]}]

    @pytest.mark.parametrize("name", ["box", "any"])
    def test_objects_are_json(self, name: str) -> None:
        assert asked(Tensor(name, "BYTES", (1,), [b'{"x": 1}'])) == [{name: {"x": 1}}]
        with pytest.raises(InvalidInput, match="JSON is expected"):
            asked(Tensor(name, "BYTES", (1,), [b"{"]))

    @pytest.mark.parametrize("text", [b'{"x": NaN}', rb'{"x": "\ud800"}', b"[" * 100_000, b'"\xff"'])
    def test_json_that_could_not_be_told_to_a_worker_is_refused(self, text: bytes) -> None:
        with pytest.raises(InvalidInput, match="JSON is expected"):
            asked(Tensor("any", "BYTES", (1,), [text]))

    def test_numbers_may_stand_where_anything_may(self) -> None:
        assert asked(Tensor("any", "INT64", (1,), [3])) == [{"any": 3}]

    @pytest.mark.parametrize(
        ("tensors", "why"),
        [
            ([], "no inputs"),
            ([Tensor("nope", "INT64", (1,), [1])], "no such input; there are: text, times"),
            (
                [Tensor("text", "BYTES", (2,), [b"a", b"b"]), Tensor("times", "INT64", (3,), [1, 2, 3])],
                "2 and 3 places",
            ),
            ([Tensor("times", "INT64", (1, 2), [1, 2])], r"\[N\] or \[N, 1\]"),
            ([Tensor("text", "BYTES", (1,), [b"\xff"])], "no UTF-8"),
            ([Tensor("words", "BYTES", (1, 1), [b"\xff"])], "no UTF-8"),
            ([Tensor("text", "BYTES", (0,), [])], "1 to"),
            ([Tensor("loud", "BOOL", (LARGEST_BATCH + 1,), [True] * (LARGEST_BATCH + 1))], "1 to"),
        ],
    )
    def test_what_does_not_fit_is_refused_with_why(self, tensors: list[Tensor], why: str) -> None:
        with pytest.raises(InvalidInput, match=why):
            inputs(TASK, tensors, {})


class TestOutputs:
    @pytest.mark.parametrize(
        ("values", "datatype", "shape"),
        [
            ([1, 2], "INT64", (2,)),
            ([1, 2.5], "FP64", (2,)),
            ([True, False], "BOOL", (2,)),
            (["a", "b"], "BYTES", (2,)),
            ([[1.0, 2.0], [3.0, 4.0]], "FP64", (2, 2)),
            ([["a"], ["b"]], "BYTES", (2, 1)),
            ([[[1], [2]]], "INT64", (1, 2, 1)),
        ],
    )
    def test_values_of_one_kind_are_a_tensor(self, values: list[Any], datatype: str, shape: tuple[int, ...]) -> None:
        made = column(*values)
        assert (made.name, made.datatype, made.shape) == ("output", datatype, shape)

    @pytest.mark.parametrize(
        "values",
        [
            [None],
            [{}],
            [{"a": 1}, 3],
            [[1], [1, 2]],
            [[1], 2],
            [[{"a": 1}]],
            [True, 1],
            ["a", 1],
            [2**80],
            [10**400, 0.5],
            [[]],
        ],
    )
    def test_all_others_are_texts(self, values: list[Any]) -> None:
        (made,) = outputs(BARE, [{"x": value} for value in values], [])
        assert (made.datatype, made.shape) == ("BYTES", (len(values),))

    def test_a_number_of_the_schema_is_one_even_if_it_is_whole(self) -> None:
        made = outputs(TASK, [{"score": 1, "names": ["a"]}, {"score": 2, "names": ["b"]}], [])
        assert made == [Tensor("score", "FP64", (2,), [1.0, 2.0]), Tensor("names", "BYTES", (2, 1), [b"a", b"b"])]

    def test_what_one_result_lacks_is_null(self) -> None:
        made = outputs(BARE, [{"a": 1}, {"b": "x"}], [])
        assert [list(tensor.values) for tensor in made] == [[b"1", b"null"], [b"null", b"x"]]

    def test_those_that_are_wanted_in_that_order(self) -> None:
        made = outputs(BARE, [{"a": 1, "b": 2, "c": 3}], [RequestOutput("c"), RequestOutput("a")])
        assert [tensor.name for tensor in made] == ["c", "a"]
        with pytest.raises(InvalidInput, match="there are: a, b, c"):
            outputs(BARE, [{"a": 1, "b": 2, "c": 3}], [RequestOutput("d")])
