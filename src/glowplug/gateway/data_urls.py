"""Bytes that callers wrote into an input: found by the task's schema, so that a row need not carry them. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from glowplug.artifact import files_in
from glowplug.gateway.downloads import stated_media_type

PREFIX = "data:"
_ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif", "text/plain": "txt"}


@dataclass(frozen=True, slots=True)
class DataUrl:
    """The bytes of a data URL."""

    data: bytes
    media_type: str

    def key(self, owner: str, secret: str) -> str:
        """Return where the bytes are kept: an owner's at the same place, so that a repeated request is the same.

        Without the `secret` nobody can tell where: who has the same bytes must not reach, or delete, another's.
        """
        name = hmac.new(secret.encode(), owner.encode() + b"\0" + self.data, hashlib.sha256).hexdigest()[:32]
        return f"inputs/{name}/data.{_ENDINGS.get(self.media_type, 'bin')}"


def parse(text: str) -> DataUrl | None:
    """Return what a data URL holds; None for what is none, or is broken: the model will say what is wrong."""
    head, comma, body = text.removeprefix(PREFIX).partition(",")
    if not text.startswith(PREFIX) or not comma:
        return None
    plain = head.removesuffix(";base64")
    media_type = stated_media_type(plain) or "application/octet-stream"
    try:
        data = unquote_to_bytes(body)
        return DataUrl(base64.b64decode(data, validate=True) if plain != head else data, media_type)
    except binascii.Error:
        return None


def found(value: Any, schema: Mapping[str, Any]) -> dict[str, DataUrl]:
    """Return the data URLs in `value`, by themselves, where its schema wants an artifact."""
    return {text: url for text in dict.fromkeys(files_in(value, schema)) if (url := parse(text)) is not None}


def replaced(value: Any, by: Mapping[str, str]) -> Any:
    """Return `value` with each text that is a key of `by` replaced by what it says."""
    if isinstance(value, str):
        return by.get(value, value)
    if isinstance(value, Mapping):
        return {key: replaced(item, by) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replaced(item, by) for item in value]
    return value
