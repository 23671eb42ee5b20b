"""A small server that speaks Ollama's HTTP API (and OpenAI's, as Ollama does), for machines without Ollama.

It has one model, `llama3.2`, which really answers, if simply: it does sums and otherwise counts what it was told.

    python ollama_stand_in.py --port 11434
"""

from __future__ import annotations

import argparse
import asyncio
import json
import operator
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, Field

MODEL = "llama3.2:latest"
SUM = re.compile(r"(-?\d{1,9})\s*(plus|\+|minus|-|times|\*|x)\s*(-?\d{1,9})")
OPERATIONS = {
    **dict.fromkeys(("plus", "+"), operator.add),
    **dict.fromkeys(("minus", "-"), operator.sub),
    **dict.fromkeys(("times", "*", "x"), operator.mul),
}
MODEL_CARD = {
    "name": MODEL,
    "model": MODEL,
    "modified_at": "2026-01-01T00:00:00Z",
    "size": 0,
    "digest": "0" * 64,
    "details": {"format": "stand-in", "family": "stand-in", "parameter_size": "0", "quantization_level": "none"},
}

app = FastAPI(title="Ollama stand-in")


class Message(BaseModel):
    """One turn of a conversation."""

    role: str
    content: str = ""


class Chat(BaseModel):
    """The body of `/api/chat`."""

    model: str
    messages: list[Message] = []
    stream: bool = True
    options: dict[str, Any] = Field(default_factory=dict)


class Completion(BaseModel):
    """The body of `/v1/chat/completions`."""

    model: str
    messages: list[Message]
    stream: bool = False
    max_tokens: int | None = None


@app.get("/")
async def root() -> PlainTextResponse:
    """Say what Ollama says."""
    return PlainTextResponse("Ollama is running")


@app.get("/api/version")
async def version() -> dict[str, str]:
    """Name the version whose API this follows."""
    return {"version": "0.5.0-stand-in"}


@app.get("/api/tags")
async def tags() -> dict[str, Any]:
    """List the models that are installed: one."""
    return {"models": [MODEL_CARD]}


@app.post("/api/chat")
async def chat(body: Chat) -> Any:
    """Answer the last message, in pieces unless `stream` is false; without messages, load the model."""
    if body.model not in (MODEL, MODEL.partition(":")[0]):
        return JSONResponse({"error": f"model '{body.model}' not found"}, 404)
    began = time.perf_counter_ns()
    if not body.messages:
        return JSONResponse(final(body.model, began, 0) | {"done_reason": "load"})
    pieces = re.findall(r"\S+\s*", reply(body.messages))[: int(body.options.get("num_predict", 256))]
    if not body.stream:
        return JSONResponse(final(body.model, began, len(pieces), "".join(pieces)))
    return StreamingResponse(streamed(body.model, pieces, began), media_type="application/x-ndjson")


@app.get("/v1/models")
async def models() -> dict[str, Any]:
    """List the model as OpenAI's clients want it."""
    return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "library"}]}


@app.post("/v1/chat/completions")
async def completions(body: Completion) -> Any:
    """Answer the last message as OpenAI's clients want it: in events, or whole."""
    if body.model not in (MODEL, MODEL.partition(":")[0]):
        return JSONResponse({"error": {"message": f"model '{body.model}' not found", "code": "model_not_found"}}, 404)
    pieces = re.findall(r"\S+\s*", reply(body.messages))[: body.max_tokens]
    usage = {"prompt_tokens": 0, "completion_tokens": len(pieces), "total_tokens": len(pieces)}
    if body.stream:
        return StreamingResponse(events(body.model, pieces, usage), media_type="text/event-stream")
    message = {"role": "assistant", "content": "".join(pieces)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "chat-1", "object": "chat.completion", "model": body.model, "choices": [choice], "usage": usage}


async def events(model: str, pieces: list[str], usage: dict[str, int]) -> AsyncIterator[str]:
    """Yield one event for each piece, one that ends the answer, and the mark that no more will come."""
    head = {"id": "chat-1", "object": "chat.completion.chunk", "model": model}
    for piece in pieces:
        choice = {"index": 0, "delta": {"role": "assistant", "content": piece}, "finish_reason": None}
        yield f"data: {line({**head, 'choices': [choice]})}\n"
        await asyncio.sleep(0)
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield f"data: {line({**head, 'choices': [last], 'usage': usage})}\n"
    yield "data: [DONE]\n\n"


async def streamed(model: str, pieces: list[str], began: int) -> AsyncIterator[str]:
    """Yield one line of JSON for each piece, and one that ends the answer."""
    for piece in pieces:
        yield line(frame(model, piece, done=False))
        await asyncio.sleep(0)
    yield line(final(model, began, len(pieces)))


def reply(messages: list[Message]) -> str:
    """Work out an answer to the last message."""
    said = [message.content for message in messages if message.role == "user"]
    text = said[-1] if said else ""
    if found := SUM.search(text.lower()):
        left, word, right = found.groups()
        return f"That makes {OPERATIONS[word](int(left), int(right))}."
    words = re.findall(r"[A-Za-z']+", text)
    if not words:
        return "I did not hear a word."
    longest = max(words, key=len)
    turn = f" This is turn {len(said)} of our talk." if len(said) > 1 else ""
    return f"You said {len(words)} words. The longest one is {longest}.{turn}"


def frame(model: str, content: str, *, done: bool) -> dict[str, Any]:
    """Return one frame of a chat answer."""
    message = {"role": "assistant", "content": content}
    return {"model": model, "created_at": datetime.now(UTC).isoformat(), "message": message, "done": done}


def final(model: str, began: int, count: int, content: str = "") -> dict[str, Any]:
    """Return the frame that ends a chat answer."""
    took = time.perf_counter_ns() - began
    counts = {"total_duration": took, "load_duration": 0, "eval_count": count, "eval_duration": took}
    return {**frame(model, content, done=True), "done_reason": "stop", **counts}


def line(body: dict[str, Any]) -> str:
    """Return a frame as a line of JSON."""
    return json.dumps(body) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=11434)
    arguments = parser.parse_args()
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning")
