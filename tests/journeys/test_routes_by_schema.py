"""Every answer is one that the API's own description promises: status, media type and shape, for inputs good and bad.

The description is the one that the server under test publishes; the inputs are generated from it, always the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks
from schemathesis.specs.openapi.schemas import OpenApiSchema
from tests.journeys.system import MODELS, System, until

SERVER = Path(__file__).parents[1] / "servers" / "readiness_app.py"
EXAMPLES = 12
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
# Names that exist, which no generator would find, by what the descriptions call them.
KNOWN = {"component": "model", "name": "model", "task": "echo.say"}
STREAM = "/api/ready/stream"
DOCUMENTED = {
    "/livez",
    "/readyz",
    "/startupz",
    "/health",
    "/api/health",
    "/ready",
    "/api/ready",
    "/api/v1/admin/ready",
    "/ready/{component}",
    "/readyz/{component}",
    STREAM,
    "/api/warmup",
    "/api/ready/retry",
    "/api/ready/retry/{component}",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{name}/ready",
    "/glowplug/overlay.js",
}


@pytest.mark.parametrize("state", ["nothing", "loading", "ready", "error"])
def test_an_app_answers_as_its_description_says(plug: System, state: str) -> None:
    plug.app(SERVER, state)
    reach(plug, state)
    schema = description(plug)
    assert DOCUMENTED - {operation.path for operation in operations(schema)} == set()
    # A stream ends with what it tells of; where nothing is settled it would be read for ever.
    assert list(broken(schema, without=[STREAM] if state in ("nothing", "loading") else [])) == []


def test_an_app_answers_as_its_description_says_under_a_prefix(plug: System) -> None:
    plug.app(SERVER, "error", "/api")
    reach(plug, "error")
    schema = description(plug)
    moved = {"/api/livez", "/api/readyz", "/api/ready", STREAM, "/api/glowplug/overlay.js"}
    assert moved - {operation.path for operation in operations(schema)} == set()
    assert list(broken(schema)) == []


def test_the_gateway_answers_as_its_description_says(plug: System) -> None:
    plug.up(MODELS / "echo.py")
    plug.wait_ready("echo")
    schema = description(plug)
    assert {"/v1/jobs", "/v1/run/echo.say"} - {operation.path for operation in operations(schema)} == set()
    assert list(broken(schema)) == []


def reach(plug: System, state: str) -> None:
    word = {"nothing": "INITIALIZING", "loading": "LOADING_MODELS", "ready": "READY", "error": "ERROR"}[state]
    until(lambda: plug.answers("/api/ready"), "the app answers", log=plug.log)
    until(lambda: plug.get("/api/ready")["state"] == word, f"the app is {word}", log=plug.log)


def description(plug: System) -> OpenApiSchema:
    return schemathesis.openapi.from_url(f"{plug.url}/openapi.json")


def operations(schema: OpenApiSchema) -> Iterator[APIOperation[Any, Any, Any]]:
    for found in schema.get_all_operations():
        yield found.ok()


def broken(schema: OpenApiSchema, without: Collection[str] = ()) -> Iterator[str]:
    """Yield each promise that was not kept, with the request that shows it."""
    for operation in operations(schema):
        if operation.path in without:
            continue
        for inputs in strategies(operation):
            try:
                tried(inputs)
            except Unsatisfiable:
                # Nothing that could be sent to it would be wrong.
                continue
            except (AssertionError, FailureGroup) as error:
                yield f"{operation.label}: {error}"


def strategies(operation: APIOperation[Any, Any, Any]) -> Iterator[SearchStrategy[Case]]:
    """Yield what to send: anything allowed, what is not allowed, and the names of things that there are."""
    for mode in GenerationMode:
        yield operation.as_strategy(mode)
    names = {name.name for name in operation.path_parameters} & KNOWN.keys()
    if names:
        yield operation.as_strategy(path_parameters={name: KNOWN[name] for name in names})


def tried(inputs: SearchStrategy[Case]) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def answers_as_described(case: Case) -> None:
        answer = case.call(timeout=20)
        assert answer.status_code != 500, f"{case.as_curl_command()}\n{answer.text}"
        case.validate_response(answer, checks=CHECKS)

    answers_as_described()
