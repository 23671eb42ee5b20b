"""The wire form of the link's messages: JSON of the dataclasses in `link.py`, field by field."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from glowplug.errors import RemoteError
from glowplug.link import Accepted, Claim, Claimed, Events, Finish, Register, Registered, Renew, Renewed

M = TypeVar("M")

_encoder = msgspec.json.Encoder()
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (Register, Registered, Claim, Claimed, Renew, Renewed, Events, Finish, Accepted)
}


def encode(message: object) -> bytes:
    """Return the JSON of a message; raises `TypeError` for a value that JSON cannot hold."""
    return _encoder.encode(message)


def decode(kind: type[M], body: bytes) -> M:
    """Return the message in `body`; raises `RemoteError` when it is not one of `kind`."""
    try:
        message: M = _decoders[kind].decode(body)
    except msgspec.MsgspecError as error:
        raise RemoteError(
            f"not a {kind.__name__} message: {error}; both sides must run the same release of glowplug"
        ) from error
    return message
