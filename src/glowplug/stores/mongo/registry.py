"""Workers and models, and who leads which duty: small documents, written over."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from pymongo.errors import DuplicateKeyError

from glowplug.store import ModelInfo, WorkerRecord
from glowplug.stores.moments import micros
from glowplug.stores.mongo.rooms import Collection, Rooms

_read_worker = msgspec.json.Decoder(WorkerRecord).decode
_read_model = msgspec.json.Decoder(ModelInfo).decode


class Registry:
    """Knows workers, models and leaders."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def save_worker(self, record: WorkerRecord) -> None:
        """Write a worker's record over the one that is there."""
        await _write_over(self._rooms.workers, record.instance_id, record)

    async def workers(self) -> list[WorkerRecord]:
        """Return all workers."""
        return [_read_worker(document["text"]) async for document in self._rooms.workers.find().sort("_id", 1)]

    async def worker(self, instance_id: str) -> WorkerRecord | None:
        """Return a worker, None if it is not there."""
        document = await self._rooms.workers.find_one({"_id": instance_id})
        return None if document is None else _read_worker(document["text"])

    async def forget_worker(self, instance_id: str) -> None:
        """Delete a worker's record."""
        await self._rooms.workers.delete_one({"_id": instance_id})

    async def save_model(self, info: ModelInfo) -> None:
        """Write a model's info over the one that is there."""
        await _write_over(self._rooms.models, info.name, info)

    async def models(self) -> list[ModelInfo]:
        """Return all models."""
        return [_read_model(document["text"]) async for document in self._rooms.models.find().sort("_id", 1)]

    async def lead(self, duty: str, holder: str, term: timedelta, now: datetime) -> bool:
        """Become or stay the one who does `duty`."""
        free = {"_id": duty, "$or": [{"holder": holder}, {"until": {"$lte": micros(now)}}]}
        update = {"$set": {"holder": holder, "until": micros(now + term)}}
        try:
            await self._rooms.duties.update_one(free, update, upsert=True)
        except DuplicateKeyError:
            return False
        return True

    async def resign(self, duty: str, holder: str) -> None:
        """Let somebody else lead at once."""
        await self._rooms.duties.delete_one({"_id": duty, "holder": holder})


async def _write_over(room: Collection, name: str, value: Any) -> None:
    await room.replace_one({"_id": name}, {"text": msgspec.json.encode(value).decode()}, upsert=True)
