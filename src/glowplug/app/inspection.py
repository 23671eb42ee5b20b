"""Walking through an application before it starts: its routers, what is mounted in it, and what its routes require."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from glowplug.web.require import Requirement

_CHILDREN = ("router", "original_router", "include_context", "app")
"""Where FastAPI and Starlette keep what is within an application, a router that was included, or a mount."""


def holders(app: Any) -> Iterator[Any]:
    """Yield an application and everything in it that holds routes or dependencies, each once."""
    seen: set[int] = set()
    waiting = [app]
    while waiting:
        holder = waiting.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        yield holder
        waiting += [child for name in _CHILDREN if _holds(child := getattr(holder, name, None))]
        waiting += getattr(holder, "routes", None) or ()


def required_by(holder: Any) -> Iterator[tuple[str, ...]]:
    """Yield the names that each requirement of a route, or of a router for all its routes, asks for."""
    for dependency in getattr(holder, "dependencies", None) or ():
        yield from _names(getattr(dependency, "dependency", None))
    if (dependant := getattr(holder, "dependant", None)) is not None:
        yield from _below(dependant)


def _below(dependant: Any) -> Iterator[tuple[str, ...]]:
    for needed in dependant.dependencies:
        yield from _names(needed.call)
        yield from _below(needed)


def _names(call: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(call, Requirement):
        yield call.names


def _holds(child: Any) -> bool:
    return hasattr(child, "routes") or hasattr(child, "dependencies")
