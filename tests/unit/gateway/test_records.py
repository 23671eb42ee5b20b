"""Records of workers that several gateways share, without a gateway."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.gateway.house import MOMENT, picture

from glowplug.gateway.records import durable_part, is_news, shared_part
from glowplug.readiness import Status
from glowplug.store import WorkerRecord

LATER = MOMENT + timedelta(seconds=5)
KNOWN = WorkerRecord(
    instance_id="w1", incarnation="one", status="ready", last_seen=MOMENT, snapshot=picture(), sequence=3, gateway="a"
)


@pytest.mark.parametrize(
    ("stored", "news"),
    [
        (KNOWN, False),
        (replace(KNOWN, sequence=4), True),
        (replace(KNOWN, sequence=4, last_seen=MOMENT - timedelta(hours=1)), True),
        (replace(KNOWN, sequence=2, last_seen=LATER), False),
        (replace(KNOWN, last_seen=LATER), True),
        (replace(KNOWN, status="offline"), True),
        (replace(KNOWN, failed_probes=2), False),
        (replace(KNOWN, incarnation="two", sequence=1, last_seen=LATER), True),
        (replace(KNOWN, incarnation="zero", sequence=9, last_seen=MOMENT - timedelta(seconds=1)), False),
    ],
    ids=[
        "the same",
        "a later announcement",
        "a later announcement through a clock that is behind",
        "an earlier announcement through a clock that is ahead",
        "seen since",
        "given up by the leader",
        "probed by another",
        "a process started anew",
        "the process before",
    ],
)
def test_what_is_newer(stored: WorkerRecord, news: bool) -> None:
    assert is_news(stored, KNOWN) is news


def test_a_gateway_that_is_alone_writes_no_progress() -> None:
    moved = replace(KNOWN, snapshot=picture(Status.LOADING), sequence=9, last_seen=LATER, slots={"echo": 4})
    assert durable_part(moved) == durable_part(KNOWN)
    assert durable_part(replace(KNOWN, status="error")) != durable_part(KNOWN)


def test_others_hear_at_once_how_each_component_stands_and_not_how_far_it_is() -> None:
    further = picture(Status.LOADING)
    further["components"][0]["percent"] = 12.0
    loading = replace(KNOWN, snapshot=picture(Status.LOADING))
    assert shared_part(replace(loading, snapshot=further, sequence=9)) == shared_part(loading)
    assert shared_part(loading) != shared_part(KNOWN)
    assert shared_part(replace(KNOWN, slots={"echo": 4})) != shared_part(KNOWN)


def test_a_picture_of_another_release_is_no_reason_to_fail() -> None:
    odd = replace(KNOWN, snapshot={"components": ["?"], "state": 7})
    assert shared_part(odd) != shared_part(KNOWN)
