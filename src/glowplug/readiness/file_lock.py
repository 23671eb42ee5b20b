"""A lock between processes that is waited for, but not for ever: whoever holds it may have been stopped."""

from __future__ import annotations

import fcntl
import time

RETRY_SECONDS = 0.002


def lock_within(seconds: float, descriptor: int) -> None:
    """Lock an open file for this process alone; closing it lets go. Raises `TimeoutError`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise TimeoutError("the file is locked by a process that does not go on") from error
            time.sleep(RETRY_SECONDS)
        else:
            return
