"""Loading in this process: in threads and on the loop, side by side, each value visible only once it is ready."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.unit.app.rig import SECONDS, Gate, until, until_ready, until_status

from glowplug import LoadContext, Model
from glowplug.app import Readiness
from glowplug.errors import NotFound, NotReady
from glowplug.readiness import State, Status


async def test_a_plain_function_loads_in_a_daemon_thread_of_its_own(ready: Readiness) -> None:
    seen: list[threading.Thread] = []
    ready.add("tts", lambda: seen.append(threading.current_thread()))
    async with ready:
        await until_ready(ready, "tts")
    assert seen[0] is not threading.main_thread()
    assert seen[0].daemon


async def test_a_coroutine_function_loads_on_the_loop(ready: Readiness) -> None:
    @ready.component("chat")
    async def load_chat(ctx: LoadContext) -> asyncio.AbstractEventLoop:
        del ctx
        await asyncio.sleep(0)
        return asyncio.get_running_loop()

    async with ready:
        await until_ready(ready)
        assert ready["chat"] is asyncio.get_running_loop()


async def test_a_function_that_gives_an_awaitable_is_awaited(ready: Readiness) -> None:
    async def later() -> str:
        return "late"

    ready.add("chat", lambda: later())
    async with ready:
        await until_ready(ready)
        assert ready["chat"] == "late"


async def test_the_loop_answers_while_a_thread_loads(ready: Readiness) -> None:
    gate = Gate("voice")
    ready.add("tts", gate)
    async with ready:
        await gate.until_entered()
        assert ready.board.state is State.LOADING_MODELS
        assert not ready.is_ready()
        gate.open.set()
        await until_ready(ready)
        assert ready["tts"] == "voice"


async def test_components_load_side_by_side(ready: Readiness) -> None:
    gates = {name: Gate(name) for name in ("tts", "chat", "stt")}
    for name, gate in gates.items():
        ready.add(name, gate)
    async with ready:
        for gate in gates.values():
            await gate.until_entered()
        for gate in gates.values():
            gate.open.set()
        await until_ready(ready)
        assert [ready[name] for name in gates] == list(gates)


async def test_a_value_is_not_seen_before_its_warm_up_is_over(ready: Readiness) -> None:
    warming = Gate()
    ready.add("tts", lambda: "voice", warm_up=warming)
    async with ready:
        await warming.until_entered()
        await until_status(ready, "tts", Status.WARMING)
        assert ready.board.state is State.WARMING_UP
        with pytest.raises(NotReady, match="tts is not ready yet: warming"):
            ready["tts"]
        warming.open.set()
        await until_ready(ready)
        assert warming.contexts == ["voice"]


@pytest.mark.parametrize("kind", ["value", "nothing", "coroutine"])
async def test_a_warm_up_takes_the_value_or_nothing(ready: Readiness, kind: str) -> None:
    heard: list[Any] = []

    async def on_loop(value: str) -> None:
        heard.append(value)

    ways = {"value": heard.append, "nothing": lambda: heard.append("nothing"), "coroutine": on_loop}
    ready.add("tts", lambda: "voice", warm_up=ways[kind])
    async with ready:
        await until_ready(ready)
    assert heard == ["nothing" if kind == "nothing" else "voice"]


async def test_without_auto_warmup_the_warm_up_waits_to_be_asked_for() -> None:
    ready, heard = Readiness(auto_warmup=False), []
    ready.add("tts", lambda: "voice", warm_up=heard.append)
    async with ready:
        await until_ready(ready)
        assert heard == []
        await ready.warm_up()
        assert heard == ["voice"]


async def test_the_stages_of_a_load_are_seen(ready: Readiness) -> None:
    at_device, go_on = threading.Event(), threading.Event()

    @ready.component("tts", device="cuda:0", options={"voice": "amy"})
    def load(ctx: LoadContext) -> tuple[str, str]:
        ctx.stage("import")
        with ctx.stage("to device"):
            ctx.progress(3, 8, unit="tensors")
            at_device.set()
            assert go_on.wait(SECONDS)
        return ctx.device, ctx.options["voice"]

    async with ready:
        assert await asyncio.to_thread(at_device.wait, SECONDS)
        seen = await until(ready, "tts", lambda one: one.progress is not None and one.progress.done == 3)
        assert seen.progress is not None
        assert seen.progress.words == "Moving to the device, 3 of 8 tensors"
        go_on.set()
        await until_ready(ready)
        assert ready["tts"] == ("cuda:0", "amy")
        assert ready.snapshot().gpu_available


async def test_declared_weights_are_read_before_the_load_and_handed_to_it(ready: Readiness, tmp_path: Path) -> None:
    file = tmp_path / "net.bin"
    file.write_bytes(b"net" * 1000)
    stages: list[str] = []

    @ready.component("tts", weights={"net": str(file)})
    def load(ctx: LoadContext) -> bytes:
        return ctx.weights["net"].read_bytes()[:3]

    async with ready:
        async for snapshot in ready.subscribe():
            progress = snapshot.components[0].progress
            stages += [progress.stage] if progress else []
            if snapshot.ready:
                break
        assert ready["tts"] == b"net"


async def test_weights_that_are_not_there_fail_the_load(ready: Readiness, tmp_path: Path) -> None:
    ready.add("tts", lambda: None, weights={"net": str(tmp_path / "missing.bin")})
    async with ready:
        seen = await until_status(ready, "tts", Status.ERROR)
        assert seen.failure is not None
        assert "missing.bin" in seen.failure.error


async def test_a_model_is_loaded_as_a_plain_object_warmed_up_and_unloaded(ready: Readiness, tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(b"x")
    told: list[str] = []

    @ready.component("voice", warm_up=lambda model: told.append(f"given {type(model).__name__}"))
    class Voice(Model):
        weights = {"net": str(tmp_path / "net.bin")}  # noqa: RUF012 - as the documents show it

        def load(self, ctx: LoadContext) -> None:
            told.append(f"load {ctx.weights['net'].name}")

        def warm_up(self, ctx: LoadContext) -> None:
            told.append("own")

        def unload(self) -> None:
            told.append("unload")

    async with ready:
        await until_ready(ready)
        assert isinstance(ready["voice"], Voice)
        assert told == ["load net.bin", "own", "given Voice"]
    assert told[-1] == "unload"


async def test_a_model_that_says_that_it_is_optional_is_optional(ready: Readiness) -> None:
    @ready.component("voice")
    class Voice(Model):
        required = False

    assert not ready.board.component("voice").required


async def test_a_component_that_nobody_added_is_unknown(ready: Readiness) -> None:
    async with ready:
        with pytest.raises(NotFound):
            ready["tts"]


async def test_without_components_an_application_is_not_ready(ready: Readiness) -> None:
    async with ready:
        assert not ready.is_ready()
        assert ready.board.state is State.INITIALIZING


async def test_what_only_asks_may_be_called_from_any_thread(ready: Readiness) -> None:
    ready.add("tts", lambda: "voice")
    async with ready:
        await until_ready(ready)
        asked = lambda: (ready.is_ready("tts"), ready["tts"], ready.snapshot().ready)  # noqa: E731
        assert await asyncio.to_thread(asked) == (True, "voice", True)


async def test_a_second_start_loads_again(ready: Readiness) -> None:
    loads: list[int] = []
    ready.add("tts", lambda: loads.append(1), check=lambda: None, gates="start")
    for expected in (1, 2):
        async with ready:
            assert not ready.is_ready()
            await until_ready(ready)
            assert len(loads) == expected
            assert ready.snapshot().components[0].attempt == 1
        assert ready.board.state is State.DRAINING


async def test_two_of_them_live_beside_each_other() -> None:
    one, other = Readiness(), Readiness()
    one.add("tts", lambda: 1)
    other.add("tts", lambda: 2)
    async with one, other:
        await until_ready(one)
        await until_ready(other)
        assert (one["tts"], other["tts"]) == (1, 2)


async def test_the_next_start_knows_how_long_loads_take(ready: Readiness, tmp_path: Path) -> None:
    ready.add("tts", lambda: "voice", model="amy")
    async with ready:
        await until_ready(ready)
    assert (tmp_path / "cache" / "history" / "loads.json").exists()
    again = Readiness()
    again.add("tts", Gate(), model="amy")
    assert again.snapshot().components[0].estimate is not None


async def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "file").write_text("in the way")
    ready = Readiness(cache=tmp_path / "file" / "cache")
    ready.add("tts", lambda: "voice")
    async with ready:
        await until_ready(ready)
    assert [record.levelname for record in caplog.records if "memory only" in record.message] == ["WARNING"]


async def test_a_component_may_be_added_while_the_application_runs(ready: Readiness) -> None:
    async with ready:
        ready.add("late", lambda: "here")
        await until_ready(ready, "late")
        assert ready["late"] == "here"
