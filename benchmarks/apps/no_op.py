"""An app that does nothing, `bare` or `ready`: the same with Glowplug's library in it, as its guide shows it."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI


def bare() -> FastAPI:
    """Return the app as it was."""
    return FastAPI()


def ready() -> FastAPI:
    """Return the app with readiness."""
    from glowplug import LoadContext, Readiness

    ready = Readiness()

    @ready.component("model")
    def load(ctx: LoadContext) -> str:
        return "model"

    app = FastAPI(lifespan=ready.lifespan)
    app.include_router(ready.router())
    return app


if __name__ == "__main__":
    app = {"bare": bare, "ready": ready}[sys.argv[2]]()

    @app.get("/noop")
    async def noop() -> dict[str, str]:
        """Do nothing."""
        return {"text": "hello"}

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
