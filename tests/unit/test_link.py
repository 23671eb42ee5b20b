"""The messages of the link: frozen, versioned, and the same after a journey over a wire."""

from __future__ import annotations

from dataclasses import is_dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from glowplug import link
from glowplug.artifact import Artifact
from glowplug.job import Checkpoint, Failure, Note, Outcome, OutcomeKind, Progress
from glowplug.link import (
    PROTOCOL,
    Accepted,
    Claim,
    Claimed,
    Events,
    Finish,
    Grant,
    Link,
    Order,
    OrderKind,
    Register,
    Registered,
    Renew,
    Renewed,
)
from glowplug.store import Hold, ModelInfo, Renewal, Report, Settlement, TaskInfo, Want

NOW = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
HOLD = Hold("0a", 3)
PICTURE = Artifact("jobs/0a/3/a.png", 10, "0" * 64, "image/png")
CHECKPOINT = Checkpoint(4, PICTURE, "2")
ORDER = Order(OrderKind.CANCEL, "0a")

MESSAGES = [
    Register(
        "w1", "i1", 7, {"components": []}, models=(ModelInfo("m", "1", (TaskInfo("m.t"),)),), url="http://x", pid=1
    ),
    Registered(60.0, (Order(OrderKind.LOAD, "m"), Order(OrderKind.DRAIN))),
    Claim("w1", "i1", (Want(("m.t", "m.u"), 2),), 5.0),
    Claim("w1", "i1", (), known=(HOLD,)),
    Claim("w1", "i1", (), known=()),
    Claimed((Grant(HOLD, "m.t", {"text": "ü ✓", "n": None}, 2, NOW, "ann", CHECKPOINT),), (ORDER,)),
    Renew("w1", "i1", (HOLD,)),
    Renewed((Renewal(HOLD, held=True, cancel=True),), (ORDER,)),
    Events("w1", (Report(HOLD, (Note("progress", {"n": 1}, CHECKPOINT, Progress(1, 2, "one")),)),)),
    Finish(
        "w1",
        (
            Settlement(
                HOLD, Outcome(OutcomeKind.FAILED, failure=Failure("x", "no", retryable=False, details={"a": [1]}))
            ),
        ),
    ),
    Finish("w1", (Settlement(HOLD, Outcome(OutcomeKind.COMPLETED, {"u": PICTURE.uri}, artifacts=(PICTURE,))),)),
    Accepted((True, False)),
]
SENT: set[Any] = {
    kind for kind in vars(link).values() if is_dataclass(kind) and getattr(kind, "__module__", "") == link.__name__
}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_the_same_after_the_journey(message: Any) -> None:
    assert msgspec.json.decode(msgspec.json.encode(message), type=type(message)) == message


def test_every_message_is_frozen() -> None:
    assert all(kind.__dataclass_params__.frozen for kind in SENT)
    assert {type(message) for message in MESSAGES} | {Grant, Order} == SENT


def test_a_worker_says_which_protocol_it_speaks() -> None:
    assert Register("w1", "i1", 1, {}).protocol == PROTOCOL


def test_knowing_of_no_hold_is_not_the_same_as_not_saying() -> None:
    silent, empty = Claim("w1", "i1", ()), Claim("w1", "i1", (), known=())
    assert silent != empty
    assert msgspec.json.decode(msgspec.json.encode(empty), type=Claim).known == ()
    assert msgspec.json.decode(msgspec.json.encode(silent), type=Claim).known is None


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Claim, b'{"instance_id":"w1"}'),
        (Claim, b'{"instance_id":"w1","incarnation":"i","wants":[{"tasks":["a"],"slots":"many"}]}'),
        (Finish, b'{"instance_id":"w1","settlements":[{"hold":{"job_id":"1","token":1},"outcome":{"kind":"eaten"}}]}'),
        (Renewed, b"[]"),
        (Accepted, b'{"accepted":[1]}'),
    ],
)
def test_a_message_of_another_shape_is_refused(kind: type, body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=kind)


def test_a_link_with_a_part_missing_cannot_be_made() -> None:
    class HalfALink(Link):
        """Keeps nothing of the contract."""

    with pytest.raises(TypeError, match="abstract"):
        HalfALink()  # type: ignore[abstract]
