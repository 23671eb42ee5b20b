"""One readable line for an event, for logs that belong to somebody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glowplug.events import EventSpec

_SENTENCES: Mapping[str, str] = {
    "component.transition": "{component}: {previous} → {state} after {seconds} s",
    "component.phase": "{component}: stage {phase} took {seconds} s",
    "component.failed": "{component} failed (attempt {attempt}, {error_class}): {error}",
    "component.lost": "{component} was lost: {error}",
    "app.empty": "no component: this is never ready; {advice}",
    "app.standstill": "nobody was answered for {seconds} s while {component} loads; {advice}",
    "webhook.failed": "webhook at {target} cannot be delivered, trying again: {error}",
    "webhook.restored": "webhook at {target} takes events again, after {seconds} s",
    "webhook.delivered": "webhook at {target} took {type}",
    "webhook.dropped": "webhook at {target}: {type} was given up: {reason}",
    "webhook.disabled": "webhook at {target} answered 410: it is told nothing more",
    "model.output": "{model}: {line}",
}
_UNSAID = frozenset({"exception"})


def sentence(spec: EventSpec, fields: Mapping[str, Any]) -> str:
    """Return the line for an event: a sentence where there is one, else its meaning and its fields."""
    if spec.name == "component.ready":
        return _ready(fields)
    if spec.name in _SENTENCES:
        return _SENTENCES[spec.name].format_map(fields)
    said = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _UNSAID)
    return f"{spec.meaning}: {said}" if said else spec.meaning


def _ready(fields: Mapping[str, Any]) -> str:
    if fields["total_seconds"] is None:
        return f"{fields['component']} is ready again"
    parts = f"load {fields['load_seconds']} s, warm-up {fields['warmup_seconds']} s"
    return f"{fields['component']} is ready after {fields['total_seconds']} s ({parts})"
