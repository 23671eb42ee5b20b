"""Glowplug makes self-hosted AI models ready, says so honestly, and never sends work where it is not.

The front door is lazy: a name is imported when it is first used, so that `import glowplug` costs next to nothing.
"""

from __future__ import annotations

import gc
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glowplug.app import Readiness, require_ready
    from glowplug.artifact import Artifact
    from glowplug.client import AsyncClient, Client
    from glowplug.errors import GlowplugError, InvalidInput, JobFailed, NotReady, Unavailable
    from glowplug.load_context import LoadContext
    from glowplug.model import Batch, File, Folder, Image, Model, RunContext, task

__version__ = "0.1.0"

_HOMES = {
    "Artifact": "artifact",
    "AsyncClient": "client",
    "Batch": "model",
    "Client": "client",
    "File": "model",
    "Folder": "model",
    "GlowplugError": "errors",
    "Image": "model",
    "InvalidInput": "errors",
    "JobFailed": "errors",
    "LoadContext": "load_context",
    "Model": "model",
    "NotReady": "errors",
    "Readiness": "app",
    "RunContext": "model",
    "Unavailable": "errors",
    "require_ready": "app",
    "task": "model",
}

__all__ = [
    "Artifact",
    "AsyncClient",
    "Batch",
    "Client",
    "File",
    "Folder",
    "GlowplugError",
    "Image",
    "InvalidInput",
    "JobFailed",
    "LoadContext",
    "Model",
    "NotReady",
    "Readiness",
    "RunContext",
    "Unavailable",
    "require_ready",
    "task",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'glowplug' has no attribute {name!r}")
    # What an import makes stays: a collection in its midst looks through the whole application and finds nothing. In
    # one that has FastAPI it took a third of the time.
    collects = gc.isenabled()
    gc.disable()
    try:
        return getattr(import_module(f"glowplug.{home}"), name)
    finally:
        if collects:
            gc.enable()


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
