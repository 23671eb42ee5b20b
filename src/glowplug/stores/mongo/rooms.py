"""The collections, their indexes, and the version of what is in them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError

from glowplug.errors import SettingsError
from glowplug.stores.mongo.documents import Document

Collection = AsyncCollection[Document]
Database = AsyncDatabase[Document]
Upgrade = Callable[[Database], Awaitable[None]]

VERSION = 1
# What brings a database from the version that is the key to the next one.
UPGRADES: Mapping[int, Upgrade] = {}

ABORTED_KEPT_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Rooms:
    """The collections of one database."""

    jobs: Collection
    events: Collection
    submissions: Collection
    workers: Collection
    models: Collection
    duties: Collection
    schema: Collection

    @classmethod
    def of(cls, database: Database) -> Rooms:
        """Name the collections of a database."""
        return cls(**{name: database[name] for name in cls.__dataclass_fields__})


def _index(name: str, *fields: str, only_with: str | None = None, **options: Any) -> IndexModel:
    keys = [(field.removeprefix("-"), DESCENDING if field.startswith("-") else ASCENDING) for field in fields]
    if only_with is not None:
        options["partialFilterExpression"] = {only_with: {"$exists": True}}
    return IndexModel(keys, name=name, **options)


# An index over one state alone hangs on a field that only jobs of that state have.
JOB_INDEXES = [
    _index("queue", "task", "-priority", "turn", "_id", only_with="turn"),
    _index("owner_line", "task", "priority", "owner", "turn", only_with="turn"),
    _index("later", "task", "later_at", "_id", only_with="later_at"),
    _index("dispatched", "task", "dispatched_at", only_with="dispatched_at"),
    _index("lapsing", "lapses_at", "_id", only_with="lapses_at"),
    _index("lease", "lease_until", "_id", only_with="lease_until"),
    _index("holder", "worker_id", "_id", only_with="worker_id"),
    _index("depth", "live", "task", "run_at", "dispatched_at", only_with="live"),
    _index("key", "owner", "key", only_with="key", unique=True),
    _index("ended", "finished_at", "_id", only_with="finished_at"),
    _index("newest", "created_at", "_id"),
    _index("by_state", "state", "created_at", "_id"),
    _index("by_task", "task", "created_at", "_id"),
    _index("by_owner", "owner", "created_at", "_id"),
    _index("by_owner_task", "owner", "task", "created_at"),
    _index("by_batch", "batch_id", "created_at", "_id", only_with="batch_id"),
    _index("drafts", "submission", only_with="submission"),
    _index("doomed", "doomed", only_with="doomed"),
    IndexModel([("due.$**", ASCENDING)], name="due"),
]
EVENT_INDEXES = [_index("log", "job_id", "seq", unique=True)]
SUBMISSION_INDEXES = [
    IndexModel([("aborted_at", ASCENDING)], name="aborted", expireAfterSeconds=ABORTED_KEPT_SECONDS),
    _index("committed", "committed", only_with="committed"),
]


async def ensure_schema(database: Database, rooms: Rooms) -> None:
    """Make the indexes and bring what is there to this version; two gateways may do so at once.

    Raises:
        SettingsError: the database belongs to a newer Glowplug, or to something else.
    """
    names = await database.list_collection_names()
    stored = await rooms.schema.find_one({"_id": "schema"})
    if stored is None and "jobs" in names:
        raise SettingsError(f"the database {database.name} belongs to another program; give Glowplug one of its own")
    await _bring_up(database, rooms, await _first_version(rooms) if stored is None else int(stored["version"]))
    await rooms.jobs.create_indexes(JOB_INDEXES)
    await rooms.events.create_indexes(EVENT_INDEXES)
    await rooms.submissions.create_indexes(SUBMISSION_INDEXES)


async def _first_version(rooms: Rooms) -> int:
    try:
        await rooms.schema.insert_one({"_id": "schema", "version": VERSION})
    except DuplicateKeyError:
        # Another gateway starts at the same moment, and may be of another version.
        stored = await rooms.schema.find_one({"_id": "schema"})
        return int(stored["version"]) if stored else VERSION
    return VERSION


async def _bring_up(database: Database, rooms: Rooms, version: int) -> None:
    if version > VERSION:
        raise SettingsError(
            f"the database {database.name} has version {version}, newer than {VERSION} of this Glowplug: install the "
            "newer version again, or give this one a database of its own"
        )
    for older in range(version, VERSION):
        await UPGRADES[older](database)
        await rooms.schema.update_one({"_id": "schema", "version": older}, {"$set": {"version": older + 1}})
