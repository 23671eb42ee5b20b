"""Signatures by which a receiver knows that a message is ours (Standard Webhooks 1.0.0, symmetric): pure functions.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

from glowplug.errors import SettingsError

PREFIX = "whsec_"
SHORTEST_KEY_BYTES = 24
LONGEST_KEY_BYTES = 64


def new_secret() -> str:
    """Return a new random secret in its usual form, `whsec_` and base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SHORTEST_KEY_BYTES)).decode()


def new_id() -> str:
    """Return an id for a message; it stays the same however often the message is sent."""
    return f"msg_{secrets.token_hex(16)}"


def keys_of(secret: str | Sequence[str]) -> tuple[bytes, ...]:
    """Return the keys behind one secret or several; in one text they stand with spaces between them.

    Raises `SettingsError`, which does not show the secret.
    """
    texts = secret.split() if isinstance(secret, str) else secret
    return tuple(_key(text.strip()) for text in texts)


def signed(message_id: str, timestamp: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """Return the headers of a message: its id, the Unix seconds of this attempt, and a signature for each key.

    While a secret is being changed both keys sign, and the receiver may know either. Without a key nothing is signed.
    """
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if keys:
        content = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
        headers["webhook-signature"] = " ".join(_signature(key, content) for key in keys)
    return headers


def _signature(key: bytes, content: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def _key(text: str) -> bytes:
    encoded = text.removeprefix(PREFIX).rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SettingsError(f"a webhook secret is {PREFIX} and base64; {_HOW}") from error
    if not SHORTEST_KEY_BYTES <= len(key) <= LONGEST_KEY_BYTES:
        sizes = f"{SHORTEST_KEY_BYTES} to {LONGEST_KEY_BYTES}"
        raise SettingsError(f"a webhook secret is {sizes} bytes in base64, this one is {len(key)}; {_HOW}")
    return key


_HOW = """make one with python -c "from glowplug.doors.signatures import new_secret; print(new_secret())\""""
