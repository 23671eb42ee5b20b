"""Stores and brokers of the fault suite, each with what a test may do to it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import psycopg
from tests.journeys.faults.grounds import Broker, Ground, Store
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer

QUEUE = "glowplug.epochs"
RESERVED_CONNECTIONS = 3


@dataclass
class SqliteStore(Store):
    """One file; it cannot be away, but another program may hold its lock."""

    path: Path = Path()

    @contextlib.contextmanager
    def hold_write_lock(self) -> Iterator[object]:
        """Be a program that writes, and takes its time."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        finally:
            connection.execute("ROLLBACK")
            connection.close()


@dataclass
class PostgresStore(Store):
    """A database on a server of our own."""

    url: str = ""

    @property
    def _name(self) -> str:
        return urlsplit(self.url).path.lstrip("/")

    def terminate_all(self) -> None:
        """Cut every connection to the database."""
        self.server.terminate_backends(self._name)

    def take_all_connections(self) -> list[psycopg.Connection[tuple[object, ...]]]:
        """Open connections until there are no more, having cut those that are there."""
        self.terminate_all()
        taken: list[psycopg.Connection[tuple[object, ...]]] = []
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                taken.append(self.server.connect())
        return taken


class RowsBroker(Broker):
    """Nothing beside the store: there are no hints to repeat or to lose."""

    def repeat(self, jobs: list[tuple[str, str]], times: int) -> None:
        del jobs, times

    def steal(self, every: int) -> int:
        del every
        return 0


@dataclass
class RabbitBroker(Broker):
    """A virtual host on a server of our own; the queue of the model is known by its name."""

    url: str = ""

    def repeat(self, jobs: list[tuple[str, str]], times: int) -> None:
        copies = [job for job in jobs for _ in range(times)]
        random.Random(7).shuffle(copies)
        asyncio.run(self._publish(copies))

    async def _publish(self, jobs: list[tuple[str, str]]) -> None:
        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel()
            for job_id, task in jobs:
                body = f'{{"job_id":"{job_id}","task":"{task}","priority":0,"schema_version":1}}'.encode()
                await channel.default_exchange.publish(aio_pika.Message(body), routing_key=QUEUE)

    def steal(self, every: int) -> int:
        return asyncio.run(self._steal(every))

    async def _steal(self, every: int) -> int:
        lost = seen = 0
        with contextlib.suppress(aio_pika.exceptions.AMQPException, ConnectionError):
            async with await aio_pika.connect(self.url) as connection:
                channel = await connection.channel()
                queue = await channel.get_queue(QUEUE, ensure=False)
                for _ in range(50):
                    message = await queue.get(fail=False)
                    if message is None:
                        await asyncio.sleep(0.01)
                        continue
                    seen += 1
                    if seen % every == 0:
                        await message.ack()
                        lost += 1
                    else:
                        await message.nack(requeue=True)
        return lost


def on_sqlite(folder: Path) -> SqliteStore:
    """Return a store in a file."""
    path = folder / "jobs.db"
    return SqliteStore({"GLOWPLUG_STORE": f"sqlite:///{path}"}, path=path)


def on_postgres(server: PostgresServer) -> PostgresStore:
    """Return a store in a fresh database."""
    url = server.new_database()
    return PostgresStore({"GLOWPLUG_STORE": url}, server=server, url=url)


def on_rabbitmq(server: RabbitServer) -> RabbitBroker:
    """Return a broker on a fresh virtual host."""
    url = server.url(server.make_vhost())
    return RabbitBroker({"GLOWPLUG_BROKER": url}, server=server, url=url)


def pair(store: Store, broker: Broker) -> Ground:
    """Return the ground of the two."""
    return Ground(f"{_name(store)} + {_name(broker)}", store, broker)


def _name(leg: Any) -> str:
    return type(leg).__name__.removesuffix("Store").removesuffix("Broker")
