"""What the jobs of every peer do: write one line into a file that all of them share, and no more."""

from __future__ import annotations

import os
import time


def stamp(word: str, number: int) -> None:
    """Append a line: what happened, to which job, when; one write, so that lines of many processes stay whole."""
    file = os.open(os.environ["BENCH_STAMPS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{word} {number} {time.monotonic():.6f}\n".encode())
    finally:
        os.close(file)


def noop(number: int) -> int:
    """Be a job that does nothing."""
    stamp("end", number)
    return number


def slow(number: int, seconds: float) -> int:
    """Be a job that takes its time and can be seen to start."""
    stamp("start", number)
    time.sleep(seconds)
    stamp("end", number)
    return number
