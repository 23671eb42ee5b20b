"""Signatures become schemas, and input goes through them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field

from glowplug import Artifact, Batch, File, Image, InvalidInput, Model, RunContext, task
from glowplug.errors import SettingsError
from glowplug.job import Budget
from glowplug.model import TaskOptions
from glowplug.process.schema import TaskSchema, model_info, task_schemas


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


@dataclass
class Point:
    x: float
    y: float = 0.0


class Style(BaseModel):
    name: str
    strength: float = Field(0.5, ge=0, le=1)


class Opener:
    """Says what it was asked to open."""

    def open_file(self, value: object, kind: str) -> object:
        if value == "broken":
            raise ValueError("the file is broken")
        return f"{kind}:{value}"


class Kitchen(Model):
    version = "7"

    @task(example={"text": "x"}, timeout_seconds=9, short=True, on_new_version="refuse")
    def simple(self, ctx: RunContext, text: str, times: int = 1, mood: Mood = Mood.GOOD) -> str:
        """Do something simple.

        In detail.
        """
        return text

    @task
    def bounds(
        self,
        ctx: RunContext,
        steps: Annotated[int, Field(ge=1, le=50, description="how many")] = 4,
        size: Literal["small", "large"] = "small",
        seed: int | None = None,
    ) -> dict[str, float]:
        return {}

    @task
    def nested(self, ctx: RunContext, point: Point, styles: list[Style], pair: tuple[int, int] = (1, 2)) -> Point:
        return point

    @task
    def files(self, ctx: RunContext, image: Image, file: File, more: dict[str, list[Image]] | None = None) -> Artifact:
        raise AssertionError

    @task
    def awkward(
        self, ctx: RunContext, json: str, copy: int, model_dump: bool, self_: str = "", schema: str = ""
    ) -> Any:
        return None

    @task(batch=8)
    def batched(self, ctx: RunContext, text: Batch[str], mark: str = "!") -> list[str]:
        return text

    @task(batch=8)
    def all_lists(self, ctx: RunContext, text: str, mark: str = "!") -> str:
        raise AssertionError

    @task
    def stream(self, ctx: RunContext, number: int, *, fast: bool = False) -> Iterator[int]:
        yield number

    @task
    def several(self, ctx: RunContext) -> list[Artifact]:
        return []

    @task
    def untyped(self, ctx, anything):  # type: ignore[no-untyped-def]
        return anything


SCHEMAS = task_schemas(Kitchen)


def schema(name: str) -> TaskSchema:
    return SCHEMAS[f"kitchen.{name}"]


def read(name: str, **values: Any) -> dict[str, Any]:
    return schema(name).read(json.dumps(values).encode(), Opener())


def refused(name: str, **values: Any) -> list[dict[str, str]]:
    with pytest.raises(InvalidInput) as error:
        read(name, **values)
    fields: list[dict[str, str]] = error.value.data["fields"]
    return fields


def test_defaults_are_filled_in_and_types_are_made() -> None:
    assert read("simple", text="x") == {"text": "x", "times": 1, "mood": Mood.GOOD}
    assert read("simple", text="x", mood="bad")["mood"] is Mood.BAD


def test_a_schema_lists_parameters_defaults_and_what_is_required() -> None:
    described = schema("simple").input_schema
    assert described["required"] == ["text"]
    assert described["properties"]["times"] == {"type": "integer", "default": 1}
    assert described["additionalProperties"] is False


def test_bounds_choices_and_descriptions_are_described_and_held() -> None:
    described = schema("bounds").input_schema["properties"]
    assert described["steps"] == {
        "type": "integer",
        "default": 4,
        "minimum": 1,
        "maximum": 50,
        "description": "how many",
    }
    assert described["size"]["enum"] == ["small", "large"]
    assert [field["path"] for field in refused("bounds", steps=0, size="huge", seed="x")] == ["steps", "size", "seed"]


def test_nested_values_are_made_and_their_errors_say_where() -> None:
    made = read("nested", point={"x": 1}, styles=[{"name": "oil"}])
    assert made["point"] == Point(1.0, 0.0)
    assert made["styles"] == [Style(name="oil", strength=0.5)]
    assert made["pair"] == (1, 2)
    [field] = refused("nested", point={"x": 1}, styles=[{"name": "oil", "strength": 2}])
    assert field["path"] == "styles.0.strength"


def test_files_are_opened_wherever_they_are() -> None:
    made = read("files", image="a", file="b", more={"c": ["d"]})
    assert made == {"image": "image:a", "file": "file:b", "more": {"c": ["image:d"]}}
    assert refused("files", image="broken", file="b") == [{"path": "image", "message": "the file is broken"}]


def test_files_are_described_as_references() -> None:
    described = schema("files").input_schema["properties"]
    assert described["image"] == {"type": "string", "format": "artifact", "contentMediaType": "image/*"}
    assert described["file"]["contentMediaType"] == "application/octet-stream"
    assert schema("files").output_schema == {"type": "string", "format": "artifact"}
    assert schema("several").output_schema["items"] == {"type": "string", "format": "artifact"}


def test_parameters_may_have_names_that_pydantic_uses_itself() -> None:
    assert read("awkward", json="a", copy=1, model_dump=True) == {
        "json": "a",
        "copy": 1,
        "model_dump": True,
        "self_": "",
        "schema": "",
    }
    assert [field["path"] for field in refused("awkward", json="a", copy="x", model_dump=True)] == ["copy"]


def test_a_batched_parameter_is_one_value_for_the_caller() -> None:
    batched = schema("batched")
    assert batched.input_schema["properties"]["text"] == {"type": "string"}
    assert batched.lists == {"text"}
    assert batched.output_schema == {"type": "string"}


def test_without_batched_parameters_a_batched_task_gets_lists_for_all() -> None:
    assert schema("all_lists").lists == {"text", "mark"}
    assert schema("all_lists").output_schema == {"type": "string"}


def test_a_stream_is_described_by_one_of_its_values() -> None:
    assert schema("stream").output_schema == {"type": "integer"}
    assert schema("stream").info.streams


def test_what_has_no_type_may_be_anything() -> None:
    assert read("untyped", anything=[1, {"a": None}]) == {"anything": [1, {"a": None}]}


def test_an_unknown_parameter_is_refused_by_name() -> None:
    assert [field["path"] for field in refused("simple", text="x", txet="y")] == ["txet"]


@pytest.mark.parametrize("body", [b"[]", b"null", b"{", b'{"text": "x"} trailing', b'{"text": NaN}', b"\xff"])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"^kitchen\.simple: "):
        schema("simple").read(body, Opener())


def test_no_body_is_an_empty_object() -> None:
    assert schema("several").read(b"", Opener()) == {}


def test_a_very_deep_input_is_refused() -> None:
    body = b'{"anything": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(InvalidInput):
        schema("untyped").read(body, Opener())


def test_messages_are_bounded() -> None:
    fields = refused("simple", **{f"unknown_{number}": 1 for number in range(100)}, text="x")
    assert len(fields) == 100
    with pytest.raises(InvalidInput) as error:
        read("simple", text=5, **{f"unknown_{number}": 1 for number in range(100)})
    assert len(error.value.message) < 500


@pytest.mark.parametrize("name", [name.removeprefix("kitchen.") for name in SCHEMAS])
def test_every_schema_is_a_valid_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name).input_schema)
    jsonschema.Draft202012Validator.check_schema(schema(name).output_schema)


def test_the_house_hears_of_a_model_with_its_tasks_and_their_options() -> None:
    info = model_info(Kitchen, SCHEMAS)
    assert (info.name, info.version, len(info.tasks)) == ("kitchen", "7", 10)
    simple = info.tasks[0]
    assert (simple.summary, simple.short, simple.timeout_seconds) == ("Do something simple.", True, 9)
    assert (simple.example, simple.on_new_version) == ({"text": "x"}, "refuse")


def test_the_house_hears_of_a_tasks_whole_budget() -> None:
    budget = Budget(errors=5, crashes=2, retry_base_seconds=0.5, retry_cap_seconds=9.0)

    class Patient(Model):
        @task(budget=budget)
        def go(self, ctx: RunContext) -> None:
            """Go."""

    (info,) = model_info(Patient, task_schemas(Patient)).tasks
    assert Budget(info.errors, info.crashes, info.retry_base_seconds, info.retry_cap_seconds) == budget


def made(function: Any, **options: Any) -> type[Model]:
    function.__glowplug_task__ = TaskOptions(**options)
    return type("Made", (Model,), {"go": function})


def no_context(self: Any) -> None: ...
def packed_away(self: Any, ctx: Any, **values: Any) -> None: ...
def positional(self: Any, ctx: Any, value: int, /) -> None: ...
async def coroutine(self: Any, ctx: Any) -> None: ...
def unknown_type(self: Any, ctx: Any, value: NotThere) -> None: ...  # type: ignore[name-defined] # noqa: F821
def opaque_type(self: Any, ctx: Any, value: Opener) -> None: ...


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_context, "write it as `def go"),
        (packed_away, "write it as `def go"),
        (positional, "write it as `def go"),
        (coroutine, "plain `def`"),
        (unknown_type, "an annotation cannot be read: name 'NotThere' is not defined"),
        (opaque_type, "cannot describe its parameters"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_signature_that_cannot_be_served_is_refused_by_name(function: Any, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        task_schemas(made(function))
    assert error.value.message.startswith("@task made.go: ")
    assert said in error.value.message
    assert "\n" not in error.value.message
