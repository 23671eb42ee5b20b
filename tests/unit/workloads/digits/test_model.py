"""The model's face: its tasks, what their schemas accept, and how it loads."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.workloads.contexts import RememberingLoad

from glowplug.errors import InvalidInput, MissingExtra, SettingsError
from glowplug.load_context import LoadContext
from glowplug.model import RunContext
from glowplug.process.files import Files
from glowplug.process.schema import TaskSchema, task_schemas
from glowplug.workloads.digits.model import Digits
from glowplug.workloads.digits.values import Sampling

TRAINING = ("conversion", "data", "trainer", "training", "unet")


@pytest.fixture(scope="module")
def schemas() -> dict[str, TaskSchema]:
    return task_schemas(Digits)


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for part in TRAINING:
        monkeypatch.delitem(sys.modules, f"glowplug.workloads.digits.{part}", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    yield
    for part in TRAINING:
        sys.modules.pop(f"glowplug.workloads.digits.{part}", None)


def read(schema: TaskSchema, tmp_path: Path, **values: Any) -> dict[str, Any]:
    return schema.read(json.dumps(values).encode(), Files({}, lambda: tmp_path))


def test_the_tasks_come_in_the_order_of_their_use() -> None:
    assert list(Digits.tasks()) == ["digits.generate", "digits.classify", "digits.train", "digits.convert"]


def test_every_task_says_in_a_line_what_it_does() -> None:
    assert all(20 < len(spec.summary) < 120 for spec in Digits.tasks().values())


def test_examples_are_run_as_warm_up_except_the_long_ones() -> None:
    warm = {spec.method: spec.options.warm_up for spec in Digits.tasks().values() if spec.options.example is not None}
    assert warm == {"generate": True, "classify": True, "train": False}


def test_every_example_fits_its_schema_and_runs(schemas: dict[str, TaskSchema], digits: Digits, tmp_path: Path) -> None:
    for schema in schemas.values():
        if schema.spec.options.example is None:
            continue
        values = read(schema, tmp_path, **schema.spec.options.example)
        if schema.spec.options.warm_up:
            getattr(digits, schema.spec.method)(RunContext(tmp_path), **values)


def test_a_prompt_alone_is_enough(schemas: dict[str, TaskSchema], tmp_path: Path) -> None:
    values = read(schemas["digits.generate"], tmp_path, prompt="seven")
    assert values == {
        "prompt": "seven",
        "count": 1,
        "seed": None,
        "scale": 12,
        "sampling": Sampling(20, 2.0),
        "weights": None,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": ""},
        {"prompt": "7" * 201},
        {"prompt": 7},
        {"count": 0},
        {"count": 65},
        {"count": 1.5},
        {"seed": -1},
        {"seed": 2**53},
        {"scale": 0},
        {"scale": 33},
        {"sampling": {"steps": 0}},
        {"sampling": {"steps": 101}},
        {"sampling": {"guidance": -1}},
        {"sampling": {"guidance": 11}},
        {"sampling": {"guidance": "much"}},
        {"sampling": {"speed": 3}},
        {"weights": 7},
        {"colour": "red"},
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_refused_before_it_is_tried(
    schemas: dict[str, TaskSchema], tmp_path: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(schemas["digits.generate"], tmp_path, **({"prompt": "seven"} | wrong))
    assert next(iter(wrong)) in caught.value.message


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch": 0}, {"learning_rate": 0}, {"learning_rate": 1}, {"pictures": 0}, {"seed": -1}],
    ids=str,
)
def test_a_training_that_cannot_be_is_refused_before_it_begins(
    schemas: dict[str, TaskSchema], tmp_path: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        read(schemas["digits.train"], tmp_path, **wrong)


def test_only_onnx_is_converted_to(schemas: dict[str, TaskSchema], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="format"):
        read(schemas["digits.convert"], tmp_path, weights="data:,x", format="tflite")


def test_the_schemas_tell_a_form_what_it_needs(schemas: dict[str, TaskSchema]) -> None:
    generate = schemas["digits.generate"].input_schema
    assert generate["required"] == ["prompt"]
    assert generate["properties"]["count"] == {"default": 1, "maximum": 64, "minimum": 1, "type": "integer"}
    assert schemas["digits.classify"].input_schema["properties"]["image"]["contentMediaType"] == "image/*"
    assert set(schemas["digits.generate"].output_schema["properties"]) == {
        "images",
        "sheet",
        "seed",
        "prompt",
        "label",
    }


def test_loading_names_its_stages() -> None:
    ctx = RememberingLoad()
    Digits().load(ctx)
    assert ctx.stages == ["read", "build"]


@pytest.mark.parametrize("threads", ["two", "-1", "1.5", ""])
def test_a_wrong_option_is_refused_at_the_load(threads: str) -> None:
    with pytest.raises(SettingsError, match="option threads="):
        Digits().load(LoadContext(options={"threads": threads}))


@pytest.mark.usefixtures("without_torch")
def test_training_without_torch_names_the_install_command(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra) as caught:
        Digits().train(RunContext(tmp_path))
    assert caught.value.message == "digits.train needs an extra: pip install 'glowplug[digits-train]'"


@pytest.mark.usefixtures("without_torch")
def test_converting_without_torch_names_the_install_command(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r"digits\.convert needs an extra"):
        Digits().convert(RunContext(tmp_path), tmp_path / "weights.safetensors")


@pytest.mark.usefixtures("without_torch")
def test_drawing_and_reading_need_no_torch(tmp_path: Path) -> None:
    model = Digits()
    model.load(LoadContext())
    assert model.generate(RunContext(tmp_path), "seven", sampling=Sampling(steps=1)).label == "7"
