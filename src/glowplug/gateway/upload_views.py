"""The shapes of uploads in parts: what callers send and what they get."""

from __future__ import annotations

import msgspec

from glowplug.gateway.schemas import ArtifactView


class SubmitUpload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file that is going to come in parts.

    With its `sha256`, the same call again goes on with what has arrived, and the whole is checked in the end.
    """

    name: str
    size_bytes: int
    sha256: str | None = None
    media_type: str | None = None


class UploadPartView(msgspec.Struct, frozen=True):
    """A part: `size_bytes` from `offset` of the file. While it is missing, its bytes are PUT at `url`."""

    number: int
    offset: int
    size_bytes: int
    received: bool
    url: str | None


class UploadUrls(msgspec.Struct, frozen=True):
    """Where to go on from an upload."""

    get: str
    complete: str


class UploadView(msgspec.Struct, frozen=True, kw_only=True):
    """An upload in parts, and which of them have arrived. `artifact` is there once it is complete."""

    id: str
    name: str
    size_bytes: int
    part_bytes: int
    sha256: str | None
    media_type: str
    parts: list[UploadPartView]
    artifact: ArtifactView | None
    urls: UploadUrls
