"""Stores and brokers of the fault suite, each with what a test may do to it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import psycopg
from tests.journeys.faults.grounds import Broker, Ground, Store
from tests.journeys.system import until
from tests.servers.mongod import MongodServer
from tests.servers.moto import MotoServer
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer

MODEL = "epochs"
QUEUE = f"glowplug.{MODEL}"
AWS_KEYS = {
    "AWS_ACCESS_KEY_ID": "glowplug-test",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


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

    def leader(self, duty: str) -> str:
        """Return the name of the gateway that does a duty."""
        with self.server.connect(self._name) as connection:
            row = connection.execute("SELECT holder FROM duties WHERE name = %s", [duty]).fetchone()
        return str(row[0]) if row else ""


@dataclass
class MongoStore(Store):
    """A database on a replica set of our own."""


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
    seen: int = 0

    @property
    def version(self) -> str:
        """Return the version of the server."""
        return str(self.server.ask("rabbit_misc:version().")).strip('"')

    def kill(self) -> None:
        if not self.down:
            # What this server forgets by its own fault when it is killed is not ours to mend.
            self.server.write_down()
        super().kill()

    @contextlib.contextmanager
    def impatient(self, consumer_timeout_seconds: float, look_seconds: float) -> Iterator[None]:
        """Have the broker close channels that hold a message for too long, of which it takes a look now and then."""
        settings = {"consumer_timeout": consumer_timeout_seconds, "channel_tick_interval": look_seconds}
        try:
            with self.server.set_to(**{name: int(seconds * 1000) for name, seconds in settings.items()}):
                # A channel keeps to what was set as it was opened.
                self.server.close_connections()
                yield
        finally:
            self.server.close_connections()

    def hold_one(self) -> None:
        """Take a hint and keep it, until the broker has had enough of that and closes the channel."""
        asyncio.run(self._hold_one())

    async def _hold_one(self) -> None:
        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel()
            closed = asyncio.Event()
            channel.close_callbacks.add(lambda *_: closed.set())
            queue = await channel.get_queue(QUEUE, ensure=False)
            taken: asyncio.Queue[object] = asyncio.Queue()
            await queue.consume(taken.put)
            async with asyncio.timeout(30):
                await taken.get()
            async with asyncio.timeout(180):
                await closed.wait()

    def repeat(self, jobs: list[tuple[str, str]], times: int) -> None:
        asyncio.run(self._publish(shuffled(jobs, times)))

    async def _publish(self, jobs: list[tuple[str, str]]) -> None:
        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel()
            for job_id, task in jobs:
                message = aio_pika.Message(body_of(job_id, task).encode())
                await channel.default_exchange.publish(message, routing_key=QUEUE)

    def steal(self, every: int) -> int:
        return asyncio.run(self._steal(every))

    async def _steal(self, every: int) -> int:
        lost = 0
        with contextlib.suppress(aio_pika.exceptions.AMQPException, ConnectionError):
            async with await aio_pika.connect(self.url) as connection:
                channel = await connection.channel()
                queue = await channel.get_queue(QUEUE, ensure=False)
                for _ in range(50):
                    message = await queue.get(fail=False)
                    if message is None:
                        await asyncio.sleep(0.01)
                        continue
                    self.seen += 1
                    if self.seen % every == 0:
                        await message.ack()
                        lost += 1
                    else:
                        await message.nack(requeue=True)
        return lost


@dataclass
class SqsBroker(Broker):
    """Queues of our own on a stand-in of AWS, which forgets all of them when it is killed."""

    prefix: str = ""
    seen: int = 0

    def repeat(self, jobs: list[tuple[str, str]], times: int) -> None:
        for job_id, task in shuffled(jobs, times):
            self._queues.send_message(QueueUrl=self._url, MessageBody=body_of(job_id, task))

    def steal(self, every: int) -> int:
        found = self._queues.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, VisibilityTimeout=5)
        lost = 0
        for message in found.get("Messages", []):
            self.seen += 1
            receipt = {"QueueUrl": self._url, "ReceiptHandle": message["ReceiptHandle"]}
            if self.seen % every == 0:
                self._queues.delete_message(**receipt)
                lost += 1
            else:
                self._queues.change_message_visibility(VisibilityTimeout=0, **receipt)
        return lost

    @cached_property
    def _queues(self) -> Any:
        return self.server.client()

    @property
    def _url(self) -> str:
        """Where the queue is, once the gateway has made it again."""
        found: list[str] = []
        name = f"{self.prefix}-{MODEL}"

        def is_there() -> bool:
            with contextlib.suppress(self._queues.exceptions.QueueDoesNotExist):
                found.append(self._queues.get_queue_url(QueueName=name)["QueueUrl"])
            return bool(found)

        until(is_there, f"there is a queue {name}")
        return found[0]


def body_of(job_id: str, task: str) -> str:
    """Return a hint as it is sent."""
    return f'{{"job_id":"{job_id}","task":"{task}","priority":0,"schema_version":1}}'


def shuffled(jobs: list[tuple[str, str]], times: int) -> list[tuple[str, str]]:
    """Return each job so many times, in disorder."""
    copies = [job for job in jobs for _ in range(times)]
    random.Random(7).shuffle(copies)
    return copies


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


def on_mongo(server: MongodServer) -> MongoStore:
    """Return a store in a fresh database."""
    return MongoStore({"GLOWPLUG_STORE": server.url(server.new_name())}, server=server)


def on_sqs(server: MotoServer) -> SqsBroker:
    """Return a broker on queues of its own."""
    url = server.queues_url()
    prefix = urlsplit(url).path.lstrip("/")
    return SqsBroker({"GLOWPLUG_BROKER": url, **AWS_KEYS}, server=server, prefix=prefix)


def pair(store: Store, broker: Broker) -> Ground:
    """Return the ground of the two."""
    return Ground(f"{_name(store)} + {_name(broker)}", store, broker)


def _name(leg: Any) -> str:
    return type(leg).__name__.removesuffix("Store").removesuffix("Broker")
