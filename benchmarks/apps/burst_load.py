"""An app whose model holds the interpreter's lock while it loads: `isolated` in its own process, or in a `thread`."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI

from benchmarks.models.burst_load import BurstLoad
from glowplug import Readiness

ready = Readiness()
app = FastAPI(lifespan=ready.lifespan)

if __name__ == "__main__":
    ready.add("slow", BurstLoad, isolate=sys.argv[2] == "isolated")
    app.include_router(ready.router())
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
