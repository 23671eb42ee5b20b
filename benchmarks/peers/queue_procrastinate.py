"""Procrastinate on PostgreSQL, with the periodic task that its documentation gives for jobs of dead workers.

Arguments: submit KIND COUNT [SECONDS], schema, worker.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import procrastinate
import stamps

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_PG"]))


@app.task(name="noop")
async def run_noop(number: int) -> int:
    """Be a job that does nothing."""
    return stamps.noop(number)


@app.task(name="slow")
async def run_slow(number: int, seconds: float) -> int:
    """Be a job that takes its time."""
    stamps.stamp("start", number)
    await asyncio.sleep(seconds)
    stamps.stamp("end", number)
    return number


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="stalled", pass_context=True)
async def retry_stalled(context: procrastinate.JobContext, timestamp: int) -> None:
    """Bring jobs of dead workers back, as the documentation says."""
    del timestamp
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


async def submit(kind: str, count: int, seconds: float) -> None:
    """Queue the jobs one by one, and say how long that took."""
    async with app.open_async():
        begun = time.monotonic()
        for number in range(count):
            await (
                run_noop.defer_async(number=number)
                if kind == "noop"
                else run_slow.defer_async(number=number, seconds=seconds)
            )
        print(time.monotonic() - begun)


async def main(words: list[str]) -> None:
    """Do what the first word says."""
    if words[0] == "submit":
        await submit(words[1], int(words[2]), float(([*words, "0"])[3]))
        return
    async with app.open_async():
        if words[0] == "schema":
            await app.schema_manager.apply_schema_async()
        else:
            await app.run_worker_async(concurrency=10)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
