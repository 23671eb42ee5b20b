"""Messages cross the stream whole, whatever pieces it comes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.artifact import Artifact
from glowplug.errors import BugError, InvalidInput, NotFound, TaskFailed
from glowplug.job import Budget, OutcomeKind
from glowplug.model import TaskOptions
from glowplug.process.protocol import (
    LARGEST_FRAME_BYTES,
    Begin,
    Checkpointed,
    Confirmed,
    Described,
    Ended,
    Item,
    Load,
    Moved,
    Progressed,
    Run,
    Saved,
    Stop,
    Unload,
    Unpacker,
    Warmed,
    WireError,
    packed,
    to_child,
    to_host,
)
from glowplug.store import ModelInfo, TaskInfo

DOWN = [
    Begin("m.py:M", "cuda:0", {"a": "b"}, None, 7, True),
    Load({"net": "/tmp/net"}),
    Run("m.say", [Item("1", b'{"text": "x"}', "/tmp/1", "jobs/1/1", {"artifact:a": "/tmp/a"}, (3, "/tmp/c"))]),
    Stop("1", True),
    Confirmed("1", False),
    Unload(),
]
UP = [
    Described(
        ModelInfo("m", "2", (TaskInfo("m.say", "Say", {"type": "object"}, {}, {"text": "x"}),)),
        {"m.say": TaskOptions(example={"text": "x"}, batch=4, budget=Budget(crashes=1))},
        {"net": "s3://net"},
        False,
        3,
    ),
    Moved("read", 1, 2.5, "bytes"),
    Progressed("1", 1, None, "", None),
    Saved("1", Artifact("a/b", 3, "ff", "text/plain"), "/tmp/x"),
    Checkpointed("1", 5, "/tmp/c"),
    Ended("1", OutcomeKind.FAILED, error=WireError("not_found", "no", {"a": 1})),
    Warmed(0.5, None),
]


@pytest.mark.parametrize("message", DOWN, ids=lambda message: type(message).__name__)
def test_messages_to_the_child_arrive_as_they_were(message: object) -> None:
    [body] = Unpacker().feed(packed(message))  # type: ignore[arg-type]
    assert to_child.decode(body) == message


@pytest.mark.parametrize("message", UP, ids=lambda message: type(message).__name__)
def test_messages_to_the_host_arrive_as_they_were(message: object) -> None:
    [body] = Unpacker().feed(packed(message))  # type: ignore[arg-type]
    assert to_host.decode(body) == message


@given(st.lists(st.binary(max_size=200), max_size=20), st.lists(st.integers(1, 50), min_size=1))
def test_the_stream_may_be_cut_anywhere(outputs: list[bytes], cuts: list[int]) -> None:
    messages = [Ended(str(number), OutcomeKind.COMPLETED, output) for number, output in enumerate(outputs)]
    stream = b"".join(map(packed, messages))
    unpacker, heard, place = Unpacker(), [], 0
    while place < len(stream):
        cut = cuts[place % len(cuts)]
        heard += [to_host.decode(body) for body in unpacker.feed(stream[place : place + cut])]
        place += cut
    assert heard == messages


def test_a_length_out_of_bounds_is_damage() -> None:
    with pytest.raises(BugError, match="damaged"):
        Unpacker().feed((LARGEST_FRAME_BYTES + 1).to_bytes(4, "big"))


def test_an_error_keeps_its_class_message_and_data() -> None:
    back = WireError.of(InvalidInput("wrong", fields=[{"loc": "a", "msg": "b"}])).error()
    assert (type(back), back.message, back.data) == (InvalidInput, "wrong", {"fields": [{"loc": "a", "msg": "b"}]})
    assert type(WireError("not_found", "gone", {}).error()) is NotFound


def test_an_error_of_an_unknown_class_is_the_tasks() -> None:
    assert type(WireError("of_another_house", "hm", {}).error()) is TaskFailed


def test_data_of_an_error_that_has_no_msgpack_becomes_text() -> None:
    [body] = Unpacker().feed(packed(Warmed(0, WireError("bug", "m", {"what": object}))))
    message = to_host.decode(body)
    assert isinstance(message, Warmed)
    assert message.error is not None
    assert message.error.data == {"what": "<class 'object'>"}
