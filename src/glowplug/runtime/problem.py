"""Errors as the body that HTTP callers get, encoded: they go through streams of results too."""

from __future__ import annotations

import msgspec

from glowplug.errors import GlowplugError
from glowplug.problem import passes, problem_body
from glowplug.problem import retry_after as seconds_to_wait

_encoder = msgspec.json.Encoder(enc_hook=str)


def problem(error: GlowplugError) -> bytes:
    """Return the JSON of an error, its data beside the standard fields."""
    return _encoder.encode(problem_body(error))


def retry_after(error: GlowplugError) -> bytes | None:
    """Return the value of `Retry-After` in whole seconds for an error that passes with time, else None."""
    return str(seconds_to_wait(error)).encode() if passes(error) else None
