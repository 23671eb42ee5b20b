"""Celery with the settings under which it loses nothing: late acks, rejection on a lost worker, prefetch 1, confirms.

Results go to PostgreSQL. Arguments: submit KIND COUNT [SECONDS]. The worker is started by Celery's own command.
"""

from __future__ import annotations

import os
import sys
import time

from celery import Celery
from stamps import noop, slow

app = Celery(
    broker=os.environ["BENCH_AMQP"],
    backend=os.environ["BENCH_PG"].replace("postgresql://", "db+postgresql+psycopg2://"),
)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    worker_send_task_events=False,
    task_serializer="json",
)
run_noop = app.task(name="noop")(noop)
run_slow = app.task(name="slow")(slow)


def submit(kind: str, count: int, seconds: float) -> None:
    """Queue the jobs one by one, and say how long that took."""
    begun = time.monotonic()
    for number in range(count):
        run_noop.delay(number) if kind == "noop" else run_slow.delay(number, seconds)
    print(time.monotonic() - begun)


if __name__ == "__main__":
    submit(sys.argv[2], int(sys.argv[3]), float(([*sys.argv, "0"])[4]))
