"""The Prometheus side: metrics fed by events, and gauges read when asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from glowplug.events import METRICS, EventSpec, MetricSpec
from glowplug.telemetry.readings import GAUGES, Source

NAMESPACE = "glowplug"
SECONDS_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    *(120, 300, 600, 900, 1800, 3600),
)

Meter = Counter | Gauge | Histogram


class Meters:
    """A registry of its own, so that two of them can live in one process.

    `sources` is looked at on every reading. Without `about_process` only what Glowplug itself knows is in it.
    """

    def __init__(self, sources: Sequence[Source], version: str, *, about_process: bool = True) -> None:
        self._registry = CollectorRegistry()
        self._by_event: dict[str, list[tuple[MetricSpec, Meter]]] = {}
        for spec in METRICS:
            self._by_event.setdefault(spec.event, []).append((spec, self._meter(spec)))
        self._registry.register(_Readings(sources))
        info = Gauge("build_info", "The version that runs.", ("version",), namespace=NAMESPACE, registry=self._registry)
        info.labels(version or "unknown").set(1)
        if about_process:
            Gauge("up", "The process answers.", namespace=NAMESPACE, registry=self._registry).set(1)
            ProcessCollector(registry=self._registry)

    def observe(self, spec: EventSpec, fields: Mapping[str, Any]) -> None:
        """Feed the metrics that are derived from an event."""
        for metric, meter in self._by_event.get(spec.name, ()):
            child = meter.labels(*(str(fields[name]) for name in metric.fields)) if metric.labels else meter
            value = fields[metric.value] if metric.value else 1
            if value is None:
                continue
            if isinstance(child, Histogram):
                child.observe(value)
            elif isinstance(child, Counter):
                child.inc(value)
            else:
                child.set(value)

    def exposed(self) -> tuple[bytes, str]:
        """Return the body and the media type of `/metrics`."""
        # A registry by its one method that counts, so that the families can pass through a hand.
        return generate_latest(cast("CollectorRegistry", self)), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family, as a registry does."""
        for family in self._registry.collect():
            # The library can leave out when a series began only for the whole process, which may not be ours.
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family

    def _meter(self, spec: MetricSpec) -> Meter:
        if spec.kind == "histogram":
            return Histogram(
                spec.name,
                spec.meaning,
                spec.labels,
                namespace=NAMESPACE,
                registry=self._registry,
                buckets=SECONDS_BUCKETS,
            )
        kind = Counter if spec.kind == "counter" else Gauge
        return kind(spec.name, spec.meaning, spec.labels, namespace=NAMESPACE, registry=self._registry)


class _Readings(Collector):
    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families = {
            name: GaugeMetricFamily(f"{NAMESPACE}_{name}", spec.meaning, labels=spec.labels)
            for name, spec in GAUGES.items()
        }
        for source in self._sources:
            for reading in source():
                families[reading.gauge].add_metric(reading.labels, reading.value)
        yield from families.values()
