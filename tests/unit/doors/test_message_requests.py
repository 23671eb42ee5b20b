"""What may come in by message: the contract's bodies, with their defaults, and no garbage ever."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.doors.message_requests import BODIES, Kind, Request, file_reference, folder_reference, read_request
from glowplug.errors import InvalidInput, TooLarge

LIMIT = 10_000
TRAIN: dict[str, Any] = {
    "job_id": "abc12345",
    "dataset": {"s3_prefix": "datasets/my-dataset/", "name": "my-dataset"},
    "output": {"prefix": "models/yolov8n", "model_name": "my-dataset.pt"},
    "hyperparams": {"model": "yolov8n", "epochs": 100, "batch": 16, "imgsz": 640},
}
CONVERT: dict[str, Any] = {
    "job_id": "abc12345",
    "model_path": "uploads/models/best.pt",
    "output": {"prefix": "models", "model_name": "best.onnx"},
}
INFER: dict[str, Any] = {
    "job_id": "abc12345",
    "model_path": "models/best.onnx",
    "images": ["images/a.png", "https://example.com/b.png?x=1"],
    "output": {"prefix": "found"},
}
SAMPLES = {Kind.TRAIN: TRAIN, Kind.CONVERT: CONVERT, Kind.INFER: INFER}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def read(kind: Kind, body: Any) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_request(kind, raw, LIMIT)


def without(body: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the body without the field at `path`."""
    head, _, rest = path.partition(".")
    if rest:
        return {**body, head: without(body[head], rest)}
    return {name: value for name, value in body.items() if name != head}


