"""The wire form: what goes in comes out, whatever it holds, and nonsense is refused."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.artifact import Artifact
from glowplug.errors import RemoteError
from glowplug.job import Checkpoint, Failure, Note, Outcome, OutcomeKind, Progress
from glowplug.link import (
    Accepted,
    Claim,
    Claimed,
    Events,
    Finish,
    Grant,
    Order,
    OrderKind,
    Register,
    Registered,
    Renew,
    Renewed,
)
from glowplug.links.codec import decode, encode
from glowplug.store import Hold, ModelInfo, Renewal, Report, Settlement, TaskInfo, Want

HOLD = Hold("0123", 7)
ARTIFACT = Artifact("jobs/0123/7/a.png", 10, "0" * 64, "image/png")
ECHO = ModelInfo("echo", "1", (TaskInfo("echo.say", batch=4),))
MESSAGES: list[Any] = [
    Register(
        "w1", "i1", 3, {"state": "READY"}, (ModelInfo("echo", "1", (TaskInfo("echo.say", batch=4),)),), "http://x", 7
    ),
    Registered(60.0, (Order(OrderKind.DRAIN),)),
    Claim("w1", "i1", (Want(("echo.say",), 2),), 20.0, (HOLD,)),
    Claim("w1", "i1", ()),
    Claimed((Grant(HOLD, "echo.say", {"n": [1, None]}, 2, datetime(2026, 1, 1, tzinfo=UTC), "ann"),)),
    Claimed(
        (
            Grant(
                HOLD,
                "echo.say",
                {},
                1,
                datetime(2026, 1, 1, 1, 2, 3, 456, tzinfo=UTC),
                checkpoint=Checkpoint(5, ARTIFACT, "2"),
            ),
        ),
        (Order(OrderKind.CANCEL, "0123"),),
    ),
    Renew("w1", "i1", (HOLD,)),
    Renewed((Renewal(HOLD, held=True, cancel=False),)),
    Events("w1", (Report(HOLD, (Note("progress", {"x": 1.5}, progress=Progress(1, 2, "n", "artifact:a")),)),)),
    Finish("w1", (Settlement(HOLD, Outcome(OutcomeKind.COMPLETED, {"a": [1]}, None, (ARTIFACT,))),)),
    Finish("w1", (Settlement(HOLD, Outcome(OutcomeKind.FAILED, failure=Failure("x", "y", False, {"z": 1}))),)),
    Accepted((True, False)),
]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_survives_the_way(message: Any) -> None:
    assert decode(type(message), encode(message)) == message


@given(JSON)
def test_a_result_survives_the_way_whatever_it_holds(result: Any) -> None:
    message = Finish("w1", (Settlement(HOLD, Outcome(OutcomeKind.COMPLETED, result)),))
    assert decode(Finish, encode(message)) == message


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'{"lease_seconds": "long"}', b"<html>", b"\xff"])
def test_nonsense_is_an_error_of_the_other_side(body: bytes) -> None:
    with pytest.raises(RemoteError, match="same release"):
        decode(Registered, body)


def test_a_field_that_a_newer_release_added_is_ignored() -> None:
    body = encode(Registered(5.0)).replace(b"{", b'{"later":1,', 1)
    assert decode(Registered, body) == Registered(5.0)


def test_every_message_of_the_contract_has_its_example_here() -> None:
    named = {type(message) for message in MESSAGES}
    assert all(dataclasses.is_dataclass(kind) for kind in named)
    assert len(named) == 9
