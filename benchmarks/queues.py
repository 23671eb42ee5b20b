"""Durable queues side by side: no-op jobs drained through the same RabbitMQ and the same PostgreSQL.

Every contender gets a virtual host and a database of its own on the same two servers, ten slots in one worker, and the
settings under which it loses nothing. Jobs are queued while no worker is there; then one is started. A job writes one
line into a shared file: the rate is taken from the first to the last line, the same way for all.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psycopg
from tests.servers.postgres import PostgresServer, find_programs, running_postgres
from tests.servers.rabbitmq import RabbitServer, running_rabbitmq

from benchmarks.processes import GLOWPLUG, PEERS, free_port, program, wait_for
from benchmarks.report import Figure, percentile

HERE = Path(__file__).parent
JOBS = 3_000
PASSES = 3
SINGLES = 100
PATIENCE_SECONDS = 240.0


@dataclass(frozen=True)
class Contender:
    """A queue under test: how its jobs are queued, how its worker is started, and what it keeps of results."""

    name: str
    file: str
    worker: tuple[str, ...]
    results: str | None
    schema: bool = False

    def submit(self, kind: str, count: int, seconds: float, environment: dict[str, str]) -> float:
        """Queue the jobs; return how long that took."""
        return float(self.run("submit", kind, str(count), str(seconds), environment=environment))

    def prepare(self, environment: dict[str, str]) -> None:
        """Make the tables, where that is a step of its own."""
        if self.schema:
            self.run("schema", environment=environment)

    def run(self, *words: str, environment: dict[str, str]) -> str:
        """Run a command of the peer's program; return what it printed."""
        command = [str(PEERS), str(HERE / "peers" / self.file), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: {done.stderr[-2000:]}")
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def _tool(name: str, *words: str) -> tuple[str, ...]:
    return (str(PEERS.parent / name), *words)


CELERY = Contender(
    "Celery, late acks, confirms",
    "queue_celery.py",
    _tool(
        "celery", "-A", "queue_celery", "worker", "--pool", "threads", "--concurrency", "10", "--loglevel", "warning"
    ),
    "select count(*) from celery_taskmeta where status = 'SUCCESS'",
)
TASKIQ = Contender(
    "Taskiq, quorum queue",
    "queue_taskiq.py",
    _tool(
        "taskiq", "worker", "queue_taskiq:broker", "--workers", "1", "--max-async-tasks", "10", "--log-level", "WARNING"
    ),
    "select count(*) from taskiq_results",
)
PROCRASTINATE = Contender(
    "Procrastinate",
    "queue_procrastinate.py",
    (str(PEERS), str(HERE / "peers" / "queue_procrastinate.py"), "worker"),
    "select count(*) from procrastinate_jobs where status = 'succeeded' and task_name <> 'retry_stalled'",
    schema=True,
)
DRAMATIQ = Contender(
    "Dramatiq, confirms",
    "queue_dramatiq.py",
    _tool("dramatiq", "queue_dramatiq", "--processes", "1", "--threads", "10"),
    None,
)
CONTENDERS = (CELERY, TASKIQ, PROCRASTINATE, DRAMATIQ)


@dataclass
class Place:
    """The servers of the run, and what one contender has of them for one pass."""

    rabbitmq: RabbitServer
    postgres: PostgresServer
    folder: Path
    number: int = 0

    def fresh(self) -> dict[str, str]:
        """Return the environment of a pass: a new virtual host, database and file of stamps."""
        self.number += 1
        own = self.folder / str(self.number)
        own.mkdir()
        return {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(HERE / "peers"),
            "BENCH_AMQP": self.rabbitmq.url(self.rabbitmq.make_vhost()),
            "BENCH_PG": self.postgres.new_database(),
            "BENCH_STAMPS": str(own / "stamps"),
        }


@contextmanager
def servers() -> Iterator[Place]:
    """Run a RabbitMQ and a PostgreSQL for the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("mq", "work"):
            (folder / name).mkdir()
        rabbitmq = stack.enter_context(running_rabbitmq(folder / "mq"))
        programs = find_programs()
        assert programs is not None, "scripts/services installs PostgreSQL"
        postgres = stack.enter_context(running_postgres(programs))
        yield Place(rabbitmq, postgres, folder / "work")


def measure() -> list[Figure]:
    """Let every contender drain in turn, pass after pass; then single jobs through ours."""
    rates: dict[str, list[float]] = {}
    kept: dict[str, str] = {}
    with servers() as place:
        for _ in range(PASSES):
            for contender in CONTENDERS:
                rate, stored = _peer_pass(contender, place)
                rates.setdefault(contender.name, []).append(rate)
                kept[contender.name] = "no durable result" if stored is None else f"{stored} results stored"
            rate, starts = _our_pass(place)
            rates.setdefault("Glowplug", []).append(rate)
    ours = statistics.median(rates["Glowplug"])
    figures = [_peer_figure(name, values, ours, kept[name]) for name, values in rates.items() if name != "Glowplug"]
    slowest = max(statistics.median(rates[name]) for name in (CELERY.name, PROCRASTINATE.name))
    said = f"{ours:,.0f} jobs/s ({', '.join(f'{rate:,.0f}' for rate in rates['Glowplug'])})"
    p50 = statistics.median(starts)
    return [
        Figure(
            "no-op jobs drained through RabbitMQ and PostgreSQL, 10 slots",
            said,
            "ahead of Celery and Procrastinate",
            ours > slowest,
            f"{JOBS} jobs, {PASSES} passes in turn",
        ),
        *figures,
        Figure(
            "submit to started, idle, the same servers",
            f"p50 {p50 * 1000:.1f} ms, p99 {percentile(starts, 0.99) * 1000:.1f} ms",
            "p50 < 30 ms",
            p50 < 0.030,
            f"{SINGLES} single jobs",
        ),
    ]


def _peer_figure(name: str, values: list[float], ours: float, kept: str) -> Figure:
    middle = statistics.median(values)
    said = f"{middle:,.0f} jobs/s ({', '.join(f'{rate:,.0f}' for rate in values)}); ours is {ours / middle:.2f} x"
    return Figure(f"... {name}", said, method=kept)


def _peer_pass(contender: Contender, place: Place) -> tuple[float, int | None]:
    environment = place.fresh()
    contender.prepare(environment)
    contender.submit("noop", JOBS, 0, environment)
    with program(contender.worker, environment):
        rate = _drained(Path(environment["BENCH_STAMPS"]))
        stored = None if contender.results is None else _results(contender.results, environment["BENCH_PG"])
    return rate, stored


def _results(query: str, database: str) -> int:
    """Wait for the last results to be stored; return how many there are."""
    with psycopg.connect(database, autocommit=True) as connection:
        for _ in range(100):
            row = connection.execute(query).fetchone()
            stored = int(row[0]) if row else 0
            if stored == JOBS:
                break
            time.sleep(0.1)
    return stored


def _our_pass(place: Place) -> tuple[float, list[float]]:
    with ours(place.fresh()) as (port, worker, stamps):
        asyncio.run(enqueue(port, JOBS))
        with worker():
            rate = _drained(stamps)
            wait_until(lambda: asyncio.run(_unfinished(port)) == 0, "every result is stored")
            starts = asyncio.run(_starts(port))
    return rate, starts


@contextmanager
def ours(environment: dict[str, str]) -> Iterator[tuple[int, Callable[[], object], Path]]:
    """Run a gateway on the servers; yield its port, what starts a worker, and the file of stamps."""
    stamps = Path(environment["BENCH_STAMPS"])
    port, folder = free_port(), stamps.parent
    target = str(HERE / "models" / "stamped.py")
    own = {
        "GLOWPLUG_DATA": f"{folder}/data",
        "GLOWPLUG_CACHE": f"{folder}/cache",
        "BENCH_STAMPS": str(stamps),
    }
    gateway = {**own, "GLOWPLUG_STORE": environment["BENCH_PG"], "GLOWPLUG_BROKER": environment["BENCH_AMQP"]}
    token = folder / "data" / "tokens" / "worker"
    command = [*GLOWPLUG, "worker", target, "--gateway", f"http://127.0.0.1:{port}"]

    def worker() -> object:
        return program(command, {**own, "GLOWPLUG_WORKER_TOKEN_FILE": str(token)})

    with program([*GLOWPLUG, "gateway", "--port", str(port)], gateway):
        wait_for(port, "/readyz")
        # The first life teaches the gateway the task's schema.
        with worker():  # type: ignore[attr-defined]
            wait_for(port, "/api/ready", contains=b'"ready":true')
        yield port, worker, stamps


def _drained(stamps: Path) -> float:
    wait_until(lambda: stamps.exists() and stamps.read_bytes().count(b"\n") >= JOBS, "every job has run")
    moments = [float(line.split()[2]) for line in stamps.read_text().splitlines()]
    return (len(moments) - 1) / (max(moments) - min(moments))


def wait_until(holds: Callable[[], bool], what: str, limit: float = PATIENCE_SECONDS) -> None:
    """Poll, seldom enough not to be a load of its own."""
    end = time.monotonic() + limit
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {limit:.0f} s in vain until {what}")
        time.sleep(0.1)


async def enqueue(port: int, count: int, kind: str = "noop", seconds: float = 0.0) -> None:
    """Queue jobs of ours, a hundred at a time."""
    more = {"seconds": seconds} if kind == "slow" else {}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for start in range(0, count, 100):
            numbers = range(start, min(start + 100, count))
            jobs = [{"task": f"stamped.{kind}", "input": {"number": number, **more}} for number in numbers]
            async with session.post("/v1/batches", json={"jobs": jobs}) as answer:
                answer.raise_for_status()


async def _unfinished(port: int) -> int:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        found = 0
        for state in ("queued", "running"):
            async with session.get("/v1/jobs", params={"state": state, "limit": "1"}) as answer:
                found += len((await answer.json())["jobs"])
    return found


async def _starts(port: int) -> list[float]:
    """Submit single jobs and follow their events until each has started."""
    spent: list[float] = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for number in range(SINGLES):
            begun = time.monotonic()
            async with session.post("/v1/jobs", json={"task": "stamped.noop", "input": {"number": number}}) as answer:
                job = (await answer.json())["id"]
            async with session.get(f"/v1/jobs/{job}/events") as stream:
                async for line in stream.content:
                    if b'"type":"started"' in line:
                        spent.append(time.monotonic() - begun)
                        break
                async for _ in stream.content:
                    pass
    return spent


if __name__ == "__main__":
    from benchmarks.report import show

    show(measure())
    sys.exit(0)
