"""Orders as the platform sees them: flat parameters with their limits, examples that are valid."""

from __future__ import annotations

import base64
import inspect
import json
import struct
import zlib
from typing import Any

import pytest

from glowplug.errors import InvalidInput
from glowplug.model import RunContext
from glowplug.process.files import Files
from glowplug.process.schema import TaskSchema, task_schemas
from glowplug.workloads.diffusion.model import Images
from glowplug.workloads.diffusion.order import LARGEST_SEED, LONGEST_PROMPT, EditOrder, Order, Pictures, spread

SCHEMAS = task_schemas(Images)
COMMON = {
    "prompt",
    "negative_prompt",
    "count",
    "width",
    "height",
    "seed",
    "steps",
    "guidance",
    "format",
    "metadata",
}


def read(task: str, **values: Any) -> dict[str, Any]:
    return schema(task).read(json.dumps(values).encode(), Files({}, _no_scratch))


def schema(task: str) -> TaskSchema:
    return SCHEMAS[f"images.{task}"]


def _no_scratch() -> Any:
    raise AssertionError("nothing is written")


@pytest.mark.parametrize(
    ("task", "more", "required"),
    [
        ("generate", set(), ["prompt"]),
        ("edit", {"image", "strength"}, ["prompt", "image"]),
        ("inpaint", {"image", "mask", "strength"}, ["prompt", "image", "mask"]),
    ],
)
def test_a_task_takes_the_fields_of_its_order(task: str, more: set[str], required: list[str]) -> None:
    assert set(schema(task).input_schema["properties"]) == COMMON | more
    assert schema(task).input_schema["required"] == required
    assert set(schema(task).output_schema["properties"]) == set(Pictures.__dataclass_fields__)


@pytest.mark.parametrize("task", ["generate", "edit", "inpaint"])
def test_the_example_of_a_task_is_a_valid_order(task: str) -> None:
    example = schema(task).spec.options.example
    assert example is not None
    assert read(task, **example)["prompt"] == example["prompt"]


def test_the_tasks_serve_what_other_protocols_ask_for() -> None:
    served = [one.spec.options.serves for one in SCHEMAS.values()]
    assert served == ["images/generations", "images/edits", "images/inpaints"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ""),
        ("prompt", "x" * (LONGEST_PROMPT + 1)),
        ("negative_prompt", "x" * (LONGEST_PROMPT + 1)),
        ("count", 0),
        ("count", 33),
        ("width", 4),
        ("height", 100_000),
        ("seed", -1),
        ("seed", LARGEST_SEED + 1),
        ("steps", 0),
        ("steps", 501),
        ("guidance", -1),
        ("guidance", "much"),
        ("format", "gif"),
        ("strenght", 1),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        read("generate", **{"prompt": "a bird", field: value})
    assert [place["path"] for place in refused.value.data["fields"]] == [field]


@pytest.mark.parametrize("strength", [0, 1.01])
def test_strength_lies_above_zero_and_up_to_one(strength: float) -> None:
    picture = schema("edit").spec.options.example or {}
    with pytest.raises(InvalidInput, match="strength"):
        read("edit", **{**picture, "strength": strength})


@pytest.mark.parametrize("name", ["image", "mask"])
def test_a_picture_of_a_hundred_megapixels_is_refused_by_name(name: str) -> None:
    header = struct.pack(">II5B", 12_000, 9_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    example = schema("inpaint").spec.options.example or {}
    with pytest.raises(InvalidInput, match="pixels") as refused:
        read("inpaint", **{**example, name: "data:image/png;base64," + base64.b64encode(png).decode()})
    assert [place["path"] for place in refused.value.data["fields"]] == [name]


class Echo:
    @spread(EditOrder)
    def edit(self, ctx: RunContext, order: EditOrder) -> str:
        """Say what was ordered."""
        return f"{order.prompt} {order.image} {order.strength} {order.count}"


def test_the_fields_of_an_order_are_given_by_name() -> None:
    assert Echo().edit(RunContext(), prompt="in autumn", image="i", count=2) == "in autumn i 0.6 2"
    assert list(inspect.signature(Echo().edit).parameters)[:3] == ["ctx", "prompt", "image"]
    assert inspect.getdoc(Echo.edit) == "Say what was ordered."
    with pytest.raises(TypeError, match="colour"):
        Echo().edit(RunContext(), prompt="in autumn", image="i", colour="red")


def test_an_order_by_itself_leaves_the_rest_to_the_model() -> None:
    order = Order(prompt="a bird")
    assert (order.count, order.seed, order.steps, order.guidance, order.format) == (1, None, None, None, "png")
