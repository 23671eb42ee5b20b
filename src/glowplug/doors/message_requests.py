"""What backends ask for by message: the bodies of the requests, checked, and the job that each one stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from glowplug.artifact import KEPT_FOLDERS, SCHEME, checked_key
from glowplug.errors import InvalidInput, TooLarge

MOST_IGNORED_SHOWN = 10
MOST_DEPTH = 64
MOST_NUMBER = 2**63 - 1
_SHOWN_CHARACTERS = 80
_URL = re.compile(r"https?://[^\s\x00-\x1f]+")

Text = Annotated[str, Meta(min_length=1, max_length=256)]
Key = Annotated[str, Meta(min_length=1, max_length=1024)]
Pixels = Annotated[int, Meta(ge=1, le=65_536)]


class Kind(StrEnum):
    """What a request asks for."""

    TRAIN = "train"
    CONVERT = "convert"
    INFER = "infer"


class Dataset(Struct, frozen=True):
    """Where the pictures and labels are: a folder in the artifact store."""

    s3_prefix: Key
    name: Text


class ModelOutput(Struct, frozen=True):
    """Where a model is to lie in the artifact store, and its file name."""

    prefix: Key
    model_name: Text


class ImageOutput(Struct, frozen=True):
    """Where in the artifact store is to lie what is made of the images."""

    prefix: Key


class Hyperparams(Struct, frozen=True):
    """How to train. Whatever else is in it is handed to the task as it is."""

    model: Text = "small"
    epochs: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    batch: Annotated[int, Meta(ge=-1, le=1_000_000)] = 16
    imgsz: Pixels = 640


class InferParams(Struct, frozen=True):
    """How to look for things; without `imgsz`, at the size that the model was trained for.

    Whatever else is in it is handed to the task as it is.
    """

    conf: Annotated[float, Meta(ge=0, le=1)] = 0.25
    imgsz: Pixels | UnsetType = UNSET


class Body(Struct, frozen=True, kw_only=True):
    """What every request has: the caller's name of the job, unique within its kind."""

    open_fields: ClassVar[tuple[str, ...]] = ()
    job_id: Annotated[str, Meta(min_length=1, max_length=150)]


class TrainBody(Body, frozen=True, kw_only=True):
    """A request to train a model."""

    open_fields: ClassVar[tuple[str, ...]] = ("hyperparams",)
    dataset: Dataset
    output: ModelOutput
    hyperparams: Hyperparams = field(default_factory=Hyperparams)


class ConvertBody(Body, frozen=True, kw_only=True):
    """A request to bring a model into another format."""

    model_path: Key
    output: ModelOutput
    format: Text = "onnx"


class InferBody(Body, frozen=True, kw_only=True):
    """A request to look for things in images: keys or URLs."""

    open_fields: ClassVar[tuple[str, ...]] = ("params",)
    model_path: Key
    images: Annotated[list[Key], Meta(min_length=1, max_length=10_000)]
    output: ImageOutput
    params: InferParams = field(default_factory=InferParams)


BODIES: Mapping[Kind, type[Body]] = {Kind.TRAIN: TrainBody, Kind.CONVERT: ConvertBody, Kind.INFER: InferBody}


@dataclass(frozen=True, slots=True)
class Request:
    """A request that may be queued. `ignored` names the fields that nobody here knows."""

    kind: Kind
    job_id: str
    input: Mapping[str, Any]
    ignored: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Return the idempotency key: the caller's name of the job counts within its kind."""
        return f"{self.kind}:{self.job_id}"


def read_request(kind: Kind, body: bytes, limit_bytes: int) -> Request:
    """Return the request that a message holds.

    Raises:
        TooLarge: it has more than `limit_bytes`.
        InvalidInput: it is no JSON object, or a field is missing or wrong.
    """
    if len(body) > limit_bytes:
        raise TooLarge(f"the message has {len(body)} bytes, more than {limit_bytes}", limit_bytes=limit_bytes)
    raw = _object(body)
    shape = BODIES[kind]
    try:
        checked = msgspec.convert(raw, shape)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"no {kind} request: {error}") from error
    _check(checked)
    ignored = tuple(sorted(_unknown(raw, shape)))
    return Request(kind, checked.job_id, _input(checked, raw), ignored)


def file_reference(key: str) -> str:
    """Return the reference by which a task gets the file under a key."""
    return SCHEME + key.removeprefix(SCHEME)


