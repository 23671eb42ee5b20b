"""Serving stored bytes: ranges, validators, and headers that keep a browser from running what somebody uploaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import format_datetime

from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse

from glowplug.artifact import ArtifactStore
from glowplug.gateway.shelf import Found

# What a browser may show in place: formats that cannot carry a script. SVG and HTML can.
SHOWN = re.compile(
    r"image/(png|jpeg|gif|webp|avif|bmp)|audio/[\w.+-]+|video/[\w.+-]+|text/(plain|csv)|application/(json|pdf)"
)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}")
_UNSAID = frozenset({"application/octet-stream", "application/x-www-form-urlencoded"})


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` to `end` (exclusive) of `size`."""

    start: int
    end: int
    size: int

    @property
    def content_range(self) -> str:
        """Return the value of the `Content-Range` header."""
        return f"bytes {self.start}-{self.end - 1}/{self.size}"


class Unsatisfiable(Exception):
    """The range lies behind the end."""


def asked_range(header: str | None, size: int) -> Span | None:
    """Return the one range that is asked for; None for none, several, or nonsense, which gets the whole (RFC 9110)."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        length = int(match[2])
        if length == 0:
            raise Unsatisfiable
        return Span(max(0, size - length), size, size)
    start = int(match[1])
    end = min(size, int(match[2]) + 1) if match[2] else size
    if start >= size:
        raise Unsatisfiable
    return Span(start, end, size) if start < end else None


def etag(found: Found) -> str:
    """Return the validator: the hash where it is known, else size and time, weakly."""
    if found.sha256 is not None:
        return f'"{found.sha256}"'
    return f'W/"{found.stat.size_bytes:x}-{int(found.stat.modified_at.timestamp() * 1000):x}"'


def stated_media_type(header: str | None) -> str | None:
    """Return the media type of an upload if its sender has said one that means something."""
    said = (header or "").partition(";")[0].strip().lower()
    return said if _MEDIA_TYPE.fullmatch(said) and said not in _UNSAID else None


def download(artifacts: ArtifactStore, found: Found, asked: Headers, *, head: bool = False) -> Response:
    """Return the response to a GET or HEAD of an artifact."""
    stat, tag = found.stat, etag(found)
    headers = _headers(found, tag)
    if tag in [part.strip() for part in asked.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    fresh = asked.get("if-range", tag) == tag
    try:
        span = asked_range(asked.get("range"), stat.size_bytes) if fresh else None
    except Unsatisfiable:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{stat.size_bytes}"})
    status = 206 if span else 200
    part = span or Span(0, stat.size_bytes, stat.size_bytes)
    headers["Content-Length"] = str(part.end - part.start)
    if span:
        headers["Content-Range"] = span.content_range
    if head:
        return Response(status_code=status, headers=headers, media_type=found.media_type)
    if part.start == part.end:
        return Response(b"", status, headers, found.media_type)
    body = artifacts.read(stat.key, start=part.start, end=part.end)
    return StreamingResponse(body, status, headers, found.media_type)


def _headers(found: Found, tag: str) -> dict[str, str]:
    name = found.stat.key.rsplit("/", 1)[-1]
    disposition = "inline" if SHOWN.fullmatch(found.media_type) else "attachment"
    return {
        "ETag": tag,
        "Last-Modified": format_datetime(found.stat.modified_at, usegmt=True),
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=3600",
        "Content-Disposition": f'{disposition}; filename="{name}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
