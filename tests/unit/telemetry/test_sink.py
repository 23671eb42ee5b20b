"""Events become lines and metrics, and nobody waits for the libraries."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from glowplug.events import METRICS, emit, set_sink
from glowplug.telemetry import Reading, Telemetry, log_format
from glowplug.telemetry.sink import MAX_HELD_EVENTS

HEAVY = ["structlog", "prometheus_client", "rich"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(text)


@contextmanager
def telemetry(**options: Any) -> Iterator[tuple[Telemetry, io.StringIO]]:
    stream = options.pop("stream", None) or io.StringIO()
    made = Telemetry(options.pop("level", "info"), options.pop("form", "json"), stream=stream, **options)
    made.install()
    try:
        yield made, stream
    finally:
        made.close()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def samples(made: Telemetry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, _ = made.metrics()
    families = text_string_to_metric_families(body.decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def failed(message: str) -> ValueError:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


def test_an_event_is_one_line_with_its_fields() -> None:
    with telemetry() as (made, stream):
        made.open()
        emit("worker.exited", worker="w1", exit=-9, restart_in_seconds=0.5)
        (line,) = lines(stream)
    assert line["event"] == "worker.exited"
    assert line["level"] == "warning"
    assert (line["worker"], line["exit"], line["restart_in_seconds"]) == ("w1", -9, 0.5)
    assert line["timestamp"].endswith("Z")


def test_what_happens_before_the_libraries_are_there_is_not_lost() -> None:
    with telemetry() as (made, stream):
        emit("job.reaped", job="j1", worker="w1", attempt=1)
        assert stream.getvalue() == ""
        made.open()
        emit("job.reaped", job="j2", worker="w1", attempt=1)
        assert [line["job"] for line in lines(stream)] == ["j1", "j2"]
        assert samples(made)["glowplug_jobs_reaped_total", ()] == 2


def test_what_is_still_held_at_the_end_is_written() -> None:
    with telemetry() as (_, stream):
        emit("job.reaped", job="j1", worker="w1", attempt=1)
    assert [line["job"] for line in lines(stream)] == ["j1"]


def test_only_so_much_is_held() -> None:
    with telemetry() as (made, stream):
        for number in range(MAX_HELD_EVENTS + 10):
            emit("job.reaped", job=str(number), worker="w1", attempt=1)
        made.open()
        jobs = [line["job"] for line in lines(stream)]
    assert len(jobs) == MAX_HELD_EVENTS
    assert jobs[-1] == str(MAX_HELD_EVENTS + 9)


def test_events_of_many_threads_are_each_told_once() -> None:
    with telemetry() as (made, stream):
        barrier = threading.Barrier(5)

        def work(name: int) -> None:
            barrier.wait(10)
            for number in range(50):
                emit("job.reaped", job=f"{name}-{number}", worker="w1", attempt=1)

        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        barrier.wait(10)
        made.open()
        for thread in threads:
            thread.join(10)
        jobs = [line["job"] for line in lines(stream)]
    assert len(jobs) == len(set(jobs)) == 200


def test_importing_telemetry_does_not_import_its_libraries() -> None:
    code = f"import sys, glowplug.telemetry; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


async def test_it_starts_and_stops_like_everything_else() -> None:
    before = set_sink(lambda spec, fields: None)
    set_sink(before)
    stream = io.StringIO()
    made = Telemetry("info", "json", stream=stream)
    async with made:
        emit("job.reaped", job="j1", worker="w1", attempt=1)
    emit("job.reaped", job="after", worker="w1", attempt=1)
    assert [line["job"] for line in lines(stream)] == ["j1"]
    assert set_sink(before) is before


def test_less_important_events_are_counted_but_not_written() -> None:
    with telemetry(level="warning") as (made, stream):
        made.open()
        emit("job.submitted", job="j1", task="a.b", owner="local")
        assert stream.getvalue() == ""
        assert samples(made)["glowplug_jobs_submitted_total", (("task", "a.b"),)] == 1


def test_a_broken_stream_is_no_error_of_whoever_said_something() -> None:
    with telemetry(stream=Broken()) as (made, _):
        made.open()
        emit("job.reaped", job="j1", worker="w1", attempt=1)
        assert samples(made)["glowplug_jobs_reaped_total", ()] == 1


def test_secrets_are_hidden_in_lines_and_in_tracebacks() -> None:
    with telemetry(secrets=["hunter2-hunter2"]) as (made, stream):
        made.open()
        emit("http.failed", path="/x", error="Bearer abc.def", exception=failed("hunter2-hunter2"))
        (line,) = lines(stream)
    assert "hunter2" not in stream.getvalue()
    assert line["error"] == "Bearer ***"
    assert "ValueError: ***" in line["exception"]


def test_plain_lines_are_logfmt() -> None:
    with telemetry(form="logfmt") as (made, stream):
        made.open()
        emit("store.failed", error="no room left")
    first, level, rest = stream.getvalue().split(" ", 2)
    assert first.startswith("timestamp=")
    assert level == "level=error"
    assert rest == 'event=store.failed error="no room left"\n'


def test_a_traceback_in_a_plain_line_stays_one_line() -> None:
    with telemetry(form="logfmt") as (made, stream):
        made.open()
        emit("http.failed", path="/x", error="oh", exception=failed("oh"))
    assert stream.getvalue().count("\n") == 1


def test_people_get_colours_unless_they_said_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    with telemetry(form="pretty") as (made, coloured):
        made.open()
        emit("store.failed", error="oh")
    monkeypatch.setenv("NO_COLOR", "1")
    with telemetry(form="pretty") as (made, plain):
        made.open()
        emit("store.failed", error="oh")
    assert "\x1b[" in coloured.getvalue()
    assert "\x1b[" not in plain.getvalue()
    assert "store.failed" in plain.getvalue()


def test_the_format_follows_the_stream_unless_it_is_set() -> None:
    assert log_format("auto", Terminal()) == "pretty"
    assert log_format("auto", io.StringIO()) == "logfmt"
    assert log_format("json", Terminal()) == "json"


def test_what_libraries_warn_of_comes_in_the_same_log() -> None:
    with telemetry() as (made, stream):
        made.open()
        logging.getLogger("some.library").warning("careful: %s", "wet")
        logging.getLogger("some.library").info("chatter")
        logging.getLogger("some.library").error("broken", exc_info=failed("inside"))
        warning, error = lines(stream)
    assert (warning["event"], warning["level"], warning["message"]) == ("some.library", "warning", "careful: wet")
    assert error["level"] == "error"
    assert "ValueError: inside" in error["exception"]


def test_two_of_them_do_not_share_their_numbers() -> None:
    with telemetry() as (one, _):
        emit("job.reaped", job="j1", worker="w1", attempt=1)
        with telemetry() as (two, _):
            emit("job.reaped", job="j2", worker="w1", attempt=1)
            emit("job.reaped", job="j3", worker="w1", attempt=1)
            assert samples(two)["glowplug_jobs_reaped_total", ()] == 2
        assert samples(one)["glowplug_jobs_reaped_total", ()] == 1


def test_every_metric_of_the_catalogue_is_exposed() -> None:
    with telemetry() as (made, _):
        body, media_type = made.metrics()
    assert media_type.startswith("text/plain")
    for spec in METRICS:
        assert f"# TYPE glowplug_{spec.name} {spec.kind}" in body.decode()


def test_times_fall_into_buckets_by_label() -> None:
    with telemetry() as (made, _):
        emit("job.settled", job="j1", task="a.b", state="completed", outcome="completed", seconds=0.2)
        emit("job.settled", job="j2", task="a.b", state="failed", outcome="failed", seconds=20.0)
        said = samples(made)
    assert said["glowplug_job_run_seconds_count", (("task", "a.b"),)] == 2
    assert said["glowplug_job_run_seconds_bucket", (("le", "0.25"), ("task", "a.b"))] == 1
    assert said["glowplug_job_attempts_total", (("outcome", "failed"), ("task", "a.b"))] == 1


def test_bytes_are_added_up() -> None:
    with telemetry() as (made, _):
        emit("weights.fetched", source="s3://x", bytes=1000, seconds=1.0)
        emit("weights.fetched", source="s3://x", bytes=500, seconds=1.0)
        assert samples(made)["glowplug_weights_fetched_bytes_total", ()] == 1500


def test_a_value_that_is_not_known_is_not_observed() -> None:
    with telemetry() as (made, _):
        emit("component.ready", component="tts", load_seconds=None, warmup_seconds=None, total_seconds=None)
        assert samples(made)["glowplug_component_load_seconds_count", (("component", "tts"),)] == 0


def test_gauges_are_read_when_they_are_asked_for() -> None:
    workers = 1.0
    with telemetry() as (made, _):
        made.add_source(lambda: [Reading("workers", ("ready",), workers)])
        assert samples(made)["glowplug_workers", (("status", "ready"),)] == 1
        workers = 2.0
        assert samples(made)["glowplug_workers", (("status", "ready"),)] == 2


def test_a_process_tells_that_it_is_up_and_which_version() -> None:
    with telemetry(version="1.2.3") as (made, _):
        said = samples(made)
    assert said["glowplug_up", ()] == 1
    assert said["glowplug_build_info", (("version", "1.2.3"),)] == 1
    assert said["process_resident_memory_bytes", ()] > 0
