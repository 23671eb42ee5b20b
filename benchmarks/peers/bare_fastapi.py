"""Bare FastAPI on uvicorn: the floor for a port that answers, and for a request that does nothing."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Text(BaseModel):
    """The body of an echo."""

    text: str = ""


@app.get("/livez")
def livez() -> dict[str, str]:
    """Answer the liveness probe."""
    return {"status": "alive"}


@app.post("/echo")
async def echo(body: Text) -> str:
    """Return the text."""
    return body.text


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
