"""An app whose one model loads for as long as its input is open; a line of input is an update, or many.

`python tests/servers/told_board.py PORT`; a line is `COUNT EVERY_SECONDS BALLAST_BYTES`. Each update's note is the mark
`@monotonic nanoseconds@`; the ballast, dots, makes its picture large.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import uvicorn
from fastapi import FastAPI

from glowplug import LoadContext, Readiness

ready = Readiness()


@ready.component("model")
def load(ctx: LoadContext) -> str:
    """Update the board as told, from the load's own thread as any loader does."""
    ctx.progress(0, None, stage="read")
    component, ballast = ready.board.component("model"), ready.board.add("ballast", required=False)
    for line in sys.stdin:
        count, every_seconds, ballast_bytes = (float(word) for word in line.split())
        due = time.monotonic()
        # What a load says is bounded, so the ballast is what a developer may say as he likes.
        ballast.spec = replace(ballast.spec, label="." * int(ballast_bytes))
        for _ in range(int(count)):
            component.advance(note=f"@{time.monotonic_ns()}@")
            due += every_seconds
            time.sleep(max(0.0, due - time.monotonic()))
    return "model"


app = FastAPI(lifespan=ready.lifespan)
app.include_router(ready.router())

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", timeout_graceful_shutdown=2)
