"""Which lifecycle rules a bucket should have, and how they are put beside those of others."""

from __future__ import annotations

from typing import Any

import pytest

from glowplug.artifacts.lifecycle import Keep, Rule, merged, missing, wanted

DAY = 86_400.0
KEEP = Keep(jobs_seconds=30 * DAY, inputs_seconds=7 * DAY)
RULES = wanted("folder", KEEP)
THEIRS: dict[str, Any] = {
    "ID": "logs",
    "Filter": {"And": {"Prefix": "logs/", "Tags": [{"Key": "a", "Value": "b"}]}},
    "Status": "Enabled",
    "Transitions": [{"Days": 30, "StorageClass": "GLACIER"}],
}


def test_each_folder_goes_a_little_after_its_own_time() -> None:
    assert {rule.prefix: rule.expire_days for rule in RULES if rule.abort_days is None} == {
        "folder/jobs/": 37,
        "folder/inputs/": 8,
        "folder/calls/": 2,
        "folder/uploads/": 2,
    }


def test_unfinished_uploads_go_after_a_day_below_the_folder_alone() -> None:
    assert [(rule.prefix, rule.abort_days) for rule in RULES if rule.abort_days] == [("folder/", 1)]
    assert [(rule.prefix, rule.abort_days) for rule in wanted("", KEEP) if rule.abort_days] == [("", 1)]


@pytest.mark.parametrize(("seconds", "days"), [(0.0, 2), (1.0, 2), (DAY, 2), (DAY + 1, 3), (365 * DAY, 366)])
def test_parts_of_a_day_count_as_one(seconds: float, days: int) -> None:
    rules = wanted("", Keep(jobs_seconds=DAY, inputs_seconds=seconds))
    assert next(rule.expire_days for rule in rules if rule.prefix == "inputs/") == days


def test_no_two_rules_have_the_same_name() -> None:
    both = [*RULES, *wanted("", KEEP), *wanted("folder/deeper", KEEP)]
    assert len({rule.id for rule in both}) == len(both)
    assert all(len(rule.id) <= 255 for rule in wanted("x" * 500, KEEP))


def test_nothing_is_missing_once_they_are_set() -> None:
    assert missing([], RULES) == list(RULES)
    assert missing(merged([], RULES), RULES) == []
    assert missing(merged([THEIRS], RULES), RULES) == []


@pytest.mark.parametrize(
    "changed",
    [{"Status": "Disabled"}, {"Expiration": {"Days": 3}}, {"Filter": {"Prefix": "other/"}}, {"Filter": {}}],
)
def test_a_rule_that_is_otherwise_is_missing(changed: dict[str, Any]) -> None:
    found = merged([], RULES)
    found[0] |= changed
    assert missing(found, RULES) == [RULES[0]]


def test_the_rules_of_others_stay_as_they_are_and_come_first() -> None:
    assert merged([THEIRS], RULES)[0] == THEIRS


def test_older_rules_of_ours_are_replaced_and_not_doubled() -> None:
    before = merged([THEIRS], wanted("folder", Keep(jobs_seconds=DAY, inputs_seconds=DAY)))
    after = merged(before, RULES)
    assert len(after) == len(before) == len(RULES) + 1
    assert missing(after, RULES) == []


def test_rules_of_another_glowplug_in_the_same_bucket_stay() -> None:
    other = merged([], wanted("other", KEEP))
    assert merged(other, RULES)[: len(other)] == other


def test_beside_rules_in_the_older_form_ours_are_in_it_too() -> None:
    older = {"ID": "old", "Prefix": "tmp/", "Status": "Enabled", "Expiration": {"Days": 1}}
    made = merged([older], RULES)
    assert all("Prefix" in one and "Filter" not in one for one in made)
    assert missing(made, RULES) == []


def test_a_rule_is_told_in_plain_words() -> None:
    assert str(Rule("jobs/", expire_days=37)) == "jobs/ goes after 37 d"
    assert str(Rule("", abort_days=1)) == "unfinished uploads below the bucket go after 1 d"
