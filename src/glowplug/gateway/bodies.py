"""Request bodies and headers: read within a limit, decoded strictly, refused with the place that is wrong."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from glowplug.errors import InvalidInput, TooLarge, UserError

T = TypeVar("T")

LONGEST_REASON = 300
_PLACE = " - at `"
_encoder = msgspec.json.Encoder()
_object = msgspec.json.Decoder(dict[str, Any])


async def read(request: Request, limit_bytes: int, hint: str = "") -> bytes:
    """Return the body. Raises `TooLarge` as soon as it is clear that it is longer than the limit."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise too_large(limit_bytes, hint)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit_bytes:
            raise too_large(limit_bytes, hint)
        chunks.append(chunk)
    return b"".join(chunks)


async def read_object(request: Request, kind: type[T], limit_bytes: int) -> tuple[T, dict[str, Any]]:
    """Return the body as `kind`, and with all that is in it. Raises what `read`, `decode` and `converted` raise."""
    body = decode(_object, await read(request, limit_bytes))
    return converted(kind, body), body


def too_large(limit_bytes: int, hint: str = "") -> TooLarge:
    """Return the error for a body beyond `limit_bytes`."""
    return TooLarge(f"the body is larger than {limit_bytes} bytes{hint}", limit_bytes=limit_bytes)


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Return the decoded body.

    Raises:
        UserError: it is not JSON.
        InvalidInput: it is JSON of another shape; `data["fields"]` says where.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"the body is not JSON: {error}") from error


def converted(kind: type[T], value: Any) -> T:
    """Return a decoded JSON value as `kind`. Raises `InvalidInput` as `decode` does."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(_encoder.encode(value), status, headers, "application/json")


def preferences(request: Request) -> dict[str, str]:
    """Return the `Prefer` header's preferences (RFC 7240) in lower case; a bare one has an empty value."""
    found: dict[str, str] = {}
    for header in request.headers.getlist("prefer"):
        for part in header.split(","):
            name, _, value = part.partition("=")
            found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def preferred_wait_seconds(request: Request, most: float) -> float:
    """Return how long the caller wants to wait for the end, 0 if not at all. Raises `InvalidInput`."""
    wait = preferences(request).get("wait")
    if wait is None:
        return 0.0
    try:
        seconds = float(wait)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InvalidInput("Prefer: wait takes a number of seconds, such as wait=10")
    return min(seconds, most)


def _invalid(message: str) -> InvalidInput:
    # The last of them is the decoder's: a reason repeats what the caller has sent, whatever that is and however long.
    said, mark, place = message.rpartition(_PLACE)
    if not mark:
        said, place = message, ""
    place = place.removeprefix("$").removesuffix("`").lstrip(".")
    reason = said if len(said) <= LONGEST_REASON else said[:LONGEST_REASON] + "…"
    shown = f"{place}: {reason}" if place else reason
    return InvalidInput(shown, fields=[{"path": place, "message": reason}])
