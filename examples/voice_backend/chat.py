"""The chat: an Ollama server somewhere else, spoken to over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx

from glowplug.errors import RemoteError

Message = dict[str, str]
TIMEOUT = httpx.Timeout(30, connect=2)
PING_SECONDS = 2.0
LONGEST_REPLY_TOKENS = 256


class ChatError(RemoteError):
    """The chat server is away, refused, or has not got the model. Being one of Glowplug's, callers read its words."""


class OllamaChat:
    """One model of an Ollama server."""

    def __init__(self, url: str, model: str) -> None:
        self.url = url
        self.model = model
        self._http = httpx.AsyncClient(base_url=url, timeout=TIMEOUT)

    async def ping(self) -> None:
        """Raise `ChatError` unless the server answers and has the model."""
        found = await self._json("GET", "/api/tags", timeout=PING_SECONDS)
        names = [str(model.get("name", "")) for model in found.get("models", [])]
        if self.model not in names and f"{self.model}:latest" not in names:
            raise ChatError(f"Ollama has no model {self.model}; run: ollama pull {self.model}")

    async def open(self) -> None:
        """Have the server bring the model into memory; without messages it does nothing else."""
        await self._json("POST", "/api/chat", json={"model": self.model, "messages": [], "stream": False})

    async def say(self, messages: Sequence[Message]) -> AsyncIterator[str]:
        """Yield the answer in pieces as they are made."""
        body = {"model": self.model, "messages": list(messages), "options": {"num_predict": LONGEST_REPLY_TOKENS}}
        try:
            async with self._http.stream("POST", "/api/chat", json=body) as answer:
                if answer.is_error:
                    raise ChatError(_refusal(answer.status_code, await answer.aread()))
                async for line in answer.aiter_lines():
                    if piece := _piece(line):
                        yield piece
        except httpx.HTTPError as error:
            raise ChatError(f"Ollama at {self.url}: {_why(error)}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _json(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = await self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ChatError(f"Ollama at {self.url}: {_why(error)}") from error
        if answer.is_error:
            raise ChatError(_refusal(answer.status_code, answer.content))
        return answer.json()


def server_url(host: str) -> str:
    """Return the URL that `OLLAMA_HOST` means: Ollama itself takes `host`, `host:port` and a URL."""
    url = httpx.URL(host if "://" in host else f"http://{host}")
    return str(url if url.port or "://" in host else url.copy_with(port=11434)).rstrip("/")


def _piece(line: str) -> str:
    frame = json.loads(line or "{}")
    if "error" in frame:
        raise ChatError(f"Ollama: {frame['error']}")
    return str(frame.get("message", {}).get("content", ""))


def _refusal(status: int, body: bytes) -> str:
    try:
        return f"Ollama: {json.loads(body)['error']}"
    except (ValueError, KeyError, TypeError):
        return f"Ollama answered {status}"


def _why(error: httpx.HTTPError) -> str:
    return "connection refused" if isinstance(error, httpx.ConnectError) else (str(error) or type(error).__name__)
