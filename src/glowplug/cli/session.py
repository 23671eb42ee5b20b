"""What most verbs begin with: the settings of this place, and a client for the gateway that they point at."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glowplug.client import Client
    from glowplug.settings import Settings


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings of this process: `glowplug.toml` here, the environment, and the flags in `overrides`."""
    from glowplug.settings import Settings, settings_file

    return Settings.load(os.environ, settings_file(os.environ, Path.cwd()), overrides)


def open_client(url: str | None = None) -> Client:
    """Return a client for the gateway: `url`, or the one that is set, or the one that runs on the data folder."""
    from glowplug.client import Client
    from glowplug.client.exchange import address

    settings = load_settings({"gateway.url": url})
    token = settings.gateway.token
    return Client(lambda: address(settings.gateway.url, settings.data), token.reveal() if token else None)
