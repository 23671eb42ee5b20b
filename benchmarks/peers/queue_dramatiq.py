"""Dramatiq with confirms; it keeps no durable result. Arguments: submit KIND COUNT [SECONDS]."""

from __future__ import annotations

import os
import sys
import time

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from stamps import noop, slow

dramatiq.set_broker(RabbitmqBroker(url=os.environ["BENCH_AMQP"], confirm_delivery=True))
run_noop = dramatiq.actor(noop)
run_slow = dramatiq.actor(slow)


def submit(kind: str, count: int, seconds: float) -> None:
    """Queue the jobs one by one, and say how long that took."""
    begun = time.monotonic()
    for number in range(count):
        run_noop.send(number) if kind == "noop" else run_slow.send(number, seconds)
    print(time.monotonic() - begun)


if __name__ == "__main__":
    submit(sys.argv[2], int(sys.argv[3]), float(([*sys.argv, "0"])[4]))
