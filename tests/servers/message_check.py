"""Holds messages against `docs/asyncapi.yaml`, and against CloudEvents as its own library understands it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat

DOCUMENT = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"


@cache
def document() -> dict[str, Any]:
    """Return the document."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    read: dict[str, Any] = yaml.load(DOCUMENT.read_text(encoding="utf-8"), loader)
    return read


def check(message: str, body: Any) -> None:
    """Raise `ValidationError` for a body that is not as the document says of a message."""
    schema = {"$ref": f"#/components/schemas/{message}", "components": document()["components"]}
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(body)


def checked_event(body: bytes) -> dict[str, Any]:
    """Return the data of a job event, which is a CloudEvent and as the document says."""
    event = from_structured_event(HTTPMessage({"content-type": "application/cloudevents+json"}, body), JSONFormat())
    kind = event.get_type().removeprefix("glowplug.job.")
    raw = json.loads(body)
    check(f"job_{kind}", raw)
    data = event.get_data()
    assert isinstance(data, dict)
    assert event.get_id() == f"{event.get_subject()}:{data['seq']}"
    return {"type": kind, **data}
