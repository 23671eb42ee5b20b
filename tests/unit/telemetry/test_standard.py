"""Telemetry as a guest in somebody else's process."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from glowplug.events import EVENTS, EventSpec, emit, set_sink
from glowplug.telemetry import LibraryTelemetry, Reading, Redaction
from glowplug.telemetry.sentences import sentence
from glowplug.telemetry.standard import MAX_HELD_EVENTS

PHASE = {"component": "tts", "phase": "read"}


@contextmanager
def guest(**options: Any) -> Iterator[LibraryTelemetry]:
    made = LibraryTelemetry(**options)
    made.install()
    try:
        yield made
    finally:
        made.close()


class Book(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    caplog.set_level(logging.DEBUG, "glowplug")
    book = Book()
    logging.getLogger("glowplug").addHandler(book)
    yield book.records
    logging.getLogger("glowplug").removeHandler(book)


def said(records: list[logging.LogRecord]) -> list[str]:
    return [record.getMessage() for record in records]


def values(body: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(body.decode())
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def test_an_event_becomes_one_readable_record_with_its_fields(records: list[logging.LogRecord]) -> None:
    with guest():
        emit("component.ready", component="tts", load_seconds=11.1, warmup_seconds=1.2, total_seconds=12.3)
    (record,) = records
    assert record.name == "glowplug"
    assert record.levelno == logging.INFO
    assert record.getMessage() == "tts is ready after 12.3 s (load 11.1 s, warm-up 1.2 s)"
    assert (record.event, record.component, record.total_seconds) == ("component.ready", "tts", 12.3)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "fields", "level"),
    [
        ("component.phase", {**PHASE, "seconds": 1.0}, logging.DEBUG),
        ("webhook.restored", {"target": "http://h", "seconds": 1.0}, logging.INFO),
        ("component.lost", {"component": "tts", "error": "gone"}, logging.WARNING),
        ("weights.failed", {"source": "s3://x", "error": "gone"}, logging.ERROR),
    ],
)
def test_levels_are_those_of_the_catalogue(
    records: list[logging.LogRecord], name: str, fields: dict[str, Any], level: int
) -> None:
    with guest():
        emit(name, **fields)
    assert [record.levelno for record in records] == [level]


def test_secrets_are_hidden_in_the_line_and_in_the_fields(records: list[logging.LogRecord]) -> None:
    with guest(secrets=["sesame-open"]):
        emit("weights.failed", source="https://me:pw@host/x", error="refused sesame-open", token="abc")
    (record,) = records
    assert "sesame-open" not in record.getMessage() + str(record.__dict__)
    assert "me:pw" not in str(record.__dict__)
    assert record.token == "***"  # type: ignore[attr-defined]


def test_fields_that_a_record_has_already_get_another_name(records: list[logging.LogRecord]) -> None:
    with guest():
        emit("store.failed", error="full", module="x", process=7, message="y")
    (record,) = records
    assert record.name == "glowplug"
    assert (record.event_module, record.event_process, record.event_message) == ("x", 7, "y")  # type: ignore[attr-defined]


def test_an_exception_comes_with_its_traceback(records: list[logging.LogRecord]) -> None:
    with guest():
        emit("store.failed", error="full", exception=ValueError("inside"))
    assert records[0].exc_info is not None
    assert "inside" not in records[0].getMessage()


def test_nothing_is_made_ready_for_a_logger_that_listens_to_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "glowplug")
    with guest():
        emit("component.lost", component="tts", error="gone")
    assert caplog.records == []


def test_two_at_once_log_an_event_once_and_count_it_both(records: list[logging.LogRecord]) -> None:
    with guest() as one, guest() as other:
        emit("component.lost", component="tts", error="gone")
        for each in (one, other):
            assert values(each.metrics()[0])["glowplug_component_losses_total", (("component", "tts"),)] == 1
    assert len(records) == 1


def test_the_one_that_stays_hears_what_the_one_that_left_does_not(records: list[logging.LogRecord]) -> None:
    with guest() as one:
        with guest() as other:
            one.close()
            emit("component.lost", component="tts", error="gone")
            assert values(other.metrics()[0])["glowplug_component_losses_total", (("component", "tts"),)] == 1
        assert ("glowplug_component_losses_total", (("component", "tts"),)) not in values(one.metrics()[0])
    assert len(records) == 1


def test_a_sink_that_was_there_hears_everything_and_is_back_afterwards(records: list[logging.LogRecord]) -> None:
    heard: list[str] = []

    def sink(spec: EventSpec, fields: dict[str, Any]) -> None:
        heard.append(spec.name)

    original = set_sink(sink)
    try:
        with guest() as made:
            made.install()
            emit("component.lost", component="tts", error="gone")
        emit("component.lost", component="tts", error="gone")
        assert set_sink(sink) is sink
    finally:
        set_sink(original)
    assert heard == ["component.lost"] * 2
    assert len(records) == 1


def test_a_sink_that_came_later_stays(records: list[logging.LogRecord]) -> None:
    def later(spec: EventSpec, fields: dict[str, Any]) -> None:
        """Hear nothing."""

    made = LibraryTelemetry()
    made.install()
    ours = set_sink(later)
    made.close()
    assert set_sink(later) is later
    set_sink(ours)
    made.install()
    made.close()
    emit("component.lost", component="tts", error="gone")
    assert records == []


def test_closing_is_safe_twice_and_without_installing() -> None:
    made = LibraryTelemetry()
    made.close()
    made.install()
    made.close()
    made.close()


def test_what_happened_before_the_first_look_is_counted() -> None:
    with guest() as made:
        emit("component.phase", **PHASE, seconds=2.0)
        emit("component.phase", **PHASE, seconds=3.0)
        body, media_type = made.metrics()
        emit("component.phase", **PHASE, seconds=5.0)
        later, _ = made.metrics()
    assert media_type.startswith("text/plain")
    labels = tuple(sorted(PHASE.items()))
    assert values(body)["glowplug_component_load_phase_seconds_sum", labels] == 5.0
    assert values(later)["glowplug_component_load_phase_seconds_sum", labels] == 10.0


def test_what_is_held_is_bounded_and_the_newest() -> None:
    with guest() as made:
        for number in range(MAX_HELD_EVENTS + 5):
            emit("component.phase", **PHASE, seconds=0.0 if number < 5 else 1.0)
            emit("model.output", model="m", line="not counted, so not held")
        body, _ = made.metrics()
    assert values(body)["glowplug_component_load_phase_seconds_sum", tuple(sorted(PHASE.items()))] == MAX_HELD_EVENTS


def test_gauges_are_read_when_somebody_asks() -> None:
    with guest() as made:
        made.add_source(lambda: [Reading("component_load_progress_ratio", ("tts",), 0.5)])
        assert values(made.metrics()[0])["glowplug_component_load_progress_ratio", (("component", "tts"),)] == 0.5


def test_an_app_can_have_them_among_its_own_metrics() -> None:
    registry = CollectorRegistry(auto_describe=True)
    with guest() as made:
        registry.register(made)
        emit("component.lost", component="tts", error="gone")
        body = generate_latest(registry)
    assert values(body)["glowplug_component_losses_total", (("component", "tts"),)] == 1
    assert not [name for name, _ in values(body) if name.startswith("process_") or name.endswith("_created")]


def test_events_from_many_threads_are_all_counted() -> None:
    def many() -> None:
        for _ in range(50):
            emit("component.lost", component="tts", error="gone")

    with guest() as made:
        threads = [threading.Thread(target=many) for _ in range(8)]
        for thread in threads:
            thread.start()
        made.metrics()
        for thread in threads:
            thread.join()
        assert values(made.metrics()[0])["glowplug_component_losses_total", (("component", "tts"),)] == 400


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_event_has_a_line_that_shows_its_fields(name: str) -> None:
    spec = EVENTS[name]
    fields: dict[str, Any] = {field: f"<{field}>" for field in spec.fields}
    line = sentence(spec, fields)
    assert "\n" not in line
    assert all(f"<{field}>" in line for field in spec.fields)
    assert line == sentence(spec, Redaction().apply(fields))


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)


def test_an_app_that_set_up_no_logging_is_shown_no_news_and_no_handler_is_added() -> None:
    done = run(
        "import logging\n"
        "from glowplug.telemetry import LibraryTelemetry\n"
        "from glowplug.events import emit\n"
        "made = LibraryTelemetry(); made.install()\n"
        "emit('component.ready', component='tts', load_seconds=1, warmup_seconds=0, total_seconds=1)\n"
        "assert logging.getLogger().handlers == logging.getLogger('glowplug').handlers == []\n"
        "assert logging.getLogger('glowplug').level == logging.NOTSET\n"
    )
    assert done.stdout + done.stderr == ""


def test_the_metrics_library_comes_with_the_first_look_alone() -> None:
    done = run(
        "import sys\n"
        "from glowplug.telemetry import LibraryTelemetry\n"
        "made = LibraryTelemetry(); made.install()\n"
        "print([name for name in ('prometheus_client', 'structlog', 'glowplug.store') if name in sys.modules])\n"
        "made.metrics()\n"
        "print('prometheus_client' in sys.modules)\n"
    )
    assert done.stdout.split("\n")[:2] == ["[]", "True"]
