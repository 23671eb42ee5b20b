"""Taskiq on RabbitMQ (its default: a quorum queue, acked when saved), results in PostgreSQL.

Arguments: submit KIND COUNT [SECONDS].
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import stamps
from taskiq_aio_pika import AioPikaBroker
from taskiq_pg.asyncpg import AsyncpgResultBackend

broker = AioPikaBroker(os.environ["BENCH_AMQP"], qos=10).with_result_backend(
    AsyncpgResultBackend(os.environ["BENCH_PG"])
)


@broker.task(task_name="noop")
async def run_noop(number: int) -> int:
    """Be a job that does nothing."""
    return stamps.noop(number)


@broker.task(task_name="slow")
async def run_slow(number: int, seconds: float) -> int:
    """Be a job that takes its time."""
    stamps.stamp("start", number)
    await asyncio.sleep(seconds)
    stamps.stamp("end", number)
    return number


async def submit(kind: str, count: int, seconds: float) -> None:
    """Queue the jobs one by one, and say how long that took."""
    await broker.startup()
    begun = time.monotonic()
    for number in range(count):
        await (run_noop.kiq(number) if kind == "noop" else run_slow.kiq(number, seconds))
    print(time.monotonic() - begun)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(submit(sys.argv[2], int(sys.argv[3]), float(([*sys.argv, "0"])[4])))
