"""SQLite's own side of the store: its file, its faults, and what each of them says."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from glowplug import events
from glowplug.clock import ManualClock
from glowplug.errors import Corrupt, DiskFull, GlowplugError, InvalidInput, NotFound, SettingsError, Unreachable
from glowplug.job import JobRequest
from glowplug.store import JobFilter
from glowplug.stores import sqlite
from glowplug.stores.sql import SqlStore
from glowplug.testing.work import claim, complete, queue, request

SECONDS = 60.0


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(SECONDS):
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "glowplug.db"


@pytest.fixture
def told() -> Iterator[list[str]]:
    heard: list[str] = []
    previous = events.set_sink(lambda spec, fields: heard.append(f"{spec.name}: {fields.get('error')}"))
    yield heard
    events.set_sink(previous)


def store_at(path: Path | str) -> SqlStore:
    return SqlStore(f"sqlite:///{path}", clock=ManualClock())


def pragmas(connection: Connection) -> list[object]:
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]


async def refusal(path: Path | str) -> GlowplugError:
    store = store_at(path)
    with pytest.raises(GlowplugError) as caught:
        await store.start()
    assert not store.started
    assert "\n" not in caught.value.message
    return caught.value


# The file.


async def test_the_files_can_be_read_by_their_owner_alone(path: Path) -> None:
    async with store_at(path) as store:
        assert isinstance(store, SqlStore)
        await queue(store)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"glowplug.db": 0o600, "glowplug.db-wal": 0o600, "glowplug.db-shm": 0o600}


async def test_a_file_that_is_there_keeps_its_mode(path: Path) -> None:
    path.touch()
    path.chmod(0o640)
    async with store_at(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


async def test_after_a_stop_one_file_is_left(path: Path) -> None:
    store = store_at(path)
    async with store:
        await queue(store)
    assert [file.name for file in path.parent.iterdir()] == ["glowplug.db"]


async def test_commits_are_synced_and_logged_ahead(path: Path) -> None:
    store = store_at(path)
    async with store:
        for lane in (store._writer, store._readers):
            assert await lane.run(pragmas) == ["wal", 2, 1, 5000]


async def test_a_path_with_signs_of_its_own_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c#d%e;ü"
    folder.mkdir()
    store = SqlStore(f"sqlite:///{folder}/x.db".replace("%", "%25"), clock=ManualClock())
    async with store:
        await queue(store)
    assert (folder / "x.db").exists()


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://h/d", "glowplug.db"])
def test_an_address_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        SqlStore(url, clock=ManualClock())


async def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    error = await refusal(tmp_path / "absent" / "glowplug.db")
    assert isinstance(error, SettingsError)
    assert "absent" in error.message


async def test_a_folder_in_place_of_the_file_is_said(path: Path) -> None:
    path.mkdir()
    error = await refusal(path)
    assert isinstance(error, SettingsError)
    assert str(path) in error.message


# Damage.


@pytest.mark.parametrize("content", [b"this is no database at all, but long enough to look", b"\x00" * 8192])
async def test_a_file_that_is_no_database_is_corrupt(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    error = await refusal(path)
    assert isinstance(error, Corrupt)
    assert str(path) in error.message
    assert path.read_bytes() == content


async def test_damaged_pages_are_said_when_they_are_met(path: Path, told: list[str]) -> None:
    store = store_at(path)
    async with store:
        jobs = [await queue(store, input={"text": "x" * 3000}) for _ in range(50)]
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = b"\xff" * (len(content) - 4096 * 2)
    path.write_bytes(content)
    with pytest.raises(Corrupt) as caught:
        await read_all(store_at(path), [job.id for job in jobs])
    assert "backup" in caught.value.message
    assert isinstance(caught.value.__cause__, Exception)


async def read_all(store: SqlStore, job_ids: list[str]) -> None:
    async with store:
        for job_id in job_ids:
            await store.job(job_id)


async def test_an_empty_file_is_a_new_database(path: Path) -> None:
    path.touch()
    store = store_at(path)
    async with store:
        await queue(store)


async def test_another_program_s_database_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE songs (id INTEGER)")
    other.close()
    error = await refusal(path)
    assert isinstance(error, SettingsError)
    assert "another program" in error.message
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("songs",)]
    other.close()


# Locks.


async def test_a_lock_that_is_let_go_in_time_is_waited_for(path: Path) -> None:
    store = store_at(path)
    async with store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(queue(store))
        # A read goes on beside the lock, so the writer has had its chance to stumble by the time it answers.
        assert (await store.jobs(JobFilter())).jobs == ()
        assert not waiting.done()
        other.execute("ROLLBACK")
        other.close()
        assert (await waiting).id in {job.id for job in (await store.jobs(JobFilter())).jobs}


async def test_a_lock_that_stays_is_said_and_the_store_goes_on_after_it(
    path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 0.05)
    store = store_at(path)
    async with store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            with pytest.raises(Unreachable, match="locked"):
                await queue(store)
        other.execute("ROLLBACK")
        other.close()
        await queue(store)
        assert len((await store.jobs(JobFilter())).jobs) == 1
    assert [line.partition(":")[0] for line in told] == ["store.failed", "store.restored"]


async def test_a_lock_at_the_start_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("BEGIN IMMEDIATE")
    assert isinstance(await refusal(path), Unreachable)
    other.close()


# No room.


async def limit_pages(store: SqlStore, spare: int) -> None:
    """Let the database grow by `spare` pages only: what SQLite answers then is what it answers on a full disk."""

    def limit(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + spare}")

    await store._writer.run(limit)


async def test_a_full_disk_is_said_and_nothing_is_half_written(path: Path, told: list[str]) -> None:
    store = store_at(path)
    async with store:
        first = await queue(store)
        await limit_pages(store, 2)
        with pytest.raises(DiskFull, match="free some space"):
            await store.submit([request(input={"text": "x" * 3000}) for _ in range(20)])
        assert [job.id for job in (await store.jobs(JobFilter())).jobs] == [first.id]
        assert told == [f"store.failed: no room to write to {path}: free some space and try again"]
        await limit_pages(store, 1000)
        await store.submit([request(input={"text": "x" * 3000}) for _ in range(20)])
        await complete(store, await claim(store))


async def test_on_a_full_disk_each_caller_of_a_group_gets_an_answer(path: Path, told: list[str]) -> None:
    store = store_at(path)
    async with store:
        await limit_pages(store, 8)
        asked = [store.submit([request(input={"text": "x" * 3000})]) for _ in range(40)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        made = {answer[0].job.id for answer in answers if isinstance(answer, list)}
        assert all(isinstance(answer, (list, DiskFull)) for answer in answers)
        assert any(isinstance(answer, DiskFull) for answer in answers)
        assert {job.id for job in (await store.jobs(JobFilter(), limit=100)).jobs} == made
        for job_id in made:
            assert [event.seq for event in await store.events(job_id)] == [1]


# What cannot be asked.


async def test_an_id_that_is_no_text_is_refused(path: Path, told: list[str]) -> None:
    store = store_at(path)
    async with store:
        with pytest.raises(InvalidInput):
            await store.job("\ud800")
        with pytest.raises(NotFound):
            await store.job("\x00")
    assert told == []


async def test_very_many_keys_fit_into_one_call(path: Path) -> None:
    store = store_at(path)
    async with store:
        asked = [JobRequest(task="m.t", input={}, key=f"k{number}") for number in range(2500)]
        first = await store.submit(asked)
        again = await store.submit(asked)
    assert [one.job.id for one in again] == [one.job.id for one in first]
    assert not any(one.created for one in again)


async def test_a_store_that_is_not_open_says_so(path: Path) -> None:
    store = store_at(path)
    with pytest.raises(Unreachable, match="not open"):
        await store.jobs(JobFilter())
    async with store:
        pass
    with pytest.raises(Unreachable, match="not open"):
        await queue(store)
