"""The OpenAPI document: routes read their bodies themselves, so they say here what they take and give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from glowplug.gateway import schemas
from glowplug.gateway.schemas import Problem

_REFERENCE = "#/components/schemas/{name}"
_NAMED = tuple(kind for kind in vars(schemas).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct))


def described(
    body: type[msgspec.Struct] | None,
    answers: Mapping[int, type[msgspec.Struct] | None],
    *,
    query: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the keywords of a route that takes `body` and gives `answers`, by status; None is a body without shape."""
    extra: dict[str, Any] = {}
    if body is not None:
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": _reference(body)}}}
    if query:
        schema = {"type": "string"}
        extra["parameters"] = [{"name": name, "in": "query", "required": False, "schema": schema} for name in query]
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": _summary(kind), **({"content": _json(kind)} if kind else {})}
        for status, kind in answers.items()
    }
    responses["default"] = {
        "description": _summary(Problem),
        "content": {"application/problem+json": {"schema": _reference(Problem)}},
    }
    return {"openapi_extra": extra, "responses": responses, "response_class": Response, "response_model": None}


def install(app: FastAPI) -> None:
    """Make the application's document name the shapes of this package."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            _, components = msgspec.json.schema_components(_NAMED, ref_template=_REFERENCE)
            made.setdefault("components", {}).setdefault("schemas", {}).update(components)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _json(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": _reference(kind)}}


def _reference(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=kind.__name__)}


def _summary(kind: type[msgspec.Struct] | None) -> str:
    return (kind.__doc__ or "").partition("\n")[0] if kind else "See the description."
