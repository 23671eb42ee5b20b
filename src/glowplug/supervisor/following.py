"""The worker's side of the pipe to its supervisor: it does not outlive it."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress


def follow_supervisor(grace_seconds: float) -> None:
    """Make this process leave when its supervisor is gone: SIGTERM at the end of fd 0, SIGKILL after the grace."""

    def wait() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_seconds)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, name="follow-supervisor", daemon=True).start()
