"""Errors as `application/problem+json` (RFC 9457): one shape for everything that goes wrong.

Where another protocol is spoken, `dialects` says what becomes of it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glowplug.errors import BugError, Draining, GlowplugError, InvalidInput, RemoteError, SettingsError
from glowplug.events import emit
from glowplug.gateway import dialects
from glowplug.problem import passes, problem_body, retry_after

# The folders before a file's name: not those of a URL, which come after a letter, a colon or a slash.
_FOLDERS = re.compile(r"(?<![\w:/.-])/(?:[^\s/'\"]+/)+")
_OF_STORES = (RemoteError, SettingsError)


def problem(error: GlowplugError, path: str = "") -> Response:
    """Return the response for an error, in the shape that callers of `path` know."""
    headers = {}
    if passes(error):
        headers["Retry-After"] = str(retry_after(error))
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return _told(path, problem_body(error), headers)


def _told(path: str, document: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    said = dialects.said(path, document)
    body = msgspec.json.encode(said.body, enc_hook=str)
    return Response(body, said.status, {**headers, **said.headers}, said.media_type)


def install(app: FastAPI) -> None:
    """Make the application answer every error as a problem."""
    app.add_exception_handler(GlowplugError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)


async def _on_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, GlowplugError)
    if isinstance(error, BugError):
        return internal(request.url.path, error)
    return problem(without_folders(error) if isinstance(error, _OF_STORES) else error, request.url.path)


def without_folders(error: GlowplugError) -> GlowplugError:
    """Return the error without the folders of this machine, which are no caller's business: their log has them."""
    data = {key: value for key, value in error.data.items() if key != "path"}
    return type(error)(_FOLDERS.sub("", error.message), **data)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = [
        {"path": ".".join(str(part) for part in one["loc"]), "message": str(one["msg"])} for one in error.errors()
    ]
    first = fields[0] if fields else {"path": "", "message": "not valid"}
    return problem(InvalidInput(f"{first['path']}: {first['message']}", fields=fields), request.url.path)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = {
        "type": "about:blank",
        "title": HTTPStatus(error.status_code).phrase,
        "status": error.status_code,
        "detail": f"{error.detail}: {request.method} {request.url.path}",
        "code": HTTPStatus(error.status_code).name.lower(),
        "retryable": False,
    }
    return _told(request.url.path, body, error.headers or {})


def internal(path: str, error: BaseException) -> Response:
    """Report an error of ours, and return a response that tells nothing of our inside."""
    emit("http.failed", path=path, error=f"{type(error).__name__}: {error}", exception=error)
    return problem(BugError("something went wrong inside Glowplug; the server's log says what"), path)


class Shield:
    """ASGI middleware: an error that nobody handled becomes a problem, not a broken connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and answer what it raises."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            # Told by the server alone, which ends and has waited long enough; raised, it would be a fault of ours.
            if started:
                raise
            leaving = Draining("the gateway is leaving; ask again", retry_after=1)
            await problem(leaving, scope["path"])(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the last door: whatever it is, the caller gets an answer
            response = internal(scope["path"], error)
            if not started:
                await response(scope, receive, send)
