"""The client of a MongoDB: how it connects, how long it waits, and what it insists on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from urllib.parse import urlsplit

from pymongo import AsyncMongoClient
from pymongo.errors import ConfigurationError
from pymongo.uri_parser import split_options

from glowplug.errors import SettingsError
from glowplug.stores.mongo.address import MongoAddress
from glowplug.stores.mongo.documents import Document

Client = AsyncMongoClient[Document]

# What a URL may set otherwise.
_DEFAULTS: dict[str, Any] = {
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 20_000,
    "wTimeoutMS": 10_000,
    "maxPoolSize": 32,
    "appName": "glowplug",
}
# What it may not: an answer is durable, and nothing is read that a failover could take back.
_SETTLED: dict[str, Any] = {
    "w": "majority",
    "journal": True,
    "readConcernLevel": "majority",
    "readPreference": "primary",
    "retryWrites": True,
    "retryReads": True,
}


@dataclass(frozen=True, slots=True)
class Server:
    """What a server says of itself; `has_stream` is whether it can tell what was written."""

    time: datetime
    has_stream: bool


def open_client(address: MongoAddress) -> Client:
    """Return a client that connects when it is first used. Raises `SettingsError` for an option that is none."""
    query = urlsplit(address.url).query
    try:
        # Left to itself the driver passes over what it does not understand, and it may have been about TLS.
        asked = {name.lower() for name in (split_options(query, warn=False) if query else ())}
    except (ValueError, TypeError, ConfigurationError) as error:
        raise SettingsError(f"the URL of {address.shown} has an option that cannot be used: {error}") from error
    options = {name: value for name, value in _DEFAULTS.items() if name.lower() not in asked}
    return AsyncMongoClient(address.url, connect=False, **options, **_SETTLED)


async def hello(client: Client) -> Server:
    """Ask the primary who it is and what time it has."""
    said = await client.admin.command("hello")
    has_stream = "setName" in said or said.get("msg") == "isdbgrid"
    return Server(cast("datetime", said["localTime"]), has_stream)
