"""What clients of the Open Inference Protocol send and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class InferenceError(msgspec.Struct, frozen=True):
    """What every error of the protocol looks like."""

    error: str


class ServerMetadata(msgspec.Struct, frozen=True):
    """Who answers, and which extensions of the protocol it knows."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(msgspec.Struct, frozen=True):
    """A tensor of a task: its first axis is the batch, -1 stands for any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, frozen=True):
    """A task as a model of the protocol."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class RequestTensor(msgspec.Struct, frozen=True):
    """A tensor in a request; with `binary_data_size` among its parameters, its data comes after the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Mapping[str, Any] = {}
    data: Any = None


class RequestOutput(msgspec.Struct, frozen=True):
    """An output that is asked for."""

    name: str
    parameters: Mapping[str, Any] = {}


class InferenceRequest(msgspec.Struct, frozen=True):
    """Tensors for a task; its parameters may name the task, and others that are the same for the whole batch."""

    inputs: list[RequestTensor]
    id: str = ""
    parameters: Mapping[str, Any] = {}
    outputs: list[RequestOutput] = []


class ResponseTensor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tensor in an answer, flat and row by row."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: Mapping[str, Any] = {}


class InferenceAnswer(msgspec.Struct, frozen=True):
    """What a task gave, as tensors."""

    model_name: str
    model_version: str
    id: str
    outputs: list[ResponseTensor]
