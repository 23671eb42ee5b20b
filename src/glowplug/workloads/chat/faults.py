"""What a chat server's failures mean, and what to do about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from glowplug.errors import (
    DeadlineExceeded,
    GlowplugError,
    InvalidInput,
    RateLimited,
    RemoteError,
    SettingsError,
    Unreachable,
)
from glowplug.workloads.chat.options import ServerOptions
from glowplug.workloads.chat.reply import shown

HIDDEN = "[hidden]"
LONGEST_WAIT_SECONDS = 3600


def of_answer(options: ServerOptions, status: int, headers: Mapping[str, str], body: str) -> GlowplugError:
    """Return the error behind an answer other than 200."""
    why = _reason(options, body)
    if status in (401, 403):
        return RemoteError(f"{options.name} refuses the key: {why}; see option api_key_env", refused=True)
    if status == 404:
        return RemoteError(missing_model(options, why), refused=True)
    if status == 429:
        return RateLimited(f"{options.name} is asked too much: {why}", **_wait(headers))
    if status in (400, 413, 422):
        return InvalidInput(f"messages: {options.name} does not take them: {why}")
    if 300 <= status < 400:
        return RemoteError(
            f"{options.name} leads elsewhere; put the address behind it into option server", refused=True
        )
    return RemoteError(f"{options.name} answers {status}: {why}")


def of_exception(options: ServerOptions, error: Exception) -> GlowplugError:
    """Return the error behind a failed exchange."""
    if isinstance(error, GlowplugError):
        return error
    if isinstance(error, TimeoutError):
        return DeadlineExceeded(f"{options.name} has been silent for {options.silence_seconds:g} seconds")
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return Unreachable(f"{options.name} does not answer; start it, or put its address into option server")
    if isinstance(error, (httpx.NetworkError, httpx.RemoteProtocolError, httpx.TimeoutException)):
        return Unreachable(f"{options.name} broke off: {_hidden(options, shown(str(error) or type(error).__name__))}")
    return RemoteError(f"{options.name} does not speak OpenAI's protocol: {_hidden(options, shown(str(error)))}")


def at_load(error: GlowplugError) -> GlowplugError:
    """Return what stops a load: what only a person can mend is no matter of trying again."""
    return SettingsError(error.message) if error.data.get("refused") or isinstance(error, InvalidInput) else error


def missing_model(options: ServerOptions, why: str) -> str:
    """Say that the server does not have the model, and what to do."""
    model = options.model or "of that name"
    return f"{options.name} has no model {model} ({why}); with Ollama: ollama pull {options.model or 'NAME'}"


def _reason(options: ServerOptions, body: str) -> str:
    try:
        told: Any = json.loads(body)
    except ValueError:
        return _hidden(options, shown(body) or "no reason given")
    told = told.get("error", told.get("detail", told.get("message"))) if isinstance(told, Mapping) else told
    told = told.get("message", told) if isinstance(told, Mapping) else told
    return _hidden(options, shown(str(told)))


def _hidden(options: ServerOptions, text: str) -> str:
    return text.replace(options.key, HIDDEN) if options.key else text


def _wait(headers: Mapping[str, str]) -> dict[str, float]:
    told = headers.get("retry-after", "")
    return {"retry_after": min(int(told), LONGEST_WAIT_SECONDS)} if told.isascii() and told.isdigit() else {}
