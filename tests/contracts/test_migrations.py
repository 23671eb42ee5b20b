"""A database of an older schema is brought to the current one, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text
from tests.servers.postgres import PostgresServer, postgres
from tests.unit.cli.commands import Command

from glowplug.clock import ManualClock
from glowplug.errors import SettingsError
from glowplug.job import JobState
from glowplug.store import JobFilter
from glowplug.stores import schema
from glowplug.stores.database import Database
from glowplug.stores.schema import Migration
from glowplug.stores.sql import SqlStore, database_of
from glowplug.stores.tables import REVISION
from glowplug.testing.work import claim, complete, queue

__all__ = ["postgres"]
SECONDS = 60.0
INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
}
OLD_JOB = text(
    "INSERT INTO jobs (id, task, owner, state, created_at, run_at, priority, request_hash, attempt, token, last_seq, "
    "worker_id, lease_until, input) "
    "VALUES (:id, 'model.task', :owner, :state, :at, :run_at, 0, '', 0, :token, 1, :worker, :until, '{\"n\": 1}')"
)
OLD_EVENT = text("INSERT INTO events (job_id, seq, type, at) VALUES (:id, 1, 'queued', :at)")
NewUrl = Callable[[], str]


@pytest.fixture(params=["sqlite", "postgres"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> NewUrl:
    """Return a maker of addresses of empty databases."""
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.new_database
    numbers = iter(range(10))
    return lambda: f"sqlite:///{tmp_path}/{next(numbers)}.db"


def opened(url: str) -> Database:
    database = database_of(url)
    database.prepare()
    return database


def make_old(url: str, clock: ManualClock) -> None:
    """Write a database as the first release left it: two owners' jobs that wait, one for later, one that runs."""
    at = int(clock.now().timestamp() * 1_000_000)
    hour = 3_600_000_000
    waiting: dict[str, Any] = {"owner": "ann", "state": "queued", "token": 0, "worker": None, "until": None, "at": at}
    rows = [waiting | {"id": f"a{number}", "run_at": at - 10 + number} for number in range(3)]
    rows += [waiting | {"id": "b0", "owner": "bob", "run_at": at - 1}, waiting | {"id": "later", "run_at": at + hour}]
    runs = {"id": "runs", "state": "running", "token": 1, "worker": "w1", "until": at + hour, "run_at": at}
    with opened(url).transaction(writes=True) as connection:
        schema._migrate(connection, "0001")
        connection.execute(OLD_JOB, [*rows, waiting | runs])
        connection.execute(OLD_EVENT, [{"id": row["id"], "at": at} for row in [*rows, runs]])


def shape(connection: Connection) -> dict[str, object]:
    """Return the tables of a database and what belongs to them, without the order of the columns."""
    looked = inspect(connection)
    found: dict[str, object] = {}
    for table in looked.get_table_names():
        columns = looked.get_columns(table)
        found[table] = (
            {column["name"]: (str(column["type"]), column["nullable"]) for column in columns},
            looked.get_pk_constraint(table)["constrained_columns"],
            [(key["constrained_columns"], key["options"]) for key in looked.get_foreign_keys(table)],
        )
    rows = connection.execute(text(INDEXES[connection.dialect.name])).all()
    return found | {name: " ".join(said.split()) for name, said in rows}


def migrate(url: str) -> Migration:
    database = opened(url)
    with database.transaction(writes=True) as connection:
        return schema.migrate(connection, database)


def test_an_older_database_becomes_what_a_new_one_is(new_url: NewUrl) -> None:
    old, new = new_url(), new_url()
    make_old(old, ManualClock())
    assert migrate(old) == Migration("0001", REVISION)
    assert migrate(new) == Migration(None, REVISION)
    assert not migrate(old).needed
    with opened(old).transaction(writes=False) as migrated, opened(new).transaction(writes=False) as made:
        assert shape(migrated) == shape(made)


async def test_the_jobs_of_an_older_database_go_on(new_url: NewUrl) -> None:
    # The migration tells what is due from what is for later, and goes by the machine's clock.
    url, clock = new_url(), ManualClock(datetime.now(UTC))
    make_old(url, clock)
    await asyncio.to_thread(migrate, url)
    store = SqlStore(url, clock=clock, server_time=False)
    async with asyncio.timeout(SECONDS), store:
        assert (await store.job("runs")).state is JobState.RUNNING
        assert len((await store.jobs(JobFilter())).jobs) == 6
        # In their owners' turns from now on, and behind each other as they stood.
        assert [job.id for job in await claim(store, slots=9)] == ["a0", "b0", "a1", "a2"]
        await queue(store)
        await complete(store, await claim(store))
        await clock.advance(3600)
        assert [job.id for job in await claim(store, slots=9)] == ["later"]


