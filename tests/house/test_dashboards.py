"""The dashboard and the alert rules ask for what is there, in a language that Prometheus understands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from glowplug.events import METRICS
from glowplug.readiness.state import Status
from glowplug.telemetry.meters import NAMESPACE
from glowplug.telemetry.readings import GAUGES

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "glowplug.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))

# What the Prometheus client tells of any process, and what is the same for all of Glowplug's.
OTHERS = {
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
    "process_open_fds": set(),
    "glowplug_up": set(),
    "glowplug_build_info": {"version"},
}
SCRAPED = {"job", "instance"}
READINESS = "component_"
GRID_COLUMNS = 24
UNITS = {"short", "s", "bytes", "percentunit", "reqps", "binBps"}
FAR_APART = ("$__rate_interval", "5m"), ("$__interval", "1m"), ("$__range", "6h")


def series() -> dict[str, set[str]]:
    """Return every series that can be asked for, with its labels."""
    found: dict[str, set[str]] = {name: set(labels) for name, labels in OTHERS.items()}
    for gauge in GAUGES.values():
        found[f"{NAMESPACE}_{gauge.name}"] = set(gauge.labels)
    for metric in METRICS:
        name, labels = f"{NAMESPACE}_{metric.name}", set(metric.labels)
        if metric.kind == "histogram":
            found |= {f"{name}_sum": labels, f"{name}_count": labels, f"{name}_bucket": {*labels, "le"}}
        else:
            found[name] = labels
    return found


SERIES = series()


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def parsed(expression: str) -> Any:
    for variable, seconds in FAR_APART:
        expression = expression.replace(variable, seconds)
    return promql_parser.parse(expression)


def parts(node: Any) -> Iterator[Any]:
    """Yield an expression and everything in it."""
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if (inner := getattr(node, name, None)) is not None:
            yield from parts(inner)
    for inner in getattr(node, "args", ()):
        yield from parts(inner)


def asked(expression: str) -> set[str]:
    """Return the names of the series that an expression asks for."""
    found = [part for part in parts(parsed(expression)) if isinstance(part, promql_parser.VectorSelector)]
    return {part.name for part in found}


def labels_named(expression: str) -> set[str]:
    """Return every label by which an expression selects or groups."""
    found: set[str] = set()
    for part in parts(parsed(expression)):
        if isinstance(part, promql_parser.VectorSelector):
            found |= {matcher.name for matcher in part.matchers.matchers}
        elif isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None:
            found |= set(part.modifier.labels)
    return found


EXPRESSIONS = [
    *((f"{panel['title']} {target['refId']}", target["expr"]) for panel in panels() for target in panel["targets"]),
    *((rule["alert"], rule["expr"]) for rule in rules()),
]


@pytest.mark.parametrize("expression", [one for _, one in EXPRESSIONS], ids=[name for name, _ in EXPRESSIONS])
def test_only_series_and_labels_that_exist_are_asked_for(expression: str) -> None:
    names = asked(expression)
    assert names
    assert names <= set(SERIES)
    known = SCRAPED.union(*(SERIES[name] for name in names))
    assert labels_named(expression) <= known


def test_every_metric_of_readiness_is_on_the_dashboard() -> None:
    shown = {name for panel in panels() for target in panel["targets"] for name in asked(target["expr"])}
    wanted = [spec.name for spec in (*METRICS, *GAUGES.values()) if spec.name.startswith(READINESS)]
    missing = [name for name in wanted if not any(one.startswith(f"{NAMESPACE}_{name}") for one in shown)]
    assert missing == []


def test_every_metric_of_the_catalogue_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    assert [spec.name for spec in METRICS if f"{NAMESPACE}_{spec.name}" not in shown] == []


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_every_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert target["legendFormat"]


def test_labels_that_a_legend_shows_are_there() -> None:
    wrong = []
    for panel in panels():
        for target in panel["targets"]:
            shown = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"]))
            grouped = [part for part in parts(parsed(target["expr"])) if isinstance(part, promql_parser.AggregateExpr)]
            kept = set(grouped[0].modifier.labels) if grouped and grouped[0].modifier else set()
            if not grouped:
                kept = SCRAPED.union(*(SERIES[name] for name in asked(target["expr"])))
            if not shown <= kept:
                wrong.append((panel["title"], shown - kept))
    assert wrong == []


def test_the_dashboard_is_in_a_form_that_grafana_takes() -> None:
    assert DASHBOARD["schemaVersion"] >= 39
    assert DASHBOARD["uid"] == "glowplug"
    variables = {one["name"]: one["type"] for one in DASHBOARD["templating"]["list"]}
    assert variables["datasource"] == "datasource"
    used = set(re.findall(r"\$(?!__)\{?(\w+)", json.dumps(DASHBOARD)))
    assert used == set(variables)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_no_two_panels_lie_on_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert at["x"] + at["w"] <= GRID_COLUMNS
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_states_of_the_timeline_are_those_of_a_component() -> None:
    (panel,) = [one for one in panels() if one["type"] == "state-timeline"]
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    names = {number: shown["text"] for number, shown in mapping["options"].items()}
    assert set(names.values()) == {status.value for status in Status}
    expression = panel["targets"][0]["expr"]
    for number, name in names.items():
        assert re.search(rf'(^|\s){number} \* \w+\{{[^}}]*state="{name}"\}}', expression)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Glowplug")
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}
    shown = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    assert shown <= labels_named(rule["expr"])
