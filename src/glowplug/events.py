"""Every log event and metric of the platform, by name, with its fields; and `emit`, which hands them to a sink.

The roof sets the sink (logging, Prometheus, tests). Below it, code only says what happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["debug", "info", "warning", "error"]
Sink = Callable[["EventSpec", dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class EventSpec:
    """A kind of event: its level, the fields it must carry, and one line of meaning."""

    name: str
    level: Level
    fields: tuple[str, ...]
    meaning: str


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A metric derived from an event: counted, observed or set from field `value`, split by `labels`.

    Each label is named after the field it is read from, unless `sources` says another field.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    event: str
    labels: tuple[str, ...]
    meaning: str
    value: str | None = None
    sources: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the fields that the labels are read from, in the order of the labels."""
        return self.sources or self.labels


def _spec(name: str, level: Level, fields: str, meaning: str) -> tuple[str, EventSpec]:
    return name, EventSpec(name, level, tuple(fields.split()), meaning)


EVENTS: dict[str, EventSpec] = dict(
    [
        _spec("component.transition", "info", "component state previous seconds", "a component changed its state"),
        _spec("component.failed", "error", "component error error_class attempt", "a load or warm-up failed"),
        _spec("component.lost", "warning", "component error", "a component that was ready is not any more"),
        _spec(
            "component.ready",
            "info",
            "component load_seconds warmup_seconds total_seconds",
            "a component became ready; the total is load and warm-up, None where nothing was measured",
        ),
        _spec("component.phase", "debug", "component phase seconds", "what one stage of a finished load took in all"),
        _spec("app.empty", "warning", "advice", "an application waits for components and has none"),
        _spec("app.standstill", "warning", "component seconds advice", "a load kept a server from answering anybody"),
        _spec("app.copies", "warning", "server copies meaning", "a server runs the application more than once"),
        _spec("gateway.listening", "info", "url", "where the gateway answers, from now on"),
        _spec("model.spawned", "info", "model pid attempt", "a model's process was started"),
        _spec("model.exited", "warning", "model pid exit", "a model's process ended unasked"),
        _spec("model.killed", "warning", "model pid reason", "a model's process was killed by us"),
        _spec("model.output", "debug", "model line", "a line that the model's process printed"),
        _spec("model.waits", "info", "model reason", "a model waits for room on a card"),
        _spec("model.asleep", "info", "model freed_bytes how seconds", "a model made room on its card"),
        _spec("model.woke", "info", "model seconds", "a model came back from host memory"),
        _spec("cards.lost", "warning", "model error", "a model and the others on its card know nothing of each other"),
        _spec("cards.restored", "info", "model seconds", "a model shares its card again"),
        _spec("worker.registered", "info", "worker models", "the registry met a new incarnation of a worker"),
        _spec("worker.status", "info", "worker status previous", "the registry changed its mind on a worker"),
        _spec("worker.exited", "warning", "worker exit restart_in_seconds", "a supervised worker ended"),
        _spec("options.idle", "warning", "table advice", "a table of options is for no model that is started here"),
        _spec("worker.draining", "info", "worker reason", "a worker stopped taking work"),
        _spec("link.lost", "warning", "worker error", "a worker cannot reach the gateway"),
        _spec("link.restored", "info", "worker seconds", "a worker reaches the gateway again"),
        _spec("link.refused", "warning", "worker call error", "the gateway could not take a message of a worker"),
        _spec("notice.failed", "warning", "target error", "a ready or error notice could not be delivered"),
        _spec("webhook.failed", "warning", "target error", "the first of some deliveries in a row that failed"),
        _spec("webhook.restored", "info", "target seconds", "deliveries are taken again"),
        _spec("webhook.delivered", "debug", "target type", "an event was taken"),
        _spec("webhook.dropped", "warning", "target type reason", "an event was given up undelivered"),
        _spec("webhook.disabled", "error", "target", "the receiver answered 410: it is told nothing more"),
        _spec("broker.lost", "warning", "broker error", "the broker does not answer, or refuses us"),
        _spec("broker.restored", "info", "broker seconds", "the broker answers again"),
        _spec(
            "broker.refused", "warning", "queue reason", "a message that is no hint of ours went to the dead letters"
        ),
        _spec("broker.rebuilt", "warning", "model reason", "the intake of a model was lost, and is made anew"),
        _spec("broker.insecure", "warning", "broker advice", "the broker is used with the login that all know"),
        _spec("messages.insecure", "warning", "target message", "the message door uses RabbitMQ's default login"),
        _spec("messages.connected", "info", "target message", "the message door reaches RabbitMQ"),
        _spec("messages.lost", "warning", "target error message", "the message door does not reach RabbitMQ"),
        _spec("messages.consumed", "info", "queue task message", "requests are taken from a queue"),
        _spec("messages.waiting", "info", "queue task message", "a queue is left alone: nobody knows its task yet"),
        _spec("messages.taken", "info", "kind job message", "a request became a job"),
        _spec("messages.repeated", "info", "kind job message", "a request came again; it runs nothing"),
        _spec("messages.refused", "warning", "kind queue reason message", "a request went to the dead letters"),
        _spec("messages.held", "warning", "queue error message", "requests cannot be taken at the moment"),
        _spec("messages.left", "warning", "kind job message", "a result could not be laid where its request wants it"),
        _spec("messages.update", "debug", "kind job message", "an update queue took a message"),
        _spec("messages.result", "info", "kind job message", "a result queue took a message"),
        _spec("queue.held", "info", "task queued", "work waits and no ready worker takes it"),
        _spec("queue.resumed", "info", "task", "a ready worker takes work again"),
        _spec("job.submitted", "debug", "job task owner", "a job was queued"),
        _spec("job.started", "debug", "job task worker attempt waited_seconds", "a worker claimed a job"),
        _spec("job.settled", "debug", "job task state outcome seconds", "an attempt of a job ended"),
        _spec("job.failed", "warning", "job task attempts error", "a job ended as failed"),
        _spec("job.lease_lost", "warning", "job worker", "a worker's write was refused: its lease is gone"),
        _spec("job.reaped", "warning", "job worker attempt", "an expired lease was taken back"),
        _spec("delivery.tried", "debug", "door job seq outcome seconds", "a door was told events of a job, or not"),
        _spec("delivery.failed", "warning", "door target job error", "the first of some tells in a row that failed"),
        _spec("delivery.restored", "info", "door target", "events are taken there again"),
        _spec("delivery.given_up", "error", "door job seq error", "events of a job will not be told to a door"),
        _spec("door.failed", "warning", "door error", "a door could not be opened; it is tried again"),
        _spec("door.opened", "info", "door", "a door is open"),
        _spec("door.connected", "info", "door target", "a door reaches the broker that it tells"),
        _spec("door.lost", "warning", "door target error", "a door does not reach its broker; HTTP goes on"),
        _spec("call.done", "debug", "task status seconds", "a direct call was answered"),
        _spec("weights.fetched", "info", "source bytes seconds", "weights were fetched to this machine"),
        _spec("weights.failed", "error", "source error", "weights could not be fetched"),
        _spec("store.failed", "error", "error", "the store refused or lost a write"),
        _spec("store.limited", "warning", "store advice", "the store works, but not as well as it could"),
        _spec("store.restored", "info", "seconds", "the store answers again"),
        _spec("disk.low", "warning", "path free_bytes limit_bytes", "the disk is nearly full: intake stops"),
        _spec("hints.lost", "warning", "model jobs", "a broker lost hints, which are sent again"),
        _spec("duty.led", "info", "duty gateway", "of several gateways, this one does a duty from now on"),
        _spec("duty.left", "info", "duty gateway", "this gateway does a duty no more; another one may"),
        _spec("retention.cleaned", "info", "jobs artifacts bytes", "old jobs and artifacts were deleted"),
        _spec("duty.failed", "error", "duty error", "a duty of the gateway failed; it has its next turn all the same"),
        _spec("conversation.failed", "error", "component error", "a part of a conversation failed; the talk goes on"),
        _spec("conversation.ended", "info", "reason turns seconds", "somebody stopped talking with the models"),
        _spec("http.failed", "error", "path error", "a request ended in an error of ours"),
    ]
)


