"""Results become JSON, or a clear error."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from glowplug.artifact import Artifact
from glowplug.errors import TaskFailed
from glowplug.process import results
from glowplug.process.results import encoded


@dataclasses.dataclass
class Box:
    label: str
    picture: Artifact | None = None


class Style(BaseModel):
    name: str
    boxes: list[int]


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


PICTURE = Artifact("jobs/1/1/a.png", 3, "ff")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_json_stays_as_it_is(value: Any) -> None:
    assert json.loads(encoded(value)) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (PICTURE, "artifact:jobs/1/1/a.png"),
        ([PICTURE], ["artifact:jobs/1/1/a.png"]),
        (Box("cat", PICTURE), {"label": "cat", "picture": "artifact:jobs/1/1/a.png"}),
        (
            {"boxes": (Box("a"), Box("b"))},
            {"boxes": [{"label": "a", "picture": None}, {"label": "b", "picture": None}]},
        ),
        (Style(name="oil", boxes=[1]), {"name": "oil", "boxes": [1]}),
        ({Colour.RED: Size.BIG, 1: frozenset({2})}, {"red": 3, "1": [2]}),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (Decimal("1.5"), "1.5"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ([math.nan, math.inf, -math.inf, 1.0], [None, None, None, 1.0]),
        (np.float32(1.5), 1.5),
        ([np.float64(2.5), np.int64(3), np.bool_(True), np.str_("x")], [2.5, 3, True, "x"]),
        (np.float64(math.nan), None),
    ],
    ids=str,
)
def test_what_has_an_obvious_form_gets_it(value: Any, expected: Any) -> None:
    assert json.loads(encoded(value)) == expected


def looped() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros(3), "a numpy.ndarray is in it; return value.tolist(), or store it with ctx.save"),
        ({"deep": [b"x"]}, "a bytes is in it; store it with ctx.save and return the Artifact"),
        (bytearray(), "a bytearray is in it"),
        (object(), "a object is in it"),
        (Box, "a type is in it"),
        ({(1, 2): 3}, "a dict key is a tuple, not a string"),
        ({True: 3}, "a dict key is a bool"),
        (looped(), "contains itself"),
        ("\udc80", "surrogates not allowed"),
        ((number for number in range(3)), "a generator is in it"),
    ],
    ids=lambda value: "" if not isinstance(value, str) else value[:20].encode("ascii", "replace").decode(),
)
def test_what_has_none_fails_the_task_and_says_what_to_do(value: Any, said: str) -> None:
    with pytest.raises(TaskFailed) as failed:
        encoded(value)
    assert said in failed.value.message
    assert "error_class" in failed.value.data


def test_a_path_is_not_a_result() -> None:
    with pytest.raises(TaskFailed, match="Path is in it; store it with"):
        encoded(Path("x"))


def test_a_result_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "LARGEST_RESULT_BYTES", 10)
    with pytest.raises(TaskFailed, match="store it with"):
        encoded("x" * 20)
