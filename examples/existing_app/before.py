"""Search the documentation of Python's standard library."""

from contextlib import asynccontextmanager

from fastapi import FastAPI
from search_index import build_index


@asynccontextmanager
async def lifespan(app):
    app.state.index = build_index()
    yield


app = FastAPI(title="Search", lifespan=lifespan)


@app.get("/")
def about():
    return {"name": "Search", "try": "/search?q=parse a date"}


@app.get("/search")
def search(q: str, limit: int = 5):
    return app.state.index.find(q, limit)
