"""New databases get the tables at once, old ones by migration, and newer ones are left alone."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from glowplug.clock import ManualClock
from glowplug.errors import SettingsError
from glowplug.stores import schema
from glowplug.stores.sql import SqlStore
from glowplug.stores.sqlite import SqliteDatabase
from glowplug.stores.tables import REVISION
from glowplug.testing.work import claim, complete, queue

SECONDS = 60.0


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(SECONDS):
        yield


def written_by(path: Path, build: Callable[[Connection], object]) -> list[tuple[str, str]]:
    """Let `build` make the tables of a new database, and return what they are."""
    database = SqliteDatabase(path)
    database.prepare()
    with database.transaction(writes=True) as connection:
        build(connection)
    with database.transaction(writes=False) as connection:
        rows = connection.execute(text("SELECT name, coalesce(sql, '') FROM sqlite_master")).all()
    return sorted((name, re.sub(r"\s+", " ", sql)) for name, sql in rows)


def in_any_order(schema: list[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Forget the order of columns: those that a migration adds come last."""
    return [
        (name, sorted(re.split(r", (?![^(]*\))", sql.partition(" (")[2].removesuffix(")")))) for name, sql in schema
    ]


def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    return ScriptDirectory.from_config(config)


def test_migrating_from_nothing_makes_the_same_tables_as_making_them(tmp_path: Path) -> None:
    made = written_by(tmp_path / "made.db", schema.ensure_schema)
    migrated = written_by(tmp_path / "migrated.db", schema._migrate)
    assert in_any_order(migrated) == in_any_order(made)
    assert "jobs_queue" in dict(made)


def test_the_last_migration_is_the_revision_of_the_tables() -> None:
    assert scripts().get_heads() == [REVISION]


def test_a_database_of_an_older_revision_is_migrated(tmp_path: Path) -> None:
    def build(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        schema.ensure_schema(connection)
        assert inspect(connection).has_table("jobs")
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [REVISION]

    written_by(tmp_path / "old.db", build)


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as before:
        # The table that is in the way stands for anything that stops a migration half-way.
        before.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        before.execute("CREATE TABLE models (other TEXT)")
    before.close()
    with pytest.raises(Exception, match="models"):
        written_by(path, schema.ensure_schema)
    with sqlite3.connect(path) as after:
        names = {name for (name,) in after.execute("SELECT name FROM sqlite_master")}
    after.close()
    assert names == {"alembic_version", "models"}


async def test_a_newer_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "glowplug.db"
    store = SqlStore(f"sqlite:///{path}", clock=ManualClock())
    async with store:
        job = await queue(store)
    with sqlite3.connect(path) as later:
        later.execute("UPDATE alembic_version SET version_num = '9999'")
    later.close()
    with pytest.raises(SettingsError, match=r"9999.*newer version"):
        await store.start()
    with sqlite3.connect(path) as back:
        back.execute("UPDATE alembic_version SET version_num = ?", [REVISION])
    back.close()
    async with store:
        assert await store.job(job.id) == job


@pytest.mark.parametrize("revision", ["a1b2c3d4e5f6", "main", ""])
async def test_another_program_s_migrated_database_is_left_alone(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        other.execute("INSERT INTO alembic_version VALUES (?)", [revision])
        other.execute("CREATE TABLE songs (id INTEGER)")
    other.close()
    with pytest.raises(SettingsError, match="another program"):
        await SqlStore(f"sqlite:///{path}", clock=ManualClock()).start()


async def test_what_an_earlier_run_wrote_is_there(tmp_path: Path) -> None:
    clock = ManualClock()
    first = SqlStore(f"sqlite:///{tmp_path}/glowplug.db", clock=clock)
    async with first:
        await queue(first)
        claimed = await claim(first)
        await complete(first, claimed, result={"n": 1})
    second = SqlStore(f"sqlite:///{tmp_path}/glowplug.db", clock=clock)
    async with second:
        assert (await second.job(claimed[0].id)).result == {"n": 1}


STARTS = """
import asyncio, sys
from glowplug.clock import SystemClock
from glowplug.stores.sql import SqlStore
async def main() -> None:
    async with SqlStore(sys.argv[1], clock=SystemClock()):
        print(sorted(name for name in ("alembic", "mako") if name in sys.modules))
asyncio.run(main())
"""


def test_a_current_database_needs_no_alembic(tmp_path: Path) -> None:
    for _ in range(2):
        command = [sys.executable, "-c", STARTS, f"sqlite:///{tmp_path}/glowplug.db"]
        assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "[]\n"


OPENS = """
import asyncio, sys
from glowplug.clock import SystemClock
from glowplug.job import JobRequest
from glowplug.stores.sql import SqlStore
async def main() -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    async with SqlStore(sys.argv[1], clock=SystemClock()) as store:
        await store.submit([JobRequest(task="model.task", input={})])
asyncio.run(main())
"""


async def test_processes_that_open_a_new_database_at_once_all_find_it_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/glowplug.db"
    command = [sys.executable, "-c", OPENS, url]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    answers = [await asyncio.to_thread(child.communicate, "\n", 60) for child in children]
    assert [(child.returncode, errors) for child, (_, errors) in zip(children, answers, strict=True)] == [(0, "")] * 4
    store = SqlStore(url, clock=ManualClock())
    async with store:
        assert (await store.depths())["model.task"].queued == 4
