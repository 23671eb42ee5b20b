"""Cold start with a model that loads for 8 s, half of it holding the GIL, beside bare FastAPI in turn."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import GLOWPLUG, PEERS, free_port, program, wait_for
from benchmarks.report import Figure, percentile, ratio_figure

HERE = Path(__file__).parent
PAIRS = 5


@dataclass
class Start:
    """What one cold start of ours gave, in seconds from exec."""

    live: float = 0.0
    load_entered: float = 0.0
    ready_lag: float = 0.0
    first_job: float = 0.0
    probes: list[float] = field(default_factory=list)
    failures: int = 0


def measure() -> list[Figure]:
    """Return the cold-start figures over `PAIRS` pairs."""
    _bare()
    pairs = [(_bare(), _ours()) for _ in range(PAIRS)]
    floor = [bare for bare, _ in pairs]
    ours = [start for _, start in pairs]
    probes = [latency for start in ours for latency in start.probes]
    failures = sum(start.failures for start in ours)
    p99 = percentile(probes, 0.99)
    lag = statistics.median(start.ready_lag for start in ours)
    first = statistics.median(start.first_job for start in ours)
    return [
        ratio_figure("exec to first 200 on /livez", [start.live for start in ours], floor, 1.5),
        ratio_figure("exec to load() entered", [start.load_entered for start in ours], floor, 2.0),
        Figure("load end to READY on the gateway", f"{lag * 1000:.0f} ms", "<= 100 ms", lag <= 0.1, "median"),
        Figure(
            "/livez every 20 ms during the load",
            f"p50 {percentile(probes, 0.5) * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, {failures} of {len(probes)} failed",
            "p99 < 20 ms, 0 failed",
            p99 < 0.02 and failures == 0,
            "open loop from another process, new connections",
        ),
        Figure("READY to the first queued job's start", f"{first * 1000:.0f} ms", "< 100 ms", first < 0.1, "median"),
    ]


def _bare() -> float:
    port = free_port()
    begun = time.monotonic()
    with program([str(PEERS), str(HERE / "peers" / "bare_fastapi.py"), str(port)]):
        return wait_for(port, "/livez") - begun


def _ours() -> Start:
    start, port = Start(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        environment = {"GLOWPLUG_DATA": f"{folder}/data", "GLOWPLUG_CACHE": f"{folder}/cache", "BENCH_STAMPS": folder}
        command = [*GLOWPLUG, "up", str(HERE / "models" / "slow_load.py"), "--port", str(port)]
        begun = time.monotonic()
        with program(command, environment):
            start.live = wait_for(port, "/livez") - begun
            prober = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.prober", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            job = _submit(port)
            ready = wait_for(port, "/api/ready", contains=b'"ready":true', every=0.005)
            probed = json.loads(prober.communicate()[0])
            _await_done(port, job)
        stamps = {
            name: float((Path(folder) / name).read_text()) for name in ("load_entered", "load_ended", "first_run")
        }
    start.probes, start.failures = probed["latencies"], probed["failed"]
    start.load_entered = stamps["load_entered"] - begun
    start.ready_lag = ready - stamps["load_ended"]
    start.first_job = max(0.0, stamps["first_run"] - ready)
    return start


def _submit(port: int) -> str:
    wait_for(port, "/readyz")
    for _ in range(200):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        body = json.dumps({"task": "slowload.echo", "input": {"text": "hello"}})
        connection.request("POST", "/v1/jobs", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        said = json.loads(answer.read())
        connection.close()
        if answer.status == 202:
            return str(said["id"])
        time.sleep(0.05)
    raise RuntimeError(f"the job was not accepted while the model loads: {said}")


def _await_done(port: int, job: str) -> None:
    wait_for(port, f"/v1/jobs/{job}", contains=b'"done":true', limit=30)
