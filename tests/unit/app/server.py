"""A FastAPI application for tests that need a real server: one model that never comes, or one of its own process.

Run with `python -m tests.unit.app.server <port file> hangs|isolated`; the port is written to the file.
"""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from tests.unit.app.models import Painter

from glowplug import LoadContext, Readiness

ready = Readiness()
app = FastAPI(lifespan=ready.lifespan)
app.include_router(ready.router())


def hang(ctx: LoadContext) -> None:
    """Never come to an end, as a download from a dead server does."""
    ctx.stage("fetch")
    threading.Event().wait()


def main() -> None:
    """Serve on a free port until a signal."""
    if sys.argv[2] == "hangs":
        ready.add("tts", hang)
    else:
        ready.add("painter", Painter, isolate=True)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    Path(sys.argv[1]).write_text(str(listener.getsockname()[1]))
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])


if __name__ == "__main__":
    main()
