"""The routes of the Open Inference Protocol (V2) beside its probes: what there is, and inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from glowplug.errors import InvalidInput, NotFound, UnsupportedMediaType
from glowplug.gateway import bodies
from glowplug.gateway.calls import Calls
from glowplug.gateway.catalog import model_of
from glowplug.gateway.departure import CLIENT_CLOSED_REQUEST, while_present
from glowplug.gateway.documents import described
from glowplug.gateway.inference import mapping, tensors
from glowplug.gateway.inference.shapes import (
    InferenceAnswer,
    InferenceError,
    InferenceRequest,
    ModelMetadata,
    RequestOutput,
    ServerMetadata,
)
from glowplug.gateway.offers import LONGEST_NAME
from glowplug.gateway.service import Gateway
from glowplug.gateway.subjects import subject_of
from glowplug.lifecycle import in_thread
from glowplug.store import TaskInfo

P = ParamSpec("P")
R = TypeVar("R")
JSON_LENGTH = "inference-header-content-length"
BINARY = "application/octet-stream"
ASIDE_BYTES = 256 * 1024
EXTENSIONS = ["binary_tensor_data"]
_decoder = msgspec.json.Decoder(InferenceRequest)
_encoder = msgspec.json.Encoder()


def router(gateway: Gateway) -> APIRouter:
    """Return the routes."""
    routes, door = APIRouter(tags=["inference"]), _Door(gateway)

    @routes.get("/v2", **described(None, {200: ServerMetadata}, error=InferenceError))
    async def server() -> Response:
        """Say who answers."""
        return bodies.answer(ServerMetadata("glowplug", gateway.policy.version, EXTENSIONS))

    @routes.get("/v2/models/{name}", **described(None, {200: ModelMetadata}, error=InferenceError))
    async def model(name: str) -> Response:
        """Describe a model, or one of its tasks as `model.task`, by its tensors."""
        return bodies.answer(await door.metadata(name))

    @routes.get("/v2/models/{name}/versions/{version}", include_in_schema=False)
    async def model_of_version(name: str, version: str) -> Response:
        return bodies.answer(await door.metadata(name, version))

    @routes.get("/v2/models/{name}/versions/{version}/ready", include_in_schema=False)
    async def ready_of_version(name: str, version: str) -> Response:
        return bodies.answer(door.ready(name, version))

    @routes.post("/v2/models/{name}/infer", **described(InferenceRequest, {200: InferenceAnswer}, error=InferenceError))
    async def infer(name: str, request: Request) -> Response:
        """Call a task once for each place of the tensors' first axis; of several tasks `parameters.task` names one."""
        return await door.infer(request, name)

    @routes.post("/v2/models/{name}/versions/{version}/infer", include_in_schema=False)
    async def infer_of_version(name: str, version: str, request: Request) -> Response:
        return await door.infer(request, name, version)

    return routes


class _Door:
    """Tasks as models of the protocol. Their version is that of the model."""

    def __init__(self, gateway: Gateway) -> None:
        self._calls = Calls.of(gateway)
        self._models = gateway.catalog.models
        self._limit_bytes = gateway.policy.limits.call_bytes

    async def metadata(self, name: str, version: str = "") -> ModelMetadata:
        """Return what there is to know of a task."""
        task = await self._calls.offers.task(name)
        return mapping.metadata(name, self._version(task, version), task)

    def ready(self, name: str, version: str) -> dict[str, Any]:
        """Return that a model, or a task as `model.task`, is ready in a version. Raises `NotFound`, `NotReady`."""
        model = model_of(name)
        if model not in self._models:
            raise NotFound(f"no model named {name[:LONGEST_NAME]!r}")
        self._check_version(model, version)
        if (error := self._calls.offers.refusal(model)) is not None:
            raise error
        return {"name": name, "ready": True}

    async def infer(self, request: Request, name: str, version: str = "") -> Response:
        """Answer a request for inference."""
        body = await bodies.read(request, self._limit_bytes)
        aside = len(body) > ASIDE_BYTES
        wish, binary = _parts(request, body)
        chosen = wish.parameters.get(mapping.TASK, "")
        task = await self._calls.offers.task(name, chosen if isinstance(chosen, str) else "")
        version = self._version(task, version)
        self._calls.offers.check_ready(model_of(task.name))
        if task.streams:
            raise InvalidInput(f"{task.name} yields its values one by one; call it with POST /v1/run/{task.name}")
        given = await _done(aside, _inputs, task, wish, binary)
        results = await while_present(request, self._calls.all(task, given, subject_of(request)))
        if results is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        return await _done(aside, _answer, InferenceAnswer(name, version, wish.id, []), wish, task, results)

    def _version(self, task: TaskInfo, asked: str) -> str:
        return self._check_version(model_of(task.name), asked)

    def _check_version(self, model: str, asked: str) -> str:
        there = self._models[model].version
        if asked not in ("", there):
            raise NotFound(f"{model} has version {there} alone, not {asked[:40]!r}")
        return there


def _parts(request: Request, body: bytes) -> tuple[InferenceRequest, bytes]:
    """Return the JSON of a request, and what stands behind it."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("compressed bodies are not taken; send it as it is")
    said = request.headers.get(JSON_LENGTH)
    if said is None:
        return bodies.decode(_decoder, body), b""
    if not said.isdecimal() or len(said) > 18 or int(said) > len(body):
        raise InvalidInput("Inference-Header-Content-Length is not the length of the JSON in front of the body")
    return bodies.decode(_decoder, body[: int(said)]), body[int(said) :]


async def _done(aside: bool, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call something, `aside` in a thread: millions of numbers would hold up everybody else's requests."""
    return await in_thread(None, call, *args, **kwargs) if aside else call(*args, **kwargs)


def _inputs(task: TaskInfo, wish: InferenceRequest, binary: bytes) -> list[dict[str, Any]]:
    return mapping.inputs(task, tensors.read(wish.inputs, binary), wish.parameters)


def _answer(head: InferenceAnswer, wish: InferenceRequest, task: TaskInfo, results: list[Any]) -> Response:
    made = mapping.outputs(task, results, wish.outputs)
    asked = {one.name: one for one in wish.outputs}
    outputs, data = [], []
    for tensor in made:
        if _is_binary(wish, asked.get(tensor.name)):
            shown, packed = tensors.packed(tensor)
            data.append(packed)
        else:
            shown = tensors.written(tensor)
        outputs.append(shown)
    body = _encoder.encode(msgspec.structs.replace(head, outputs=outputs))
    if not data:
        return Response(body, media_type="application/json")
    return Response(b"".join([body, *data]), headers={JSON_LENGTH: str(len(body))}, media_type=BINARY)


def _is_binary(wish: InferenceRequest, output: RequestOutput | None) -> bool:
    everywhere = bool(wish.parameters.get("binary_data_output", False))
    return bool(output.parameters.get("binary_data", everywhere)) if output else everywhere
