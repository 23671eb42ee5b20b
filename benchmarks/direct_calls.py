"""Direct calls at the worker's own port (HTTP process to model process), beside LitServe, FastAPI and mosec; wrk loads.

The gateway's extra hop is measured with one connection against the same worker.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.processes import GLOWPLUG, PEERS, free_port, get, program, wait_for
from benchmarks.report import Figure

HERE = Path(__file__).parent
SECONDS = 4
ROUNDS = 3
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def measure() -> list[Figure]:
    """Return requests per second at 1 and 32 connections for each server, measured in turn."""
    if shutil.which("wrk") is None:
        return [Figure("direct calls", "not measured: wrk is missing (apt-get install wrk)")]
    with ExitStack() as stack:
        targets = {
            "glowplug worker": stack.enter_context(_glowplug()),
            "LitServe": stack.enter_context(_peer("litserve_echo.py", "/predict", "/health")),
            "FastAPI, model inside": stack.enter_context(_peer("bare_fastapi.py", "/echo", "/livez")),
            "mosec": stack.enter_context(_mosec()),
        }
        ours = targets["glowplug worker"]
        targets["glowplug gateway"] = (ours[2], ours[1], 0)
        rates = {name: {1: [], 32: []} for name in targets}
        delays: dict[str, list[float]] = {name: [] for name in targets}
        for _ in range(ROUNDS):
            for name, (port, path, _) in targets.items():
                for connections in (1, 32):
                    rate, p50 = _wrk(port, path, connections)
                    rates[name][connections].append(rate)
                    if connections == 1:
                        delays[name].append(p50)
    return [*_table(rates, delays), *_verdicts(rates, delays)]


def _table(rates: dict[str, dict[int, list[float]]], delays: dict[str, list[float]]) -> list[Figure]:
    return [
        Figure(
            f"direct calls: {name}",
            f"{statistics.median(by[1]):,.0f} req/s at 1, {statistics.median(by[32]):,.0f} at 32; "
            f"p50 {statistics.median(delays[name]):.2f} ms",
            method=f"wrk, {SECONDS} s, {ROUNDS} rounds in turn",
        )
        for name, by in rates.items()
    ]


def _verdicts(rates: dict[str, dict[int, list[float]]], delays: dict[str, list[float]]) -> Iterator[Figure]:
    for connections in (1, 32):
        pairs = zip(rates["glowplug worker"][connections], rates["LitServe"][connections], strict=True)
        ratios = [mine / theirs for mine, theirs in pairs]
        middle = statistics.median(ratios)
        spread = f"{min(ratios):.1f}-{max(ratios):.1f} x"
        yield Figure(f"against LitServe, {connections} connections", f"{middle:.1f} x", ">= 2 x", middle >= 2, spread)
    hop = statistics.median(delays["glowplug gateway"]) - statistics.median(delays["glowplug worker"])
    yield Figure("the gateway's extra hop", f"{hop:.2f} ms p50", "<= 1.5 ms", hop <= 1.5, "one connection")


def _wrk(port: int, path: str, connections: int) -> tuple[float, float]:
    script = HERE / "peers" / "post_text.lua"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-s", str(script)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True, timeout=60
    )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(done.stdout)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
    value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", done.stdout).groups()
    return rate, float(value) * _UNITS[unit]


@contextmanager
def _glowplug() -> Iterator[tuple[int, str, int]]:
    """Yield the worker's port, the path, and the gateway's port."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        environment = {"GLOWPLUG_DATA": f"{folder}/data", "GLOWPLUG_CACHE": f"{folder}/cache"}
        with program([*GLOWPLUG, "up", str(HERE / "models" / "noop.py"), "--port", str(port)], environment):
            wait_for(port, "/api/ready", contains=b'"ready":true')
            workers = json.loads(get(port, "/v1/workers")[1])["workers"]
            worker_port = int(workers[0]["url"].rsplit(":", 1)[1])
            yield worker_port, "/v1/run/noop.run", port


@contextmanager
def _peer(script: str, path: str, ready: str) -> Iterator[tuple[int, str, int]]:
    port = free_port()
    with program([str(PEERS), str(HERE / "peers" / script), str(port)]):
        wait_for(port, ready)
        yield port, path, port


@contextmanager
def _mosec() -> Iterator[tuple[int, str, int]]:
    port = free_port()
    with program([str(PEERS), str(HERE / "peers" / "mosec_echo.py"), "--port", str(port)]):
        wait_for(port, "/")
        yield port, "/inference", port
