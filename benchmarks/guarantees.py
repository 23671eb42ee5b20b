"""What survives kill -9 of the worker, of the broker and of the database: ours and the peers, the same way for all.

Worker: three seconds into a job of six, its process group is killed and a new worker started. Broker: killed right
after the last of 1,000 submits was answered. Database: killed in the midst of a drain. A job's effect is a line in a
file, so that what ran twice can be seen; its result is what the contender itself has stored at the end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from benchmarks.processes import program
from benchmarks.queues import CONTENDERS, DRAMATIQ, PROCRASTINATE, Contender, Place, enqueue, ours, servers, wait_until
from benchmarks.report import Figure

SECONDS = 6.0
WATCH_SECONDS = 100.0
STILL_SECONDS = 25.0
HINTS, ROWS = 1_000, 1_500


@dataclass
class Trial:
    """One contender in one scenario: how to queue, to start a worker, and to count what has been stored."""

    submit: Callable[[str, int, float], object]
    worker: Callable[[], AbstractContextManager[Any]]
    results: Callable[[], int | None]
    stamps: Path

    def words(self, word: str) -> Counter[int]:
        """Return how often each job has left such a line."""
        text = self.stamps.read_text() if self.stamps.exists() else ""
        return Counter(int(line.split()[1]) for line in text.splitlines() if line.startswith(word))


def measure() -> list[Figure]:
    """Let every contender go through the scenarios that it has parts for."""
    figures = []
    with servers() as place:
        for contender in (None, *CONTENDERS):
            said = [worker_killed(place, contender)]
            if contender is not PROCRASTINATE:
                said.append(broker_killed(place, contender))
            if contender is not DRAMATIQ:
                said.append(database_killed(place, contender))
            name = "Glowplug" if contender is None else contender.name
            figures.append(Figure(f"kill -9: {name}", "; ".join(said)))
    return figures


def worker_killed(place: Place, contender: Contender | None) -> str:
    """Kill the worker under a job."""
    with trial(place, contender) as it:
        it.submit("slow", 1, SECONDS)
        with it.worker() as worker:
            wait_until(lambda: it.words("start").total() == 1, "the job has begun")
            time.sleep(SECONDS / 2)
            kill_group(worker.pid)
        killed_at = time.monotonic()
        with it.worker():
            if not within(WATCH_SECONDS, lambda: it.words("start").total() > 1):
                return f"worker: the job did not run again in {WATCH_SECONDS:.0f} s"
            again = time.monotonic() - killed_at
            within(SECONDS * 3, lambda: it.words("end").total() > 0)
            time.sleep(SECONDS)
            ends = it.words("end").total()
    return f"worker: runs again after {again:.1f} s, completed {ends} x"


def broker_killed(place: Place, contender: Contender | None) -> str:
    """Kill the broker once everything was accepted."""
    with trial(place, contender) as it:
        it.submit("noop", HINTS, 0)
        place.rabbitmq.kill9()
        place.rabbitmq.start()
        with it.worker():
            drained(it, HINTS)
            ran = it.words("end")
    return f"broker: {HINTS - len(ran)} of {HINTS} lost, {sum(count > 1 for count in ran.values())} ran twice"


def database_killed(place: Place, contender: Contender | None) -> str:
    """Kill the database under a drain; a worker that ends because of it is started again, as a supervisor would."""
    with trial(place, contender) as it, ExitStack() as workers:
        it.submit("noop", ROWS, 0)
        worker = workers.enter_context(it.worker())
        wait_until(lambda: it.words("end").total() > ROWS // 4, "a quarter has run")
        place.postgres.kill9()
        time.sleep(1.0)
        place.postgres.start()
        time.sleep(2.0)
        ended = worker.poll() is not None
        if ended:
            workers.enter_context(it.worker())
        drained(it, ROWS)
        within(STILL_SECONDS, lambda: it.results() == ROWS)
        stored, twice = it.results(), sum(count > 1 for count in it.words("end").values())
    how = ", its worker ended and was started again" if ended else ""
    return f"database: {stored} of {ROWS} results stored, {twice} ran twice{how}"


def drained(it: Trial, count: int) -> None:
    """Wait until all have run, or nothing has moved for long."""
    seen, moved_at = -1, time.monotonic()
    while len(it.words("end")) < count and time.monotonic() - moved_at < STILL_SECONDS:
        now = it.words("end").total()
        if now != seen:
            seen, moved_at = now, time.monotonic()
        time.sleep(0.2)


def trial(place: Place, contender: Contender | None) -> AbstractContextManager[Trial]:
    """Return the means of a contender, or ours for None, on a fresh database and virtual host."""
    return _ours(place) if contender is None else _theirs(place, contender)


@contextmanager
def _theirs(place: Place, contender: Contender) -> Iterator[Trial]:
    environment = place.fresh()
    contender.prepare(environment)

    def results() -> int | None:
        if contender.results is None:
            return None
        with suppress(psycopg.Error), psycopg.connect(environment["BENCH_PG"], autocommit=True) as connection:
            row = connection.execute(contender.results).fetchone()
            return int(row[0]) if row else 0
        return 0

    yield Trial(
        lambda kind, count, seconds: contender.submit(kind, count, seconds, environment),
        lambda: program(contender.worker, environment),
        results,
        Path(environment["BENCH_STAMPS"]),
    )


@contextmanager
def _ours(place: Place) -> Iterator[Trial]:
    with ours(place.fresh()) as (port, worker, stamps):

        def submit(kind: str, count: int, seconds: float) -> None:
            asyncio.run(enqueue(port, count, kind, seconds))

        yield Trial(submit, worker, lambda: asyncio.run(_completed(port)), stamps)


async def _completed(port: int) -> int:
    found, cursor = 0, ""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        while cursor is not None:
            query = {"state": "completed", "limit": "200", **({"cursor": cursor} if cursor else {})}
            async with session.get("/v1/jobs", params=query) as answer:
                if answer.status != 200:
                    return found
                page = await answer.json()
            found += len(page["jobs"])
            cursor = page["next_cursor"]
    return found


def kill_group(pid: int) -> None:
    """End a program with all its processes, without a word."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Say whether something came to hold in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.1)
    return holds()


if __name__ == "__main__":
    from benchmarks.report import show

    show(measure())
    sys.exit(0)
