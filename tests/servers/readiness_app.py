"""An app with readiness that stays in one state: `python tests/servers/readiness_app.py PORT STATE [PREFIX]`.

The states are `nothing` (no component at all), `loading`, `ready` and `error`.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI

from glowplug import LoadContext, Readiness

NOT_READY: dict[int | str, dict[str, Any]] = {
    425: {"description": "The model loads."},
    503: {"description": "The model failed."},
}


def made(state: str, prefix: str) -> FastAPI:
    """Return the app; an optional component is there too, and one route that needs the model."""
    ready = Readiness()
    if state != "nothing":
        ready.add("model", {"loading": loads_for_ever, "ready": loads, "error": fails}[state])
        ready.add("spare", fails, required=False)
    app = FastAPI(lifespan=ready.lifespan)
    app.include_router(ready.router(prefix=prefix))
    if state != "nothing":
        app.get("/work", dependencies=[ready.require("model")], responses=NOT_READY)(work)
    return app


def loads(ctx: LoadContext) -> str:
    """Be there at once."""
    return "model"


def loads_for_ever(ctx: LoadContext) -> None:
    """Never be there."""
    ctx.progress(1, 4, unit="shards", stage="read")
    threading.Event().wait()


def fails(ctx: LoadContext) -> None:
    """Never be there, and say so."""
    raise ValueError("no such file: weights.bin")


async def work() -> dict[str, str]:
    """Do what the model is for."""
    return {"result": "done"}


if __name__ == "__main__":
    app = made(sys.argv[2], "".join(sys.argv[3:]))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", timeout_graceful_shutdown=1)
