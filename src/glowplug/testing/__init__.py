"""For tests: conformance suites, one for each contract, for authors of adapters; and `pretend`, for applications."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glowplug.testing.pretence import Pretence, pretend

__all__ = ["Pretence", "pretend"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'glowplug.testing' has no attribute {name!r}")
    return getattr(import_module("glowplug.testing.pretence"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
