"""The store's values, and that its contract cannot be half kept."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from glowplug import store
from glowplug.job import Budget
from glowplug.store import Depth, Hold, ModelInfo, Store, TaskInfo, WorkerRecord

VALUES = [
    kind for kind in vars(store).values() if is_dataclass(kind) and getattr(kind, "__module__", "") == store.__name__
]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_every_value_is_frozen(kind: Any) -> None:
    assert kind.__dataclass_params__.frozen
    assert hasattr(kind, "__slots__")


def test_a_value_cannot_be_changed() -> None:
    hold = Hold("1", 1)
    with pytest.raises(FrozenInstanceError):
        hold.token = 2  # type: ignore[misc]


def test_a_hold_is_the_same_for_the_same_claim_alone() -> None:
    assert len({Hold("1", 1), Hold("1", 1), Hold("1", 2), Hold("2", 1)}) == 3


def test_a_task_s_budgets_are_those_of_a_job_unless_said_otherwise() -> None:
    info = TaskInfo("m.t")
    assert (info.errors, info.crashes) == (Budget().errors, Budget().crashes)


def test_nothing_waits_where_nothing_is_counted() -> None:
    assert Depth() == Depth(queued=0, due=0, running=0, oldest_seconds=0.0)


@pytest.mark.parametrize(
    "value",
    [
        WorkerRecord(
            instance_id="w1", last_seen=NOW, snapshot={"components": [{"name": "digits"}]}, models=("digits",)
        ),
        ModelInfo("m", "2", (TaskInfo("m.t", input_schema={"type": "object"}, example={"n": 1}, timeout_seconds=1.5),)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_registry_keeps_survives_being_written_as_json(value: Any) -> None:
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_a_store_with_a_part_missing_cannot_be_made() -> None:
    class HalfAStore(Store):
        """Keeps nothing of the contract."""

    with pytest.raises(TypeError, match="abstract"):
        HalfAStore()  # type: ignore[abstract]


def test_every_promise_of_the_contract_is_written_down() -> None:
    promises = {name: getattr(Store, name) for name in Store.__abstractmethods__}
    assert all((promise.__doc__ or "").strip().endswith(".") for promise in promises.values())
    assert len(fields(WorkerRecord)) == 14
