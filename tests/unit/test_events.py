"""The catalogue of events: complete, consistent, and what the code really emits."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import glowplug
from glowplug.events import EVENTS, METRICS, EventSpec, MetricSpec, emit, set_sink

SOURCE = Path(glowplug.__file__).parent


@pytest.fixture
def heard() -> Iterator[list[tuple[EventSpec, dict[str, Any]]]]:
    book: list[tuple[EventSpec, dict[str, Any]]] = []
    previous = set_sink(lambda spec, fields: book.append((spec, fields)))
    yield book
    set_sink(previous)


def emitted() -> list[tuple[str, ast.Call]]:
    """Find every call of `emit` in the sources, with the place it stands at."""
    return [
        (f"{path.relative_to(SOURCE)}:{node.lineno}", node)
        for path in sorted(SOURCE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "emit"
    ]


def test_an_event_reaches_the_sink_with_its_fields(heard: list[tuple[EventSpec, dict[str, Any]]]) -> None:
    emit("store.failed", error="no room", more=1)
    assert heard == [(EVENTS["store.failed"], {"error": "no room", "more": 1})]


def test_an_event_that_is_not_in_the_catalogue_is_refused(heard: list[tuple[EventSpec, dict[str, Any]]]) -> None:
    with pytest.raises(KeyError):
        emit("store.exploded")
    assert heard == []


def test_an_event_without_one_of_its_fields_is_refused(heard: list[tuple[EventSpec, dict[str, Any]]]) -> None:
    with pytest.raises(KeyError):
        emit("job.submitted", job="1", task="m.t")
    assert heard == []


def test_a_new_sink_hands_back_the_one_before() -> None:
    def first(_: EventSpec, __: dict[str, Any]) -> None:
        """Hear nothing."""

    original = set_sink(first)
    assert set_sink(original) is first


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_each_event_has_a_name_of_its_noun_and_a_meaning(name: str) -> None:
    spec = EVENTS[name]
    assert spec.name == name
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", name)
    assert spec.meaning
    assert len(set(spec.fields)) == len(spec.fields)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_each_metric_reads_fields_that_its_event_has(metric: MetricSpec) -> None:
    fields = set(EVENTS[metric.event].fields)
    assert set(metric.fields) <= fields
    assert len(metric.fields) == len(metric.labels)
    assert metric.value is None or metric.value in fields
    assert metric.value is not None or metric.kind == "counter"
    assert metric.name.endswith("_total") == (metric.kind == "counter")


def test_no_two_metrics_have_one_name() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_what_the_code_emits_is_in_the_catalogue_with_its_fields() -> None:
    wrong = []
    for place, call in emitted():
        name = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
        given = {word.arg for word in call.keywords}
        if isinstance(name, str) and None not in given and not set(EVENTS[name].fields) <= given:
            wrong.append(f"{place}: {name} lacks {set(EVENTS[name].fields) - given}")
    assert wrong == []
    assert emitted()
