"""Readiness: what must be there before work may come, how far it is, and how long it will take."""

from glowplug.readiness.board import Board
from glowplug.readiness.component import Component
from glowplug.readiness.component_snapshot import ComponentSnapshot, ErrorClass, Failure
from glowplug.readiness.deadlines import Deadlines
from glowplug.readiness.estimate import Estimate
from glowplug.readiness.feed import Feed, Subscription
from glowplug.readiness.history import Histories, History, Load, MemoryHistories
from glowplug.readiness.history_file import HistoryFile
from glowplug.readiness.merge import MergedBoard, merge
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