def folder_reference(key: str) -> str:
    """Return the reference by which a task gets all that lies below a key, with or without a slash at its end."""
    return f"{file_reference(key).removesuffix('/')}/"


def _object(body: bytes) -> dict[str, Any]:
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the message is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InvalidInput(f"the message is a JSON {type(raw).__name__}, not an object")
    _check_values(raw)
    return raw


def _check_values(raw: dict[str, Any]) -> None:
    stack: list[tuple[Any, int]] = [(raw, 1)]
    while stack:
        value, depth = stack.pop()
        if depth > MOST_DEPTH:
            raise InvalidInput(f"the message is nested more than {MOST_DEPTH} levels deep")
        if isinstance(value, str) and "\0" in value:
            raise InvalidInput("a text in the message holds a NUL character, which databases do not take")
        if isinstance(value, int) and abs(value) > MOST_NUMBER:
            raise InvalidInput("a number in the message has more than 64 bits")
        if isinstance(value, dict):
            stack.extend((item, depth + 1) for pair in value.items() for item in pair)
        elif isinstance(value, list):
            stack.extend((item, depth + 1) for item in value)


def _check(body: Body) -> None:
    if not body.job_id.isprintable():
        raise InvalidInput("job_id holds characters that cannot be shown")
    match body:
        case TrainBody():
            _check_folder("dataset.s3_prefix", body.dataset.s3_prefix.removeprefix(SCHEME))
            _check_output(body.output)
        case ConvertBody():
            _check_file("model_path", body.model_path)
            _check_output(body.output)
        case InferBody():
            _check_file("model_path", body.model_path)
            _check_place("output.prefix", body.output.prefix)
            for number, image in enumerate(body.images):
                _check_image(f"images.{number}", image)


def _check_output(output: ModelOutput) -> None:
    _check_place("output.prefix", output.prefix)
    if "/" in output.model_name:
        raise InvalidInput("output.model_name is a plain file name, without folders")
    _check_key("output.model_name", output.model_name)


def _check_place(path: str, key: str) -> None:
    _check_folder(path, key)
    if key.partition("/")[0] in KEPT_FOLDERS:
        raise InvalidInput(
            f"{path} is in a folder that Glowplug keeps: {key[:_SHOWN_CHARACTERS]!r}; choose another one"
        )


def _check_image(path: str, image: str) -> None:
    if not _URL.fullmatch(image):
        _check_file(path, image)


def _check_file(path: str, key: str) -> None:
    if key.endswith("/"):
        raise InvalidInput(f"{path} names a folder, not a file: {key[:_SHOWN_CHARACTERS]!r}")
    _check_key(path, key.removeprefix(SCHEME))


def _check_folder(path: str, key: str) -> None:
    _check_key(path, key.removesuffix("/"))


def _check_key(path: str, key: str) -> None:
    try:
        checked_key(key)
    except InvalidInput as error:
        raise InvalidInput(
            f"{path} is not a key: {key[:_SHOWN_CHARACTERS]!r}; write it as in the bucket, such as folder/name, "
            "without s3:// and '..', with letters, digits, spaces and . _ + @ = -, 128 of them between slashes at most"
        ) from error


def _input(body: Body, raw: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(body)
    del made["job_id"]
    for name in body.open_fields:
        made[name] = {**raw.get(name, {}), **made[name]}
    if isinstance(body, TrainBody):
        made["dataset"]["s3_prefix"] = folder_reference(body.dataset.s3_prefix)
    if isinstance(body, ConvertBody | InferBody):
        made["model_path"] = file_reference(body.model_path)
    if isinstance(body, InferBody):
        made["images"] = [one if _URL.fullmatch(one) else file_reference(one) for one in body.images]
    return made


def _unknown(raw: Mapping[str, Any], shape: type[Struct], path: str = "") -> list[str]:
    """Name the fields that are left out, by their path, without those of the open fields."""
    known = {one.name: one.type for one in msgspec.structs.fields(shape)}
    open_fields: tuple[str, ...] = getattr(shape, "open_fields", ())
    found: list[str] = []
    for name, value in raw.items():
        inner = known.get(name)
        if inner is None:
            found.append(f"{path}{name}"[:_SHOWN_CHARACTERS])
        elif name not in open_fields and isinstance(inner, type) and issubclass(inner, Struct):
            found += _unknown(value, inner, f"{path}{name}.")
    return found[:MOST_IGNORED_SHOWN]
