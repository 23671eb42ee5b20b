"""What the OpenAPI document of an application says of the readiness routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from glowplug.problem import MEDIA_TYPE as PROBLEM
from glowplug.readiness import ErrorClass, Phase, State, Status
from glowplug.web import links
from glowplug.web.answers import JSON
from glowplug.web.overlay import MEDIA_TYPE as SCRIPT
from glowplug.web.streams import MEDIA_TYPE as EVENTS

Schema = dict[str, Any]
Answers = dict[int | str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Document:
    """One route as the document has it: its name, a line of meaning, its status when all is well, all its answers."""

    name: str
    summary: str
    answers: Answers
    status: int = 200
    parameters: list[Schema] = field(default_factory=list)


def _object(needed: str, /, **properties: Schema) -> Schema:
    return {"type": "object", "required": needed.split(), "properties": properties}


def _one_of(words: type[StrEnum]) -> Schema:
    return {"enum": [word.value for word in words]}


_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_SECONDS: Schema = {"type": ["integer", "null"], "description": "Whole seconds; null until it is earned."}
_PERCENT: Schema = {"type": "integer", "minimum": 0, "maximum": 100}
_NUMBER: Schema = {"type": "number"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_WAIT = {
    "progress": _PERCENT,
    "estimated_seconds": _SECONDS,
    "estimated_seconds_p90": {"type": "integer"},
    "phase": _one_of(Phase),
    "retry_after": {"type": "integer", "minimum": 1, "maximum": 30},
}
_SERVICE = _object(
    "ready status required",
    ready=_FLAG,
    status=_one_of(Status),
    required=_FLAG,
    label=_TEXT,
    model=_TEXT,
    loaded_at=_TEXT,
    load_time_ms=_NUMBER,
    warmup_time_ms=_NUMBER,
    progress=_PERCENT,
    estimated_seconds={"type": "integer"},
    estimated_seconds_p90={"type": "integer"},
    loading_seconds=_NUMBER,
    reason=_TEXT,
    error=_TEXT,
    error_class=_one_of(ErrorClass),
    retryable=_FLAG,
    attempt={"type": "integer"},
    stage=_TEXT,
    message=_TEXT,
    done=_NUMBER,
    total=_NUMBER,
    unit=_TEXT,
)
_READY = _object(
    "ready state progress services startup_time_ms errors taken_at links",
    ready=_FLAG,
    state=_one_of(State),
    services={"type": "object", "additionalProperties": _SERVICE},
    startup_time_ms={"type": ["number", "null"]},
    errors=_TEXTS,
    taken_at={"type": "string", "format": "date-time"},
    message=_TEXT,
    loading_seconds=_NUMBER,
    links={"type": "object", "additionalProperties": _TEXT, "description": "Relative to this route's own address."},
    **_WAIT,
)
_IN_EVENT: Schema = {"type": "string", "contentMediaType": JSON, "contentSchema": _READY}
_FLAT = _object(
    "status message ready",
    status={"enum": ["ready", "initializing", "error", "draining"]},
    message=_TEXT,
    ready=_FLAG,
    models_loaded=_FLAG,
    type={"enum": ["initialization", "error", "draining"]},
    **_WAIT,
)
_HEALTH = _object(
    "status model_loaded ready_for_requests gpu_available ready ready_state",
    status={"enum": ["healthy", "loading", "initializing", "unhealthy", "draining"]},
    model_loaded=_FLAG,
    ready_for_requests=_FLAG,
    gpu_available=_FLAG,
    ready=_FLAG,
    ready_state=_one_of(State),
    model_name=_TEXT,
    device=_TEXT,
    loading_time=_TEXT,
    error=_TEXT,
)
_PROBE = _object("ready", ready=_FLAG, detail=_TEXT, state=_one_of(State), **_WAIT)
_INFERENCE = _object("ready", error=_TEXT, **_PROBE["properties"])
_STARTED = _object("started", started=_FLAG, startup_time_ms=_NUMBER, **_PROBE["properties"])
_PROBLEM = _object(
    "type title status detail code retryable",
    type=_TEXT,
    title=_TEXT,
    status={"type": "integer"},
    detail=_TEXT,
    code=_TEXT,
    retryable=_FLAG,
)
_WARMED = _object(
    "services",
    services={"type": "object", "additionalProperties": _object("", warmup_time_ms=_NUMBER, error=_TEXT)},
)


def _answer(description: str, schema: Schema | None = None, media_type: str = JSON) -> dict[str, Any]:
    return {"description": description, **({"content": {media_type: {"schema": schema}}} if schema else {})}


_EVENTS = {
    "description": "The events.",
    # Each event, as FastAPI describes its own streams.
    "content": {EVENTS: {"itemSchema": _object("id data", id=_TEXT, data=_IN_EVENT)}},
}


def _waits(description: str, schema: Schema) -> dict[str, Any]:
    header = {"description": "Whole seconds until asking again.", "schema": {"type": "integer"}}
    return {**_answer(description, schema), "headers": {"Retry-After": header}}


def _problems(**codes: str) -> Answers:
    return {int(code.removeprefix("of_")): _answer(said, _PROBLEM, PROBLEM) for code, said in codes.items()}


def _probe(schema: Schema = _PROBE) -> Answers:
    return {200: _answer("Ready.", schema), 503: _waits("Not ready.", schema)}


def _in_path(name: str) -> list[Schema]:
    return [{"name": name, "in": "path", "required": True, "schema": _TEXT}]


_REFUSED = _problems(of_401="The token is missing or wrong.", of_403="Not allowed from there.")
_RETRIED = {
    202: _answer("The loads have begun.", _object("retried", retried=_TEXTS)),
    **_REFUSED,
    **_problems(of_409="Nothing to retry.", of_429="Retried a moment ago.", of_503="Shutting down."),
}
_UNKNOWN = _problems(of_404="No such component.")
_LAST_EVENT = {"name": "Last-Event-ID", "in": "header", "required": False, "schema": _TEXT}

DOCUMENTS: Mapping[str, Document] = MappingProxyType(
    {
        links.API_READY: Document("ready", "How far every component is.", {200: _answer("The picture.", _READY)}),
        links.ADMIN_READY: Document(
            "admin_ready",
            "Whether work may be sent, for clients that wait.",
            {
                200: _answer("Ready.", _FLAT),
                425: _waits("The models are loading.", _FLAT),
                503: _waits(
                    "The load failed, or the process is leaving; or loading, where 425 is switched off.", _FLAT
                ),
            },
        ),
        links.STREAM: Document(
            "ready_stream",
            "The picture as server-sent events, one at once and one for each change, until ready or failed.",
            {200: _EVENTS, 204: _answer("The reader has the last one already.")},
            parameters=[_LAST_EVENT],
        ),
        links.HEALTH: Document("health", "How the process is.", {200: _answer("It lives.", _HEALTH)}),
        links.API_HEALTH: Document("api_health", "How the process is.", {200: _answer("It lives.", _HEALTH)}),
        links.LIVE: Document("livez", "Liveness probe.", {200: _answer("It lives.", _object("status", status=_TEXT))}),
        links.READY: Document("readyz", "Readiness probe.", _probe()),
        links.PROBE: Document("ready_probe", "Readiness probe.", _probe()),
        links.STARTED: Document("startupz", "Start-up probe: good for ever once it was ready.", _probe(_STARTED)),
        links.READY_OF: Document(
            "readyz_of", "Probe of one component.", _probe() | _UNKNOWN, parameters=_in_path("component")
        ),
        links.PROBE_OF: Document(
            "ready_of", "Probe of one component.", _probe() | _UNKNOWN, parameters=_in_path("component")
        ),
        links.SERVER_LIVE: Document(
            "server_live",
            "Liveness, in the Open Inference Protocol.",
            {200: _answer("It lives.", _object("live", live=_FLAG))},
        ),
        links.SERVER_READY: Document("server_ready", "Readiness, in the Open Inference Protocol.", _probe(_INFERENCE)),
        links.MODEL_READY: Document(
            "model_ready",
            "Readiness of one model, in the Open Inference Protocol.",
            _probe(_object("name ready", name=_TEXT, **_INFERENCE["properties"])) | _UNKNOWN,
            parameters=_in_path("name"),
        ),
        links.WARM_UP: Document(
            "warm_up",
            "Warm every loaded component again, all staying ready.",
            {
                200: _answer("What it took.", _WARMED),
                **_REFUSED,
                **_problems(of_409="Nothing is loaded, or a warm-up is running.", of_503="Shutting down."),
            },
        ),
        links.RETRY: Document("retry", "Load everything that failed again.", _RETRIED, status=202),
        links.RETRY_OF: Document(
            "retry_of", "Load one failed component again.", _RETRIED | _UNKNOWN, 202, _in_path("component")
        ),
        links.OVERLAY: Document(
            "overlay",
            "The overlay's script.",
            {
                200: _answer("The script.", _TEXT, SCRIPT),
                304: _answer("The reader has it already."),
                404: _answer("This installation has none.", _PROBLEM, PROBLEM),
            },
        ),
    }
)
