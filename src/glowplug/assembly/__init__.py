"""Where settings become running parts: URLs to adapters, adapters to services, services to a process.

Imports inside functions are the rule here and nowhere else: a process loads what it is about to use, in the order in
which others wait for it. For the same reason a worker does not load the gateway's half, nor the other way round.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glowplug.assembly.gateway import serve_gateway
    from glowplug.assembly.worker import serve_worker

__all__ = ["serve_gateway", "serve_worker"]

_HOMES = {"serve_gateway": "glowplug.assembly.gateway", "serve_worker": "glowplug.assembly.worker"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