def _metric(
    name: str, kind: Literal["counter", "gauge", "histogram"], event: str, labels: str, meaning: str, value: str = ""
) -> MetricSpec:
    # "class=error_class": a label that is not called like its field.
    pairs = [(label, field or label) for label, _, field in (word.partition("=") for word in labels.split())]
    names, sources = tuple(label for label, _ in pairs), tuple(field for _, field in pairs)
    return MetricSpec(name, kind, event, names, meaning, value or None, sources)


METRICS: tuple[MetricSpec, ...] = (
    _metric(
        "component_transitions_total", "counter", "component.transition", "component state", "Changes into a state"
    ),
    _metric(
        "component_load_seconds",
        "histogram",
        "component.ready",
        "component",
        "Loads from their beginning to ready, warm-up included: the sum of their phases",
        "total_seconds",
    ),
    _metric(
        "component_load_phase_seconds",
        "histogram",
        "component.phase",
        "component phase",
        "Stages of the loads that became ready",
        "seconds",
    ),
    _metric(
        "component_load_failures_total",
        "counter",
        "component.failed",
        "component class=error_class",
        "Loads and warm-ups that failed",
    ),
    _metric("component_losses_total", "counter", "component.lost", "component", "Ready components that were lost"),
    _metric("model_exits_total", "counter", "model.exited", "model", "Model processes that ended unasked"),
    _metric("jobs_submitted_total", "counter", "job.submitted", "task", "Jobs queued"),
    _metric("job_wait_seconds", "histogram", "job.started", "task", "Queued until claimed", "waited_seconds"),
    _metric("job_attempts_total", "counter", "job.settled", "task outcome", "Attempts ended"),
    _metric("job_run_seconds", "histogram", "job.settled", "task", "Time of an attempt", "seconds"),
    _metric("job_leases_lost_total", "counter", "job.lease_lost", "", "Writes refused for a lost lease"),
    _metric("jobs_reaped_total", "counter", "job.reaped", "", "Expired leases taken back"),
    _metric(
        "deliveries_total", "counter", "delivery.tried", "door outcome", "Tells of job events: taken, failed, given_up"
    ),
    _metric("delivery_seconds", "histogram", "delivery.tried", "door", "Time of a tell", "seconds"),
    _metric("call_seconds", "histogram", "call.done", "task status", "Direct calls", "seconds"),
    _metric("conversation_failures_total", "counter", "conversation.failed", "component", "Failures in conversations"),
    _metric("conversation_seconds", "histogram", "conversation.ended", "", "Time of a conversation", "seconds"),
    _metric("webhook_deliveries_total", "counter", "webhook.delivered", "type", "Events taken by the webhook"),
    _metric("webhook_drops_total", "counter", "webhook.dropped", "reason", "Events given up undelivered"),
    _metric("messages_taken_total", "counter", "messages.taken", "kind", "Requests by message that became jobs"),
    _metric("messages_refused_total", "counter", "messages.refused", "kind", "Requests put on a dead-letter queue"),
    _metric("messages_results_total", "counter", "messages.result", "kind", "Results published by message"),
    _metric("weights_fetched_bytes_total", "counter", "weights.fetched", "", "Weight bytes fetched", "bytes"),
)


def _no_sink(spec: EventSpec, fields: dict[str, Any]) -> None:
    del spec, fields


_sinks: list[Sink] = [_no_sink]


def set_sink(sink: Sink) -> Sink:
    """Make `sink` receive every event from now on; return the one it replaces."""
    previous = _sinks[0]
    _sinks[0] = sink
    return previous


def emit(name: str, **fields: Any) -> None:
    """Say that something happened. Raises `KeyError` for a name or a missing field that the catalogue does not have."""
    spec = EVENTS[name]
    for needed in spec.fields:
        fields[needed]
    _sinks[0](spec, fields)
