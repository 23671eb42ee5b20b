"""What a task's schema says of its parameters."""

from __future__ import annotations

from typing import Any

import pytest

from glowplug.gateway.openai.parameters import choices, extras, knows, typed, wrong
from glowplug.store import TaskInfo

SCHEMA = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string"},
        "steps": {"type": "integer"},
        "guidance": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "tiled": {"type": "boolean"},
        "format": {"enum": ["wav", "pcm"], "type": "string"},
        "pace": {"$ref": "#/$defs/Pace"},
        "mode": {"anyOf": [{"const": "fast"}, {"enum": ["slow", "slower"]}, {"type": "null"}]},
    },
    "$defs": {"Pace": {"enum": ["slow", "fast"], "type": "string"}},
}
TASK = TaskInfo("images.generate", input_schema=SCHEMA)


def test_fields_that_the_task_has_parameters_for_go_along() -> None:
    body = {"prompt": "a", "steps": 3, "guidance": None, "user": "ann", "tiled": False}
    assert extras(TASK, body, ("prompt",)) == {"steps": 3, "tiled": False}
    assert (knows(TASK, "steps"), knows(TASK, "user")) == (True, False)


@pytest.mark.parametrize("schema", [{}, {"properties": []}, {"properties": None}])
def test_a_task_without_a_schema_knows_nothing(schema: Any) -> None:
    assert extras(TaskInfo("x.y", input_schema=schema), {"a": 1}, ()) == {}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps", "12", 12),
        ("steps", "a dozen", "a dozen"),
        ("guidance", "3.5", 3.5),
        ("guidance", "NaN", "NaN"),
        ("guidance", "1e999", "1e999"),
        ("tiled", "true", True),
        ("tiled", "False", False),
        ("tiled", "perhaps", "perhaps"),
        ("prompt", "12", "12"),
        ("unknown", "12", "12"),
        ("steps", 4, 4),
    ],
)
def test_the_texts_of_a_form_become_what_the_schema_wants(name: str, text: Any, value: Any) -> None:
    assert typed(TASK, {name: text}) == {name: value}


def test_the_words_that_a_parameter_takes() -> None:
    assert choices(TASK, "format") == ["wav", "pcm"]
    assert choices(TASK, "mode") == ["fast", "slow", "slower"]
    assert choices(TASK, "pace") == ["slow", "fast"]
    assert choices(TASK, "prompt") == choices(TASK, "unknown") == []


def test_a_wrong_parameter_is_named() -> None:
    error = wrong("size", "is too large")
    assert (error.message, error.data["fields"][0]["path"]) == ("size: is too large", "size")
