"""What becomes of requests, decided without a server; and what the change stream's documents say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from glowplug.errors import IdempotencyMismatch
from glowplug.job import Job, submitted
from glowplug.store import News
from glowplug.stores.mongo.news import news_of
from glowplug.stores.mongo.submissions import planned
from glowplug.testing.work import request

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def known(**fields: object) -> Job:
    return submitted(request(**fields), NOW)[0]


def test_requests_without_a_key_are_new() -> None:
    plan = planned([request(), request()], {}, NOW)
    assert [one.created for one in plan.submissions] == [True, True]
    assert [job for job, _ in plan.fresh] == [one.job for one in plan.submissions]
    assert len({one.job.id for one in plan.submissions}) == 2


def test_a_known_key_is_the_job_that_it_was() -> None:
    job = known(key="k")
    plan = planned([request(key="k"), request(key="l")], {("local", "k"): job}, NOW)
    assert [one.created for one in plan.submissions] == [False, True]
    assert plan.submissions[0].job is job
    assert len(plan.fresh) == 1


def test_a_key_twice_in_one_call_is_new_once() -> None:
    plan = planned([request(key="k"), request(key="k")], {}, NOW)
    assert [one.created for one in plan.submissions] == [True, False]
    assert plan.submissions[0].job is plan.submissions[1].job
    assert len(plan.fresh) == 1


def test_a_key_of_another_owner_is_another_key() -> None:
    plan = planned([request(key="k", owner="ann"), request(key="k", owner="bob", input={"n": 2})], {}, NOW)
    assert [one.created for one in plan.submissions] == [True, True]


@pytest.mark.parametrize("is_known", [True, False])
def test_a_key_for_something_else_is_refused(is_known: bool) -> None:
    there = {("local", "k"): known(key="k")} if is_known else {}
    asked = [request(key="k"), request(key="k", input={"n": 2})]
    with pytest.raises(IdempotencyMismatch):
        planned(asked, there, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"fullDocument": {"heard": "1 m.a b"}},
        {"updateDescription": {"updatedFields": {"heard": "12 m.a b"}}},
    ],
)
def test_a_change_names_the_job_and_its_task(change: dict[str, object]) -> None:
    assert news_of({"documentKey": {"_id": "j"}, **change}) == News("j", "m.a b")
