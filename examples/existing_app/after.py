"""Search the documentation of Python's standard library."""

from fastapi import FastAPI
from search_index import build_index

from glowplug import Readiness

ready = Readiness()


@ready.component("index")
def load_index(ctx):
    return build_index(ctx.progress)


app = FastAPI(title="Search", lifespan=ready.lifespan)
app.include_router(ready.router())


@app.get("/")
def about():
    return {"name": "Search", "try": "/search?q=parse a date"}


@app.get("/search", dependencies=[ready.require("index")])
def search(q: str, limit: int = 5):
    return ready["index"].find(q, limit)
