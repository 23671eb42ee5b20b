"""What a model prints goes to the call that ran, if it ran alone, and to the model's log else; secrets go nowhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.unit.process.rig import SECONDS, Recorder, Rig, hosted

from glowplug.process.running import LOG_ENDS
from glowplug.readiness.state import Status


def printed(rig: Rig) -> list[str]:
    return [fields["line"] for fields in rig.told("model.output")]


async def test_what_a_load_prints_is_the_models(tmp_path: Path) -> None:
    async with hosted(tmp_path, "chatty") as rig:
        assert printed(rig) == ["loading, said Python", "loading, said C"]


async def test_what_a_lone_call_prints_is_all_in_its_log_when_it_ends(tmp_path: Path) -> None:
    async with hosted(tmp_path, "chatty") as rig:
        sink = Recorder()
        await rig.run("talk", sink, text="hello", times=300)
        assert sink.log() == "\n".join(["hello"] * 300)
        assert "hello" not in printed(rig)


async def test_c_code_and_half_lines_are_heard_too(tmp_path: Path) -> None:
    async with hosted(tmp_path, "chatty") as rig:
        sink = Recorder()
        await rig.run("talk_in_c", sink, text="from C")
        assert sink.log() == "from C\nhalf a line"


async def test_output_of_calls_that_run_together_is_the_models(tmp_path: Path) -> None:
    async with hosted(tmp_path, "chatty") as rig:
        first, second = Recorder(), Recorder()
        door = tmp_path / "door"
        waiting = asyncio.create_task(rig.run("talk_and_wait", first, text="alone", path=str(door)))
        await first.until_heard()
        await rig.run("talk", second, text="together")
        door.touch()
        await waiting
        assert (first.log(), second.log()) == ("alone", "")
        assert printed(rig)[-1] == "together"


async def test_a_flood_of_output_is_cut_and_harms_nobody(tmp_path: Path) -> None:
    async with hosted(tmp_path, "chatty") as rig:
        sink = Recorder()
        await rig.run("talk", sink, text="x" * 1000, times=20_000)
        lines = sink.log().splitlines()
        assert lines[-1] == LOG_ENDS
        assert 1000 < len(lines) < 2000
        assert rig.component.status is Status.READY


async def test_a_line_without_an_end_is_cut(tmp_path: Path) -> None:
    async with hosted(tmp_path, "chatty") as rig:
        sink = Recorder()
        await rig.run("talk", sink, text="x" * 1_000_000)
        assert max(map(len, sink.log().splitlines())) <= 4001


async def test_secrets_are_hidden(tmp_path: Path) -> None:
    environment = {"MY_API_TOKEN": "correct-horse-battery", "PATH": "/usr/bin:/bin"}
    async with hosted(tmp_path, "chatty", environment=environment) as rig:
        sink = Recorder()
        await rig.run("secrets", sink)
        assert sink.log().splitlines() == [
            "token is [hidden]",
            "Authorization: Bearer [hidden]",
            "password=[hidden]",
        ]


async def test_a_call_s_own_folder_is_not_named_in_its_log(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    async with hosted(tmp_path, "chatty", scratch=tmp_path / "link") as rig:
        sink = Recorder()
        await rig.run("places", sink)
        printed, logged = sink.log().splitlines()
        assert printed == "Saving to: run, beside ."
        assert logged.startswith(f"read 'set/a.jpg', not {tmp_path / 'link'}")
        assert logged.endswith("2 or /usr/lib")


async def test_a_model_sees_the_environment_without_the_platforms_settings(tmp_path: Path) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HF_HOME": "/models",
        "GLOWPLUG_WORKER_TOKEN": "secret",
        "GLOWPLUG_STORE": "postgresql://user:secret@db/jobs",
        "RABBITMQ_PASSWORD": "secret",
        "BACKEND_URL": "http://backend",
    }
    async with hosted(tmp_path, "chatty", environment=environment) as rig:
        seen = (await rig.run("environment")).output_json
        assert b"HF_HOME" in seen
        for name in ("GLOWPLUG", "RABBITMQ", "BACKEND"):
            assert name.encode() not in seen


async def test_lines_of_a_long_call_are_passed_on_while_it_runs(tmp_path: Path) -> None:
    async with hosted(tmp_path, "chatty") as rig:
        sink = Recorder()
        door = tmp_path / "door"
        waiting = asyncio.create_task(rig.run("talk", sink, text="begin"))
        await waiting
        waiting = asyncio.create_task(rig.run("talk_and_wait", sink, text="still running", path=str(door)))
        async with asyncio.timeout(SECONDS):
            while "still running" not in sink.log():
                await asyncio.sleep(0.01)
        assert not waiting.done()
        door.touch()
        await waiting
