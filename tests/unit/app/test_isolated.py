"""A model in a process of its own behind a component: called by a handle, crashing alone, retried, warmed again."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.unit.app.models import Painter
from tests.unit.app.rig import SECONDS, until, until_ready, until_status

from glowplug.app import Readiness
from glowplug.app.handle import KEPT_CALLS, Shelf, _Sink
from glowplug.app.isolated import Isolated
from glowplug.app.options import ComponentOptions
from glowplug.errors import Conflict, Draining, InvalidInput, ModelCrashed, NotReady, TaskFailed, UnknownTask
from glowplug.lifecycle import cancel
from glowplug.readiness import Status


@pytest.fixture
async def painter(ready: Readiness) -> AsyncIterator[Readiness]:
    """Return a readiness whose one component is a model in its own process, ready."""
    ready.add("painter", Painter, isolate=True)
    async with ready:
        await until_ready(ready)
        yield ready


async def test_it_answers_from_a_process_of_its_own(painter: Readiness) -> None:
    answer = await painter["painter"].run("say", text="hello")
    assert answer["text"] == "hello"
    assert answer["pid"] != os.getpid()
    assert (await painter["painter"].run("painter.say", text="by its full name"))["text"] == "by its full name"
    assert "painter.paint" in painter["painter"].tasks


async def test_a_saved_file_is_a_path_and_can_be_sent_back(painter: Readiness) -> None:
    painted = (await painter["painter"].run("paint", name="cat.txt"))["picture"]
    assert isinstance(painted, Path)
    assert (painted.suffix, painted.read_text()) == (".txt", "cat.txt")
    assert await painter["painter"].run("length", file=painted) == len("cat.txt")
    assert await painter["painter"].run("length", file=b"12345") == 5


async def test_a_task_that_streams_gives_its_values_as_they_come(painter: Readiness) -> None:
    assert await painter["painter"].run("count", to=3) == [0, 1, 2]
    assert await painter["painter"].run("count", to=0) == []
    assert [value async for value in painter["painter"].stream("count", to=4)] == [0, 1, 2, 3]


async def test_who_is_canceled_while_it_waits_for_a_value_leaves_nothing_behind() -> None:
    async def read() -> None:
        async for _ in _Sink(asyncio.Queue(maxsize=1)).values():
            raise AssertionError("there is no value")

    before = asyncio.all_tasks()
    reader = asyncio.create_task(read())
    for _ in range(3):
        await asyncio.sleep(0)
    await cancel(reader)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_leaving_a_stream_early_stops_the_task(painter: Readiness) -> None:
    stream = painter["painter"].stream("count", to=10_000_000)
    assert await anext(stream) == 0
    await stream.aclose()
    async with asyncio.timeout(SECONDS):
        assert (await painter["painter"].run("say", text="free again"))["text"] == "free again"


async def test_errors_are_ours(painter: Readiness) -> None:
    handle = painter["painter"]
    with pytest.raises(TaskFailed, match="no such thing"):
        await handle.run("fail")
    with pytest.raises(UnknownTask):
        await handle.run("sing")
    with pytest.raises(InvalidInput, match="text"):
        await handle.run("say", text=3)
    with pytest.raises(InvalidInput, match="cannot be sent"):
        await handle.run("say", text=object())
    with pytest.raises(TaskFailed, match="no such thing"):
        async for _ in handle.stream("fail"):
            pass


async def test_a_crash_ends_the_call_and_the_model_comes_back(painter: Readiness) -> None:
    handle = painter["painter"]
    with pytest.raises(ModelCrashed):
        await handle.run("die")
    await until(painter, "painter", lambda one: one.status.can_serve and one.attempt >= 2)
    assert (await handle.run("say", text="back"))["text"] == "back"


async def test_it_may_be_called_from_another_loop(painter: Readiness) -> None:
    called = lambda: asyncio.run(painter["painter"].run("say", text="far"))  # noqa: E731
    assert (await asyncio.to_thread(called))["text"] == "far"


async def test_it_is_warmed_again_without_leaving_ready(painter: Readiness) -> None:
    (told,) = await painter.warm_up()
    assert told.error is None
    assert told.seconds is not None
    assert painter.is_ready()


async def test_nothing_of_it_is_left_after_the_end(ready: Readiness, folders: Path) -> None:
    ready.add("painter", Painter, isolate=True)
    async with ready:
        await until_ready(ready)
        handle = ready["painter"]
        answer = await handle.run("say", text="hello")
        await handle.run("paint")
    assert not psutil.pid_exists(answer["pid"])
    assert list((folders / "data" / "scratch").iterdir()) == []
    with pytest.raises(NotReady):
        await handle.run("say", text="too late")
    with pytest.raises(Draining):
        ready["painter"]


async def test_the_application_may_leave_while_it_loads(ready: Readiness) -> None:
    ready.add("painter", Painter, isolate=True)
    async with asyncio.timeout(SECONDS), ready:
        pass


async def test_a_load_that_fails_is_tried_again_when_asked(ready: Readiness, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    ready.add("painter", Painter, isolate=True, options={"fails_until": str(marker)})
    async with ready:
        seen = await until_status(ready, "painter", Status.ERROR)
        assert seen.failure is not None
        assert "not yet" in seen.failure.error
        marker.touch()
        assert await ready.retry("painter") == ("painter",)
        await until_status(ready, "painter", Status.READY)
        with pytest.raises(Conflict):
            await ready.retry("painter")


async def test_an_optional_one_whose_library_is_missing_is_unavailable(ready: Readiness) -> None:
    ready.add("painter", Painter, isolate=True, required=False, options={"needs": "glowplug_no_such_package"})
    async with ready:
        seen = await until_status(ready, "painter", Status.UNAVAILABLE)
        assert seen.reason == "not_installed"


@pytest.mark.parametrize("way", ["file", "module"])
def test_a_program_may_isolate_a_model_that_stands_in_it(tmp_path: Path, way: str) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    program = tmp_path / "package" / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    command = {"file": [str(program)], "module": ["-m", "package.program"]}[way]
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environment
    )
    assert (done.returncode, done.stdout) == (0, "hello from elsewhere\n"), done.stderr


PROGRAM = """
    import asyncio, os
    from glowplug import Model, Readiness, RunContext, task

    class Echo(Model):
        @task
        def say(self, ctx: RunContext, parent: int) -> str:
            return "hello from elsewhere" if os.getpid() != parent else "hello from here"

    async def main() -> None:
        ready = Readiness()
        ready.add("echo", Echo, isolate=True)
        async with ready:
            await ready.wait_until_ready(timeout=30)
            print(await ready["echo"].run("say", parent=os.getpid()))

    if __name__ == "__main__":
        asyncio.run(main())
"""


def test_a_module_of_a_package_is_found_from_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = Isolated.of(Painter, ComponentOptions(), "painter")
    assert found.target == "tests.unit.app.models:Painter"
    assert found.root == Path(__file__).parents[3]
    monkeypatch.chdir(found.root)
    assert found.environment() is None
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "earlier")
    environment = found.environment()
    assert environment is not None
    assert environment["PYTHONPATH"] == f"{found.root}{os.pathsep}earlier"


def test_only_the_files_of_the_last_calls_are_kept(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for number in range(KEPT_CALLS + 3):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "file").write_bytes(b"x")
        shelf.keep(folder, [folder / "file"])
    assert len(list(tmp_path.iterdir())) == KEPT_CALLS
    assert not (tmp_path / "2").exists()
    (tmp_path / "empty").mkdir()
    shelf.keep(tmp_path / "empty", [])
    assert not (tmp_path / "empty").exists()


def test_large_files_give_way_sooner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("glowplug.app.handle.KEPT_BYTES", 100)
    shelf = Shelf(tmp_path)
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "file").write_bytes(b"x" * 60)
        shelf.keep(folder, [folder / "file"])
    assert [folder.name for folder in tmp_path.iterdir()] == ["2"]
