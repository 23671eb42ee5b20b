"""The smallest app with a page that waits: index.html has the overlay."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse

from glowplug import Readiness

ready = Readiness()
ready.add("primes", lambda: {n for n in range(2, 1_000_000) if all(n % d for d in range(2, int(n**0.5) + 1))})
app = FastAPI(lifespan=ready.lifespan)
app.include_router(ready.router())


@app.get("/", include_in_schema=False)
def page():
    return FileResponse(Path(__file__).with_name("index.html"))


@app.get("/primes/{n}", dependencies=[ready.require("primes")])
def prime(n: int):
    return {"prime": n in ready["primes"]}