def changed(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return the body with another value at `path`."""
    head, _, rest = path.partition(".")
    return {**body, head: changed(body[head], rest, value) if rest else value}


def test_the_training_request_of_the_document_is_taken_as_it_is() -> None:
    request = read(Kind.TRAIN, TRAIN)
    assert request.job_id == "abc12345"
    assert request.key == "train:abc12345"
    wanted = without(TRAIN, "job_id")
    assert request.input == changed(wanted, "dataset.s3_prefix", "artifact:datasets/my-dataset/")
    assert request.ignored == ()


def test_hyperparams_that_are_not_said_have_the_defaults_of_the_contract() -> None:
    expected = {"model": "small", "epochs": 100, "batch": 16, "imgsz": 640}
    assert read(Kind.TRAIN, without(TRAIN, "hyperparams")).input["hyperparams"] == expected
    assert read(Kind.TRAIN, {**TRAIN, "hyperparams": {"epochs": 3}}).input["hyperparams"] == {**expected, "epochs": 3}


def test_a_conversion_is_to_onnx_unless_it_says_otherwise() -> None:
    assert read(Kind.CONVERT, CONVERT).input["format"] == "onnx"
    assert read(Kind.CONVERT, {**CONVERT, "format": "tflite"}).input["format"] == "tflite"


def test_inference_has_its_defaults_and_takes_keys_and_addresses() -> None:
    request = read(Kind.INFER, INFER)
    # The size is the model's own, which the door does not know.
    assert request.input["params"] == {"conf": 0.25}
    assert read(Kind.INFER, {**INFER, "params": {"imgsz": 320}}).input["params"] == {"conf": 0.25, "imgsz": 320}
    assert request.input["images"] == ["artifact:images/a.png", "https://example.com/b.png?x=1"]


def test_further_hyperparams_are_the_tasks_own_affair() -> None:
    more = {**TRAIN["hyperparams"], "optimizer": "AdamW", "augment": {"flip": 0.5}}
    request = read(Kind.TRAIN, {**TRAIN, "hyperparams": more})
    assert request.input["hyperparams"] == more
    assert request.ignored == ()
    assert read(Kind.INFER, {**INFER, "params": {"iou": 0.7}}).input["params"]["iou"] == 0.7


def test_fields_that_nobody_knows_are_left_out_and_named() -> None:
    body = {**TRAIN, "user": 7, "dataset": {**TRAIN["dataset"], "size": 12}, "sent_at": "now"}
    request = read(Kind.TRAIN, body)
    assert request.input == read(Kind.TRAIN, TRAIN).input
    assert request.ignored == ("dataset.size", "sent_at", "user")


def test_a_repeat_with_another_timestamp_is_the_same_request() -> None:
    assert read(Kind.TRAIN, {**TRAIN, "sent_at": 1}).input == read(Kind.TRAIN, {**TRAIN, "sent_at": 2}).input


def test_every_key_of_the_store_becomes_a_reference() -> None:
    body = {**INFER, "model_path": "jobs/0a/1/best.onnx", "images": ["inputs/ff/a.png", "bucket/b.png"]}
    found = read(Kind.INFER, body).input
    assert found["model_path"] == "artifact:jobs/0a/1/best.onnx"
    assert found["images"] == ["artifact:inputs/ff/a.png", "artifact:bucket/b.png"]
    # Also one that is a reference already, as results over HTTP have them.
    again = read(Kind.CONVERT, {**CONVERT, "model_path": "artifact:jobs/a/1/b"}).input
    assert again["model_path"] == file_reference("jobs/a/1/b") == "artifact:jobs/a/1/b"


@pytest.mark.parametrize("said", ["datasets/cats", "datasets/cats/", "artifact:datasets/cats/"])
def test_a_data_set_is_a_folder_with_or_without_a_slash(said: str) -> None:
    dataset = read(Kind.TRAIN, changed(TRAIN, "dataset.s3_prefix", said)).input["dataset"]
    assert dataset == {"s3_prefix": folder_reference(said), "name": "my-dataset"}
    assert dataset["s3_prefix"] == "artifact:datasets/cats/"


@pytest.mark.parametrize("prefix", ["jobs", "jobs/0a/1", "inputs/", "calls/x", "uploads/x/"])
def test_nobody_has_results_laid_where_the_platform_keeps_its_own(prefix: str) -> None:
    with pytest.raises(InvalidInput, match="a folder that Glowplug keeps"):
        read(Kind.INFER, changed(INFER, "output.prefix", prefix))
    assert read(Kind.INFER, changed(INFER, "output.prefix", "jobs-of-mine")).input["output"]


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        *((Kind.TRAIN, path) for path in ("job_id", "dataset", "dataset.s3_prefix", "dataset.name", "output")),
        *((Kind.TRAIN, path) for path in ("output.prefix", "output.model_name")),
        *((Kind.CONVERT, path) for path in ("job_id", "model_path", "output", "output.model_name")),
        *((Kind.INFER, path) for path in ("job_id", "model_path", "images", "output", "output.prefix")),
    ],
)
def test_a_missing_field_is_named(kind: Kind, path: str) -> None:
    with pytest.raises(InvalidInput, match=f"required field `{path.rpartition('.')[2]}`"):
        read(kind, without(SAMPLES[kind], path))


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        (Kind.TRAIN, "job_id", 7),
        (Kind.TRAIN, "job_id", ""),
        (Kind.TRAIN, "job_id", "x" * 151),
        (Kind.TRAIN, "job_id", "a\nb"),
        (Kind.TRAIN, "hyperparams.epochs", 0),
        (Kind.TRAIN, "hyperparams.epochs", "ten"),
        (Kind.TRAIN, "hyperparams.epochs", 1.5),
        (Kind.TRAIN, "hyperparams.imgsz", -640),
        (Kind.TRAIN, "hyperparams", None),
        (Kind.TRAIN, "hyperparams.seed", 2**64),
        (Kind.TRAIN, "dataset.s3_prefix", "../../etc/"),
        (Kind.TRAIN, "dataset.s3_prefix", "/etc/"),
        (Kind.TRAIN, "dataset.s3_prefix", "s3://bucket/datasets/"),
        (Kind.TRAIN, "dataset.s3_prefix", "/"),
        (Kind.TRAIN, "dataset.s3_prefix", "artifact:"),
        (Kind.TRAIN, "dataset.s3_prefix", "x" * 600),
        (Kind.TRAIN, "dataset.name", "a\0b"),
        (Kind.TRAIN, "output.model_name", "bést.pt"),
        (Kind.TRAIN, "output.prefix", "models//x"),
        (Kind.TRAIN, "output.model_name", "../best.pt"),
        (Kind.TRAIN, "output.model_name", ".."),
        (Kind.CONVERT, "model_path", "folder/"),
        (Kind.CONVERT, "model_path", "jobs/../x"),
        (Kind.CONVERT, "model_path", "artifact:/etc/passwd"),
        (Kind.CONVERT, "model_path", "jobs/a b?/1/x"),
        (Kind.CONVERT, "format", ""),
        (Kind.INFER, "images", []),
        (Kind.INFER, "images", "a.png"),
        (Kind.INFER, "images", ["file:///etc/passwd"]),
        (Kind.INFER, "images", ["https://example.com/a b"]),
        (Kind.INFER, "params", {"conf": 1.5}),
    ],
)
def test_a_wrong_value_is_refused(kind: Kind, path: str, value: Any) -> None:
    with pytest.raises(InvalidInput):
        read(kind, changed(SAMPLES[kind], path, value))


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"\xff\xfe", b'"\xff"', b"[]", b"null", b'"text"', b"NaN", b'"\\ud800"', b"1e999"]
)
@pytest.mark.parametrize("kind", Kind)
def test_what_is_no_json_object_is_refused(kind: Kind, body: bytes) -> None:
    with pytest.raises(InvalidInput):
        read(kind, body)


def test_deep_nesting_is_refused_and_breaks_nothing() -> None:
    deep = json.dumps({**TRAIN, "hyperparams": {"x": None}}).replace("null", "[" * 500 + "]" * 500)
    with pytest.raises(InvalidInput, match="levels deep"):
        read(Kind.TRAIN, deep.encode())
    with pytest.raises(InvalidInput):
        read_request(Kind.TRAIN, b"[" * 1_000_000, 2_000_000)


def test_an_oversize_message_is_not_even_read() -> None:
    with pytest.raises(TooLarge, match="10001 bytes, more than 10000"):
        read(Kind.TRAIN, b" " * (LIMIT + 1))


@given(st.sampled_from(list(Kind)), st.binary(max_size=200))
def test_garbage_is_refused_and_never_more(kind: Kind, body: bytes) -> None:
    with pytest.raises(InvalidInput):
        read(kind, body)


@given(st.sampled_from(list(Kind)), st.data())
def test_a_request_with_any_value_anywhere_is_read_or_refused(kind: Kind, data: st.DataObject) -> None:
    sample = SAMPLES[kind]
    name = data.draw(st.sampled_from([*sample, "hyperparams", "params", "more"]))
    body = json.dumps({**sample, name: data.draw(JSON_VALUES)}, ensure_ascii=False).encode(errors="replace")
    try:
        request = read_request(kind, body, LIMIT)
    except (InvalidInput, TooLarge):
        return
    assert request.job_id
    assert "job_id" not in request.input
    assert set(request.input) == {one for one in BODIES[kind].__struct_fields__ if one != "job_id"}
    json.dumps(request.input, allow_nan=False)
