"""The options of the `chat` model, read once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from glowplug.errors import SettingsError
from glowplug.workloads import option_values

OLLAMA = "http://127.0.0.1:11434"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LARGEST_COUNT = 1_000_000
KNOWN = (
    *("server", "model", "api_key_env", "silence_seconds"),
    *("gguf", "context", "threads", "gpu_layers"),
    *("system", "max_tokens", "longest_prompt"),
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Limits:
    """What every call is held to, and the instructions that stand before each conversation."""

    longest_prompt: int
    max_tokens: int
    system: str

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Limits:
        """Read `longest_prompt`, `max_tokens` and `system`."""
        return cls(
            counted(options, "longest_prompt", 200_000), counted(options, "max_tokens", 1024), options.get("system", "")
        )


@dataclass(frozen=True, slots=True, repr=False)
class ServerOptions:
    """Where the server is, what it is asked for and how long it may be silent. The key is shown nowhere."""

    url: str
    model: str
    key: str
    silence_seconds: float

    @classmethod
    def of(cls, options: Mapping[str, str]) -> ServerOptions:
        """Read `server`, `model`, `api_key_env` and `silence_seconds`.

        Raises:
            SettingsError: one of them is wrong, or the environment has no such variable.
        """
        silence = option_values.seconds(options, "silence_seconds", 120)
        return cls(_url(options.get("server", OLLAMA)), options.get("model", ""), _key(options), silence)

    @property
    def name(self) -> str:
        """Return what to call the server in messages."""
        return f"the chat server {self.url.removesuffix('/v1')}"

    @property
    def near(self) -> bool:
        """Say whether it is on this machine: then no proxy leads to it."""
        return urlsplit(self.url).hostname in LOOPBACK


def counted(options: Mapping[str, str], name: str, usual: int, least: int = 1) -> int:
    """Return an option that counts tokens, letters or layers."""
    return option_values.whole(options, name, usual, least=least, most=LARGEST_COUNT)


def _url(given: str) -> str:
    try:
        parts = urlsplit(given.strip())
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        raise SettingsError("option server: not an address such as http://127.0.0.1:11434") from None
    if parts.username or parts.password:
        # Not shown: it may be a secret.
        raise SettingsError("option server: no user or password in the address; use option api_key_env")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits or parts.query or parts.fragment:
        raise SettingsError(f"option server={given[:200]!r}: not an address such as {OLLAMA} or https://host/v1")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def _key(options: Mapping[str, str]) -> str:
    name = options.get("api_key_env", "")
    if not name:
        return ""
    if not _NAME.fullmatch(name):
        # Not shown: somebody may have put the key itself here.
        raise SettingsError("option api_key_env: the NAME of an environment variable is expected, not the key itself")
    key = os.environ.get(name, "").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(
            f"option api_key_env={name}: the environment of the model has no such variable, or no key in it "
            "(variables whose names begin with GLOWPLUG_ are kept from models)"
        )
    return key
