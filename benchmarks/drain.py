"""No-op jobs through the embedded default: gateway, SQLite with durable commits, one real worker, its model process."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path

import aiohttp

from benchmarks.processes import GLOWPLUG, free_port, program, wait_for
from benchmarks.report import Figure, percentile

HERE = Path(__file__).parent
JOBS = 5_000
SINGLES = 200


def measure() -> list[Figure]:
    """Submit with no worker, start one and drain; then single jobs on the idle system."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        environment = {"GLOWPLUG_DATA": f"{folder}/data", "GLOWPLUG_CACHE": f"{folder}/cache"}
        target = str(HERE / "models" / "noop.py")
        with program([*GLOWPLUG, "up", target, "--port", str(port)], environment):
            # The first life teaches the gateway the task's schema.
            wait_for(port, "/api/ready", contains=b'"ready":true')
        with program([*GLOWPLUG, "gateway", "--port", str(port)], environment):
            wait_for(port, "/readyz")
            enqueue = asyncio.run(_enqueue(port))
            token = Path(folder) / "data" / "tokens" / "worker"
            worker = [*GLOWPLUG, "worker", target, "--gateway", f"http://127.0.0.1:{port}"]
            with program(worker, {**environment, "GLOWPLUG_WORKER_TOKEN_FILE": str(token)}):
                drain = asyncio.run(_drained(port))
                singles = asyncio.run(_singles(port))
    p50 = statistics.median(singles)
    return [
        Figure("enqueue, batches of 100, durable", f"{enqueue:,.0f} jobs/s"),
        Figure("drain of no-op jobs, 10 slots", f"{drain:,.0f} jobs/s", ">= 1,000/s", drain >= 1000, f"{JOBS} jobs"),
        Figure(
            "submit to done, idle",
            f"p50 {p50 * 1000:.1f} ms, p99 {percentile(singles, 0.99) * 1000:.1f} ms",
            "p50 < 15 ms",
            p50 < 0.015,
            f"{SINGLES} single jobs, one after another",
        ),
    ]


async def _enqueue(port: int) -> float:
    batch = {"jobs": [{"task": "noop.run", "input": {"text": "x"}}] * 100}
    begun = time.monotonic()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for _ in range(JOBS // 100):
            async with session.post("/v1/batches", json=batch) as answer:
                answer.raise_for_status()
    return JOBS / (time.monotonic() - begun)


async def _drained(port: int) -> float:
    """Return jobs per second from the first to the last job's end, by the store's own times."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        while await _oldest_unfinished(session) is not None:
            await asyncio.sleep(0.25)
        ends: list[float] = []
        cursor = ""
        while cursor is not None:
            async with session.get(
                "/v1/jobs", params={"limit": "200", "cursor": cursor} if cursor else {"limit": "200"}
            ) as answer:
                page = await answer.json()
            ends += [_seconds(job["finished_at"]) for job in page["jobs"]]
            cursor = page["next_cursor"]
    assert len(ends) == JOBS
    return JOBS / (max(ends) - min(ends))


async def _oldest_unfinished(session: aiohttp.ClientSession) -> str | None:
    for state in ("queued", "running"):
        async with session.get("/v1/jobs", params={"state": state, "limit": "1"}) as answer:
            jobs = (await answer.json())["jobs"]
        if jobs:
            return str(jobs[0]["id"])
    return None


async def _singles(port: int) -> list[float]:
    """Submit single jobs and follow their events to the end."""
    spent: list[float] = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for _ in range(SINGLES):
            begun = time.monotonic()
            headers = {"prefer": "wait=10"}
            body = {"task": "noop.run", "input": {"text": "x"}}
            async with session.post("/v1/jobs", json=body, headers=headers) as answer:
                said = await answer.json()
            assert said["state"] == "completed", said
            spent.append(time.monotonic() - begun)
    return spent


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
