"""`up`, `gateway` and `worker`: what they hand to the assembly, and what they refuse before."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.unit.cli.commands import LIMIT_SECONDS, Command

from glowplug import supervisor
from glowplug.cli import main as cli
from glowplug.cli import quick as shortcut
from glowplug.cli.app import app
from glowplug.cli.servers import ORPHAN_SECONDS
from glowplug.data_folder import find_gateway
from glowplug.settings import Settings
from glowplug.supervisor.keeper import USAGE_EXIT


class Assembly(ModuleType):
    """Stands in for the assembly and remembers what it was asked to serve."""

    def __init__(self) -> None:
        super().__init__("glowplug.assembly")
        self.asked: list[tuple[str, Settings, Any]] = []
        self.code = 0
        self.loops: list[str] = []

    async def serve_gateway(self, settings: Settings, *, targets: Any = ()) -> int:
        self.asked.append(("gateway", settings, targets))
        self.loops.append(type(asyncio.get_running_loop()).__module__)
        return self.code

    async def serve_worker(self, settings: Settings, target: str, *, supervised: bool) -> int:
        self.supervised = supervised
        self.asked.append(("worker", settings, target))
        return self.code


@pytest.fixture
def assembly(monkeypatch: pytest.MonkeyPatch) -> Assembly:
    made = Assembly()
    monkeypatch.setitem(sys.modules, "glowplug.assembly", made)
    return made


@pytest.fixture
def model(glowplug: Command) -> str:
    (glowplug.folder / "model.py").write_text("")
    return "model.py"


def test_up_serves_a_gateway_with_a_worker_for_each_target(glowplug: Command, assembly: Assembly, model: str) -> None:
    assert glowplug("up", model, "digits", "--port", "0", "--host", "::1").code == 0
    ((what, settings, targets),) = assembly.asked
    assert (what, targets) == ("gateway", ("model.py", "digits"))
    assert (settings.gateway.port, settings.gateway.host) == (0, "::1")
    assert settings.worker.reload is False
    assert settings.data == glowplug.folder / "data"


def test_up_runs_on_the_fastest_loop(glowplug: Command, assembly: Assembly, model: str) -> None:
    glowplug("up", model)
    assert assembly.loops[0].startswith("uvloop")


def test_reload_is_handed_on(glowplug: Command, assembly: Assembly, model: str) -> None:
    glowplug("up", model, "--reload")
    assert assembly.asked[0][1].worker.reload is True


def test_targets_may_stand_in_the_file(glowplug: Command, assembly: Assembly, model: str) -> None:
    (glowplug.folder / "glowplug.toml").write_text(f"targets = ['{model}']\n[gateway]\nport = 1234")
    glowplug("up")
    ((_, settings, targets),) = assembly.asked
    assert targets == (model,)
    assert settings.gateway.port == 1234


def test_the_exit_code_of_the_server_is_the_command_s(glowplug: Command, assembly: Assembly, model: str) -> None:
    assembly.code = 3
    assert glowplug("up", model).code == 3
    assert glowplug("gateway").code == 3
    assert glowplug("worker", model).code == 3


@pytest.mark.parametrize("words", [[], ["nowhere.py"], ["no_such.models:Thing"], ["model.py", "nowhere.py"]])
@pytest.mark.usefixtures("model")
def test_up_refuses_what_is_not_there(glowplug: Command, assembly: Assembly, words: list[str]) -> None:
    done = glowplug("up", *words)
    assert done.code == 2
    assert (words[-1].partition(":")[0] if words else "no model is named") in done.error
    assert assembly.asked == []


@pytest.mark.parametrize("verb", [["up", "model.py"], ["gateway"]])
@pytest.mark.usefixtures("model")
def test_an_open_gateway_is_refused_without_a_token(glowplug: Command, assembly: Assembly, verb: list[str]) -> None:
    done = glowplug(*verb, "--host", "0.0.0.0")
    assert done.code == 2
    assert "GLOWPLUG_TOKEN" in done.error
    assert assembly.asked == []
    glowplug.set("GLOWPLUG_TOKEN", "hunter2")
    assert glowplug(*verb, "--host", "0.0.0.0").code == 0


def test_a_gateway_may_be_served_alone(glowplug: Command, assembly: Assembly) -> None:
    assert glowplug("gateway", "--port", "0").code == 0
    assert assembly.asked[0][2] == ()


def test_a_worker_gets_its_target_and_its_gateway(glowplug: Command, assembly: Assembly, model: str) -> None:
    words = ["--gateway", "http://gate:1", "--slots", "3", "--device", "cuda:1", "--port", "77", "--host", "::1"]
    assert glowplug("worker", model, *words).code == 0
    ((what, settings, target),) = assembly.asked
    assert (what, target) == ("worker", model)
    assert settings.gateway_url == "http://gate:1"
    worker = settings.worker
    assert (worker.slots, worker.device, worker.port, worker.host) == (3, "cuda:1", 77, "::1")


def test_a_supervised_worker_follows_its_supervisor(
    glowplug: Command, assembly: Assembly, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graces: list[float] = []
    monkeypatch.setattr(supervisor.following, "follow_supervisor", graces.append)
    glowplug("worker", model)
    assert graces == []
    for drain in ("2", "60"):
        glowplug.set("GLOWPLUG_WORKER_DRAIN_SECONDS", drain)
        assert glowplug("worker", model, "--supervised").code == 0
    cancel = assembly.asked[-1][1].worker.cancel_grace_seconds
    # An orphan has nobody left to drain for, however long a worker in service may take.
    assert graces == [2 + cancel, ORPHAN_SECONDS + cancel]


def test_a_supervised_worker_with_a_wrong_setting_says_so_and_is_given_up(glowplug: Command) -> None:
    glowplug.set("GLOWPLUG_WORKER_SLOTS", "many")
    command = [sys.executable, "-m", "glowplug", "worker", "model.py", "--supervised"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert done.returncode == USAGE_EXIT
    assert done.stderr.startswith("glowplug: error: GLOWPLUG_WORKER_SLOTS")


def test_servers_start_without_the_parser_for_people() -> None:
    code = "import sys, glowplug.cli.main; print([n for n in ('typer', 'pydantic', 'rich') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "words",
    [
        ["up", "model.py"],
        ["up", "model.py", "digits", "--port", "0", "--reload"],
        ["up", "--host", "::1", "model.py"],
        ["gateway"],
        ["gateway", "--port", "77", "--host", "localhost"],
        ["up", "model.py", "--option", "a=1", "--option", "b="],
        ["worker", "model.py"],
        ["worker", "model.py", "--option", "a=-1"],
        ["worker", "--slots", "2", "model.py", "--gateway", "http://gate:1", "--port", "1"],
        ["worker", "model.py", "--device", "cuda:1", "--host", "::1"],
    ],
)
@pytest.mark.usefixtures("model")
def test_the_short_way_leads_where_the_long_one_does(
    glowplug: Command, assembly: Assembly, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shortcut.quick(words) is not None
    glowplug(*words)
    monkeypatch.setattr(cli, "quick", lambda _: None)
    glowplug(*words)
    short, long = assembly.asked
    assert short == long


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["up"],
        ["up", "--help"],
        ["up", "model.py", "--help"],
        ["up", "model.py", "-h"],
        ["up", "model.py", "--port"],
        ["up", "model.py", "--port", "--reload"],
        ["up", "model.py", "--prot", "1"],
        ["up", "model.py", "--port=1"],
        ["up", "model.py", "--option", "a"],
        ["up", "model.py", "--option", "=a"],
        ["gateway", "model.py"],
        ["worker"],
        ["worker", "a.py", "b.py"],
        ["worker", "a.py", "--slots"],
        ["status", "--wait"],
        ["--version"],
        ["--", "up"],
    ],
)
def test_what_is_not_plain_goes_the_long_way(words: list[str]) -> None:
    assert shortcut.quick(words) is None


def test_the_short_way_knows_every_option_of_the_long_one() -> None:
    import typer

    group: Any = typer.main.get_command(app)
    for verb, options in shortcut._OPTIONS.items():
        known = {name for one in group.commands[verb].params for name in one.opts if name.startswith("--")}
        assert known - {"--help"} == set(options) - {"--supervised"}


@pytest.mark.parametrize(
    ("words", "said"), [(["gateway", "--port", "many"], "--port"), (["up", "--port", "0"], "no model")]
)
def test_the_short_way_s_mistakes_are_one_line_too(glowplug: Command, words: list[str], said: str) -> None:
    done = glowplug(*words)
    assert done.code == 2
    assert said in done.error


def test_options_are_for_the_models(glowplug: Command, assembly: Assembly, model: str) -> None:
    glowplug("up", model, "--option", "seconds=3", "--option", "prompt=a=b, c")
    glowplug("worker", model, "--option", "seconds=4")
    up, worker = (settings.worker.options for _, settings, _ in assembly.asked)
    assert up == {"seconds": "3", "prompt": "a=b, c"}
    assert worker == {"seconds": "4"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["up", "chat", "stt", "--option", "beem_size=1"], "known to none of chat, stt (did you mean beam_size?)"),
        (["up", "chat", "model.py", "--option", "chat.ggguf=a"], "ggguf is not known to chat (did you mean gguf?)"),
        (["up", "chat", "model.py", "--option", "chatt.gguf=a"], "no model here is called chatt (did you mean chat?)"),
        (["worker", "digits", "--option", "thread=1"], "thread is not known to digits (did you mean threads?)"),
    ],
)
@pytest.mark.usefixtures("model")
def test_an_option_that_is_for_nobody_is_refused(
    glowplug: Command, assembly: Assembly, words: list[str], said: str
) -> None:
    done = glowplug(*words)
    assert done.code == 2
    assert said in done.error
    assert assembly.asked == []


def test_a_supervised_worker_takes_the_options_of_its_supervisor_alone(
    glowplug: Command, assembly: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor.following, "follow_supervisor", lambda _: None)
    glowplug.set("GLOWPLUG_WORKER_OPTIONS", "beam_size=1, threads=1")
    glowplug("worker", "tts", "--supervised", "--option", "threads=1")
    glowplug("worker", "tts", "--supervised")
    assert [settings.worker.options for _, settings, _ in assembly.asked] == [{"threads": "1"}, {}]
    assert assembly.supervised


@pytest.mark.parametrize("words", [["up", "model.py"], ["worker", "model.py"]])
@pytest.mark.usefixtures("model")
def test_an_option_without_a_value_is_refused(glowplug: Command, assembly: Assembly, words: list[str]) -> None:
    done = glowplug(*words, "--option", "a=1", "--option", "seconds")
    assert done.code == 2
    assert "'seconds' is not name=value" in done.error
    assert assembly.asked == []


@contextmanager
def started(glowplug: Command, *words: object) -> Iterator[Any]:
    with glowplug.process(*words) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def test_from_nothing_to_a_result_with_three_commands(glowplug: Command) -> None:
    assert glowplug("new", "captioner").code == 0
    with started(glowplug, "up", "captioner.py", "--port", "0") as up:
        waited = glowplug.apart("status", "--wait", "--timeout", "25")
        assert waited.code == 0, waited.err
        run = glowplug.apart("run", "captioner.greet", "name=Ada", "times=2", "--json")
        assert json.loads(run.out)["result"] == "Hello, Ada! Hello, Ada!"
        second = glowplug.apart("gateway", "--port", "0")
        assert second.code == 2
        assert str(up.pid) in second.error
        up.send_signal(signal.SIGTERM)
        _, log = up.communicate(timeout=LIMIT_SECONDS)
    assert up.returncode == 0
    assert "Traceback" not in log
    assert find_gateway(Path(glowplug.folder / "data")) is None
