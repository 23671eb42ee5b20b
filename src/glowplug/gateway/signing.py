"""Links to artifacts that open without a token until they expire, signed each time that they are read."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from urllib.parse import parse_qs, urlencode

from glowplug.clock import Clock
from glowplug.gateway.policy import Access

# Links that are read soon after each other are the same, so that a browser need not fetch a picture twice.
STEPS = 4
_MOMENT = re.compile(r"[0-9]{1,15}")


class LinkSigner:
    """Signs keys of artifacts with HMAC-SHA256. A link is good for `life_seconds` at least, and a quarter more at most.

    What it opens is one artifact, for reading, and only as long as callers may see it at all.
    """

    def __init__(self, secret: str, clock: Clock, *, life_seconds: float) -> None:
        self._secret = secret.encode()
        self._clock = clock
        self._life_seconds = life_seconds

    @classmethod
    def of(cls, access: Access, clock: Clock) -> LinkSigner | None:
        """Return the gateway's signer; None where links need no signature, or none is possible."""
        if not access.needs_token or not access.link_secret:
            return None
        return cls(access.link_secret, clock, life_seconds=access.link_seconds)

    def query(self, key: str) -> str:
        """Return what goes behind the `?` of a link to the artifact `key`."""
        step = self._life_seconds / STEPS
        expires = math.ceil((math.ceil(self._now() / step) + STEPS) * step)
        return urlencode({"expires": expires, "signature": self._signature(key, expires)})

    def admits(self, key: str, query: str) -> bool:
        """Say whether `query` is of a link to `key` that has not expired."""
        try:
            said = parse_qs(query, keep_blank_values=True, max_num_fields=16)
        except ValueError:
            return False
        expires, signature = said.get("expires", []), said.get("signature", [])
        if len(expires) != 1 or len(signature) != 1 or not _MOMENT.fullmatch(expires[0]):
            return False
        good = hmac.compare_digest(signature[0].encode(), self._signature(key, int(expires[0])).encode())
        return good and self._now() < int(expires[0])

    def _signature(self, key: str, expires: int) -> str:
        return hmac.new(self._secret, f"GET\n{expires}\n{key}".encode(), hashlib.sha256).hexdigest()

    def _now(self) -> float:
        return self._clock.now().timestamp()
