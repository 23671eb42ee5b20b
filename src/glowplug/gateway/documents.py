"""The OpenAPI document: routes read their bodies themselves, so they say here what they take and give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute

from glowplug.gateway import schemas, upload_views
from glowplug.gateway.inference import shapes as inference_shapes
from glowplug.gateway.openai import shapes as openai_shapes
from glowplug.gateway.schemas import JobView, Problem
from glowplug.problem import MEDIA_TYPE
from glowplug.store import TaskInfo

_REFERENCE = "#/components/schemas/{name}"
_SHAPES = {**vars(schemas), **vars(upload_views), **vars(openai_shapes), **vars(inference_shapes)}.values()
_NAMED = tuple(kind for kind in _SHAPES if isinstance(kind, type) and issubclass(kind, msgspec.Struct))
FORM = "multipart/form-data"
_DRAWN_INTO = '<div id="swagger-ui">'
_UNDRAWN = """<p>Swagger UI draws this page, and your browser fetches it from cdn.jsdelivr.net. If nothing else
appears, it cannot reach that; the description of the interface is <a href="openapi.json">openapi.json</a>.</p>"""


def described(
    body: type[msgspec.Struct] | None,
    answers: Mapping[int, type[msgspec.Struct] | None],
    *,
    query: tuple[str, ...] = (),
    takes: str = "application/json",
    error: type[msgspec.Struct] = Problem,
) -> dict[str, Any]:
    """Return the keywords of a route that takes `body` and gives `answers`, by status; None is a body without shape.

    `takes` is the body's media type, `error` the shape of what goes wrong.
    """
    extra: dict[str, Any] = {}
    if body is not None:
        extra["requestBody"] = {"required": True, "content": {takes: {"schema": _reference(body)}}}
    if query:
        schema = {"type": "string"}
        extra["parameters"] = [{"name": name, "in": "query", "required": False, "schema": schema} for name in query]
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": _summary(kind), **({"content": _json(kind)} if kind else {})}
        for status, kind in answers.items()
    }
    responses["default"] = _problem(error)
    return {"openapi_extra": extra, "responses": responses, "response_class": Response, "response_model": None}


def install(app: FastAPI, tasks: Mapping[str, TaskInfo], more: Sequence[BaseRoute] = ()) -> None:
    """Make the application's document name the shapes of this package, and every task with its own schemas.

    `more` are routes that describe what the application answers by other ones.
    """

    def document() -> dict[str, Any]:
        routes = [*app.routes, *more]
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=routes)
        _, components = msgspec.json.schema_components(_NAMED, ref_template=_REFERENCE)
        shapes = made.setdefault("components", {}).setdefault("schemas", {})
        shapes.update(components)
        for name in sorted(tasks):
            made["paths"][f"/v1/run/{name}"] = _task_path(tasks[name], shapes)
        return made

    app.openapi = document  # type: ignore[method-assign]
    app.get("/", include_in_schema=False)(lambda: RedirectResponse("docs"))
    app.get("/docs", include_in_schema=False)(_page)


def _page() -> HTMLResponse:
    """Return the page to read the document on, which says what it lacks where the web is out of reach."""
    page = get_swagger_ui_html(openapi_url="openapi.json", title="Glowplug", swagger_favicon_url="data:,")
    text = bytes(page.body).decode().replace("<html>", '<html lang="en">')
    return HTMLResponse(text.replace(_DRAWN_INTO, _DRAWN_INTO + _UNDRAWN))


def _task_path(task: TaskInfo, shapes: dict[str, Any]) -> dict[str, Any]:
    content = {}
    for part, schema in (("input", task.input_schema), ("output", task.output_schema)):
        place = f"{task.name}.{part}"
        shapes[place] = _moved(schema, f"#/components/schemas/{place}")
        content[part] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{place}"}}}
    if task.example is not None:
        content["input"]["application/json"]["example"] = dict(task.example)
    return {
        "post": {
            "tags": ["tasks"],
            "summary": task.summary or task.name,
            "operationId": f"run_{task.name}",
            "requestBody": {"required": True, "content": content["input"]},
            "responses": {
                "200": {"description": "What the task returns.", "content": content["output"]},
                "202": {"description": _summary(JobView), "content": _json(JobView)},
                "default": _problem(),
            },
        }
    }


def _moved(schema: Any, place: str) -> Any:
    """Return a schema whose references into itself still hold when it stands at `place` of another document."""
    if isinstance(schema, Mapping):
        return {
            key: place + value[1:]
            if key == "$ref" and isinstance(value, str) and value.startswith("#")
            else _moved(value, place)
            for key, value in schema.items()
        }
    return [_moved(one, place) for one in schema] if isinstance(schema, list | tuple) else schema


def _problem(shape: type[msgspec.Struct] = Problem) -> dict[str, Any]:
    """Return the answer to whatever goes wrong."""
    media_type = MEDIA_TYPE if shape is Problem else "application/json"
    return {"description": _summary(shape), "content": {media_type: {"schema": _reference(shape)}}}


def _json(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": _reference(kind)}}


def _reference(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=kind.__name__)}


def _summary(kind: type[msgspec.Struct] | None) -> str:
    return (kind.__doc__ or "").partition("\n")[0] if kind else "See the description."
