"""Readiness: what must be there before work may come, how far it is, and how long it will take.

The names are imported when they are first used: a model's process and the first second of a server need few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glowplug.readiness.board import Board
    from glowplug.readiness.component import Component
    from glowplug.readiness.component_snapshot import ComponentSnapshot, ErrorClass, Failure
    from glowplug.readiness.deadlines import Deadlines
    from glowplug.readiness.estimate import Estimate
    from glowplug.readiness.feed import Feed, Subscription
    from glowplug.readiness.history import Histories, History, Load, MemoryHistories
    from glowplug.readiness.history_file import HistoryFile
    from glowplug.readiness.merged import MergedBoard, merge
    from glowplug.readiness.progress import Progress, Stage
    from glowplug.readiness.snapshot import Snapshot
    from glowplug.readiness.spec import Transition
    from glowplug.readiness.state import Gates, Phase, State, Status

__all__ = [
    "Board",
    "Component",
    "ComponentSnapshot",
    "Deadlines",
    "ErrorClass",
    "Estimate",
    "Failure",
    "Feed",
    "Gates",
    "Histories",
    "History",
    "HistoryFile",
    "Load",
    "MemoryHistories",
    "MergedBoard",
    "Phase",
    "Progress",
    "Snapshot",
    "Stage",
    "State",
    "Status",
    "Subscription",
    "Transition",
    "merge",
]

_HOMES = {
    "Board": "board",
    "Component": "component",
    "ComponentSnapshot": "component_snapshot",
    "Deadlines": "deadlines",
    "ErrorClass": "component_snapshot",
    "Estimate": "estimate",
    "Failure": "component_snapshot",
    "Feed": "feed",
    "Gates": "state",
    "Histories": "history",
    "History": "history",
    "HistoryFile": "history_file",
    "Load": "history",
    "MemoryHistories": "history",
    "MergedBoard": "merged",
    "Phase": "state",
    "Progress": "progress",
    "Snapshot": "snapshot",
    "Stage": "progress",
    "State": "state",
    "Status": "state",
    "Subscription": "feed",
    "Transition": "spec",
    # Not in a module of its own name: once imported, that would hide the function.
    "merge": "merged",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