async def test_an_older_database_on_a_server_waits_for_somebody_to_say_so(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    make_old(url, ManualClock())
    store = SqlStore(url, clock=ManualClock())
    with pytest.raises(SettingsError, match="glowplug migrate"):
        await store.start()
    await asyncio.to_thread(migrate, url)
    async with asyncio.timeout(SECONDS), store:
        assert (await store.depths())["model.task"].queued == 5


async def test_a_newer_database_is_refused_with_the_fix(new_url: NewUrl) -> None:
    url = new_url()
    migrate(url)
    with opened(url).transaction(writes=True) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SettingsError, match=r"9999.*install the newer version"):
        await SqlStore(url, clock=ManualClock()).start()
    with pytest.raises(SettingsError, match=r"9999.*install the newer version"):
        migrate(url)


@pytest.mark.parametrize("tables", [["songs (id int)"], ["songs (id int)", "alembic_version (version_num text)"]])
async def test_another_program_s_database_is_refused_and_not_touched(new_url: NewUrl, tables: list[str]) -> None:
    url = new_url()
    with opened(url).transaction(writes=True) as connection:
        for table in tables:
            connection.execute(text(f"CREATE TABLE {table}"))
        if len(tables) > 1:
            connection.execute(text("INSERT INTO alembic_version VALUES ('8c2f0d9a11bb')"))
    for act in (SqlStore(url, clock=ManualClock()).start, lambda: asyncio.to_thread(migrate, url)):
        with pytest.raises(SettingsError, match="another program"):
            await act()
    with opened(url).transaction(writes=False) as connection:
        assert len(inspect(connection).get_table_names()) == len(tables)


def test_two_that_migrate_at_once_do_it_once(new_url: NewUrl) -> None:
    url = new_url()
    make_old(url, ManualClock())
    done: list[Migration] = []
    threads = [threading.Thread(target=lambda: done.append(migrate(url))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert sorted(one.needed for one in done) == [False, False, True]


async def test_gateways_that_begin_on_an_empty_database_at_once_all_find_it_made(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    stores = [SqlStore(url, clock=ManualClock()) for _ in range(4)]
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*(store.start() for store in stores))
        assert not (await queue(stores[0])).done
        await asyncio.gather(*(store.stop() for store in stores))


# The verb.


@pytest.fixture
def glowplug(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, capsys, monkeypatch)


def test_the_verb_says_from_where_to_where_and_does_it_once(glowplug: Command, new_url: NewUrl) -> None:
    url = new_url()
    make_old(url, ManualClock())
    glowplug.set("GLOWPLUG_STORE", url)
    checked = glowplug("migrate", "--check")
    assert (checked.code, checked.out) == (
        3,
        f"The database has schema 0001 and needs {REVISION}: run `glowplug migrate`.\n",
    )
    done = glowplug("migrate")
    assert (done.code, done.out) == (0, f"The database was migrated from schema 0001 to {REVISION}.\n")
    for words in (["migrate"], ["migrate", "--check"]):
        again = glowplug(*words)
        assert (again.code, again.out) == (0, f"The database has schema {REVISION}: there is nothing to do.\n")


def test_the_verb_speaks_json(glowplug: Command) -> None:
    assert glowplug("migrate", "--check", "--json").json["needed"]
    assert not (glowplug.folder / "data").exists()
    assert glowplug("migrate", "--json").json == {"from": None, "to": REVISION, "needed": False, "migrated": True}
    assert glowplug("migrate", "--json").json == {
        "from": REVISION,
        "to": REVISION,
        "needed": False,
        "migrated": False,
    }


def test_a_store_without_a_schema_has_nothing_to_migrate(glowplug: Command) -> None:
    glowplug.set("GLOWPLUG_STORE", "memory:")
    assert "nothing to migrate" in glowplug("migrate").out
    assert not glowplug("migrate", "--check", "--json").json["needed"]


def test_a_server_that_is_not_there_is_said_without_the_password(glowplug: Command) -> None:
    glowplug.set("GLOWPLUG_STORE", "postgresql://ann:open-sesame@127.0.0.1:1/jobs")
    done = glowplug("migrate")
    assert done.code == 3
    assert "127.0.0.1:1/jobs" in done.error
    assert "sesame" not in done.out + done.err
