"""Addresses that stand where a task takes a file: fetched for it; the job fails in words where one cannot be had."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.rig import Running, done, rig

from glowplug.errors import InvalidInput, RemoteError, TooLarge
from glowplug.job import JobState
from glowplug.process.call import CallEnd
from glowplug.runtime.web_inputs import fetch_web_files, web_files
from glowplug.store import TaskInfo

FILE = {"type": "string", "format": "artifact"}
SCHEMA: Mapping[str, Any] = {
    "$defs": {"Look": {"properties": {"at": FILE}}},
    "properties": {
        "images": {"items": FILE},
        "prompt": {"type": "string"},
        "look": {"$ref": "#/$defs/Look"},
        "maybe": {"anyOf": [FILE, {"type": "null"}]},
    },
}
CAT, DOG = "https://example.com/pets/a%20cat.png?sig=1", "http://example.com/dog.jpg"


class Web:
    """The web, as a test has it."""

    def __init__(self, **errors: Exception) -> None:
        self.errors = errors
        self.asked: list[str] = []

    async def read(self, url: str) -> AsyncIterator[bytes]:
        self.asked.append(url)
        for name, error in self.errors.items():
            if name in url:
                raise error
        yield url.encode()


def test_addresses_count_where_the_schema_wants_a_file() -> None:
    value = {
        "images": [CAT, "artifact:a/b", CAT],
        "prompt": DOG,
        "look": {"at": DOG},
        "maybe": "http://x/y",
        "more": CAT,
    }
    assert web_files(value, SCHEMA) == [CAT, DOG, "http://x/y"]
    assert web_files({"images": ["data:image/png,x", "ftp://x", 7]}, SCHEMA) == []
    assert web_files(value, {}) == []


async def test_each_has_a_file_with_a_harmless_name(tmp_path: Path) -> None:
    odd = ["https://example.com/", "https://example.com/..%2f..%2fetc%2fpasswd", "https://example.com/%00%0a.png"]
    files = await fetch_web_files(Web(), [CAT, DOG, *odd], tmp_path, 1000)
    assert [Path(path).name for path in files.values()] == ["a-cat.png", "dog.jpg", "file", "passwd", "png"]
    assert all(Path(path).is_relative_to(tmp_path) for path in files.values())
    assert Path(files[CAT]).read_bytes() == CAT.encode()


async def test_all_together_have_a_bound_too(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="more than 50 bytes together"):
        await fetch_web_files(Web(), [CAT, DOG], tmp_path, 50)


async def test_a_task_gets_the_file_by_its_address(tmp_path: Path) -> None:
    reader = Web()
    async with rig(tmp_path, tasks=[TaskInfo("echo.say", "", SCHEMA)], web=reader) as it:
        seen: dict[str, bytes] = {}

        async def script(run: Running) -> CallEnd:
            seen.update({name: Path(path).read_bytes() for name, path in run.call.files.items()})
            return await done(run)

        it.host.script = script
        job = await it.ended(await it.submit_one(input={"images": [CAT], "prompt": DOG}))
        assert job.state is JobState.COMPLETED
        assert seen == {CAT: CAT.encode()}
        assert reader.asked == [CAT]


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(InvalidInput("answered 404"), 1), (TooLarge("too large"), 1), (RemoteError("answered 500"), 3)],
)
async def test_what_cannot_be_had_fails_the_job_and_the_worker_goes_on(
    tmp_path: Path, error: Exception, attempts: int
) -> None:
    async with rig(tmp_path, tasks=[TaskInfo("echo.say", "", SCHEMA)], web=Web(cat=error)) as it:
        job = await it.ended(await it.submit_one(input={"images": [CAT]}))
        assert (job.state, job.attempt) == (JobState.FAILED, attempts)
        assert job.failure is not None
        assert job.failure.message == str(error)
        assert (await it.ended(await it.submit_one(input={"images": [DOG]}))).state is JobState.COMPLETED


async def test_a_worker_without_the_web_leaves_addresses_to_the_task(tmp_path: Path) -> None:
    async with rig(tmp_path, tasks=[TaskInfo("echo.say", "", SCHEMA)]) as it:
        said = {"images": [CAT]}
        assert (await it.ended(await it.submit_one(input=said))).result == said
