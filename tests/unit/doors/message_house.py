"""A real gateway with the message door open to a real RabbitMQ, a worker played by hand, and a backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.message_backend import MessageBackend
from tests.unit.gateway.house import HandWorker, House, Told, house, picture

from glowplug.clock import SystemClock
from glowplug.doors.rabbitmq import RabbitDoor, RabbitDoorOptions
from glowplug.drivers.amqp import AmqpAddress
from glowplug.job import Note, Progress
from glowplug.link import Grant
from glowplug.readiness import Status
from glowplug.store import ModelInfo, TaskInfo

TASKS = ("detector.train", "detector.convert", "detector.infer")
DETECTOR = ModelInfo("detector", "1", tuple(TaskInfo(name, "Do it", {"type": "object"}) for name in TASKS))
KEYS = ("datasets/my-dataset/data.yaml", "m.pt", "m.onnx", "a.png")
TRAIN: dict[str, Any] = {
    "job_id": "abc12345",
    "dataset": {"s3_prefix": "datasets/my-dataset/", "name": "my-dataset"},
    "output": {"prefix": "models/yolov8n", "model_name": "my-dataset.pt"},
    "hyperparams": {"epochs": 2},
}


class HastyClock(SystemClock):
    """A clock on which no pause is long."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))


@dataclass
class MessageHouse:
    """What a test has of it all."""

    home: House
    door: RabbitDoor
    backend: MessageBackend
    told: Told

    async def worker(self) -> HandWorker:
        """Return a worker that has told of the detector."""
        worker = self.home.worker()
        await worker.register(picture(detector=Status.READY), models=(DETECTOR,))
        return worker

    async def claimed(self, worker: HandWorker) -> Grant:
        """Return the next job, waiting for it."""
        async with asyncio.timeout(20):
            while True:
                claimed = await worker.claim(tasks=TASKS, wait=1.0)
                if claimed.grants:
                    return claimed.grants[0]

    async def saying(self, name: str, count: int = 1) -> dict[str, Any]:
        """Wait for the `count`-th event of a name, and return its fields."""
        async with asyncio.timeout(20):
            while len(self.told.of(name)) < count:
                await asyncio.sleep(0.01)
        return self.told.of(name)[count - 1]

    async def jobs(self) -> list[dict[str, Any]]:
        """Return all jobs, as seen over HTTP."""
        listed: list[dict[str, Any]] = (await self.home.client.get("/v1/jobs")).json()["jobs"]
        return listed


async def piece(data: bytes) -> AsyncIterator[bytes]:
    yield data


def epoch(number: int, **more: float) -> Note:
    """Return what a training reports of an epoch."""
    return Note("metrics", {"epoch": number, "total_epochs": 2, "train_loss": 1 / number, "mAP50": 0.5, **more})


def step(percent: float, note: str) -> Note:
    """Return other progress."""
    data = {"done": percent, "total": 100, "percent": percent, "note": note, "preview": None}
    return Note("progress", data, progress=Progress(percent, 100, note))


@asynccontextmanager
async def message_house(
    folder: Path, url: str, told: Told, *, backend: bool = True, **more: Any
) -> AsyncIterator[MessageHouse]:
    """Yield a gateway with the door; what is not of the door's options goes to the gateway."""
    own = {name: more.pop(name) for name in list(more) if name in RabbitDoorOptions.__dataclass_fields__}
    door = RabbitDoor(RabbitDoorOptions(address=AmqpAddress.parse(url), **own), clock=HastyClock())
    peer = MessageBackend(url)
    if backend:
        await peer.connect()
    try:
        async with house(folder, SystemClock(), doors=(door,), **more) as home:
            for key in KEYS:
                await home.artifacts.put(key, piece(b"bytes"))
            yield MessageHouse(home, door, peer, told)
    finally:
        await peer.disconnect()
