"""From URLs to adapters. An adapter whose library is missing is answered with the command that installs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from glowplug.errors import MissingExtra, SettingsError

if TYPE_CHECKING:
    from glowplug.artifact import ArtifactStore
    from glowplug.broker import Broker
    from glowplug.clock import Clock
    from glowplug.store import Store

REMOTE_SCHEMES = ("s3", "gs", "az")
STORES = "sqlite:////path, postgresql://…, mongodb://… and memory:"
BROKERS = "rows, amqp://…, amqps://… and sqs://…"


@contextmanager
def extra(name: str, needed_for: str) -> Iterator[None]:
    """Say which extra to install if what is imported in the block is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("glowplug"):
            raise
        raise MissingExtra.of(name, needed_for) from error


def open_store(url: str, clock: Clock) -> Store:
    """Return the store that `url` names. Raises `SettingsError` for a kind that is not known, `MissingExtra`."""
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        from glowplug.stores.memory import MemoryStore

        return MemoryStore(clock=clock)
    if scheme == "sqlite":
        from glowplug.stores.sql import SqlStore

        return SqlStore(url, clock=clock)
    if scheme in ("postgresql", "postgres"):
        with extra("postgres", "a store on PostgreSQL"):
            import psycopg  # noqa: F401 - it is only imported later, in a thread
        from glowplug.stores.sql import SqlStore

        return SqlStore(url, clock=clock)
    if scheme in ("mongodb", "mongodb+srv"):
        with extra("mongo", "a store on MongoDB"):
            from glowplug.stores.mongo import MongoStore

            return MongoStore(url, clock=clock)
    raise SettingsError(f"store = {_shown(url)}: unknown kind {scheme!r}; there are {STORES}")


def open_broker(url: str, clock: Clock) -> Broker:
    """Return the broker that `url` names. Raises `SettingsError` for a kind that is not known, `MissingExtra`."""
    scheme = urlsplit(url).scheme
    if url == "rows":
        from glowplug.brokers.rows import RowsBroker

        return RowsBroker(clock=clock)
    if scheme in ("amqp", "amqps"):
        with extra("amqp", "a broker on RabbitMQ"):
            from glowplug.brokers.rabbitmq import RabbitBroker

            return RabbitBroker(url, clock=clock)
    if scheme == "sqs":
        with extra("sqs", "a broker on SQS"):
            from glowplug.brokers.sqs import SqsBroker

            return SqsBroker(url, clock=clock)
    raise SettingsError(f"broker = {_shown(url)}: unknown kind; there are {BROKERS}")


def open_artifacts(url: str) -> ArtifactStore:
    """Return the artifact store that `url` names: a folder as `file:///path`, or `s3://`, `gs://`, `az://`."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        from glowplug.artifacts.disk import DiskArtifacts

        return DiskArtifacts(Path(unquote(parts.path)))
    if parts.scheme in REMOTE_SCHEMES:
        from glowplug.artifacts.objects import ObjectArtifacts

        return ObjectArtifacts(url)
    raise SettingsError(
        f"artifacts = {_shown(url)}: unknown kind {parts.scheme!r}; there are file, {', '.join(REMOTE_SCHEMES)}"
    )


def _shown(url: str) -> str:
    """Return a URL without what may be a password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else url
