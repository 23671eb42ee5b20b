"""The clients against the whole of it: real processes, a gateway that dies, a model that streams."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.journeys.system import MODELS, PATIENCE_SECONDS, System, end, until

from glowplug import AsyncClient, Client
from glowplug.client import EventView, RetryPolicy
from glowplug.errors import InvalidInput, JobFailed, NotReady, TaskFailed
from glowplug.runtime.backoff import Backoff

PATIENT = RetryPolicy(attempts=200, backoff=Backoff(base_seconds=0.05, cap_seconds=0.2))


@pytest.fixture
def client(plug: System) -> Iterator[Client]:
    with Client(plug.url, retry=PATIENT) as made:
        yield made


def test_a_direct_call_answers_from_a_ready_worker(plug: System, client: Client) -> None:
    plug.up(MODELS / "echo.py")
    client.wait_until_ready("echo", timeout=PATIENCE_SECONDS)
    assert client.run("echo.say", text="ab", times=2, direct=True).output == "abab"
    with pytest.raises(InvalidInput):
        client.run("echo.say", text="ab", times="many", direct=True)


GATED = """
import time
from pathlib import Path
from glowplug import Model, RunContext, task

class Gated(Model):
    def load(self, ctx):
        while not Path({gate!r}).exists():
            time.sleep(0.01)

    @task
    def say(self, ctx: RunContext, text: str) -> str:
        return text
"""


def test_a_direct_call_before_the_model_is_ready_says_when_to_come_back(plug: System, tmp_path: Path) -> None:
    gate, model = tmp_path / "gate", tmp_path / "gated.py"
    model.write_text(GATED.format(gate=str(gate)))
    plug.up(model)
    with Client(plug.url, retry=PATIENT) as client:
        until(lambda: "gated.say" in [task.name for task in client.tasks()], "the model is imported", log=plug.log)
    with Client(plug.url, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(NotReady) as caught:
            client.run("gated.say", text="a", direct=True)
        assert caught.value.data["retry_after"] >= 1
        gate.touch()
        client.wait_until_ready("gated", timeout=PATIENCE_SECONDS)
        assert client.run("gated.say", text="a", direct=True).output == "a"


def test_a_generator_s_values_come_one_by_one(plug: System, client: Client) -> None:
    plug.up(MODELS / "streamer.py")
    client.wait_until_ready(timeout=PATIENCE_SECONDS)
    (task,) = [one.name for one in client.tasks() if one.streams and one.name.endswith(".words")]
    values = client.stream(task, text="a b c", pause_seconds=0.05)
    assert next(values) == "a"
    assert list(values) == ["b", "c"]


def test_a_stream_that_is_left_early_lets_the_next_call_in(plug: System, client: Client) -> None:
    plug.up(MODELS / "streamer.py")
    client.wait_until_ready(timeout=PATIENCE_SECONDS)
    (task,) = [one.name for one in client.tasks() if one.streams and one.name.endswith(".words")]
    for value in client.stream(task, text="a b c d", pause_seconds=0.2):
        assert value == "a"
        break
    assert list(client.stream(task, text="x")) == ["x"]


def test_files_go_in_and_come_out(plug: System, client: Client, tmp_path: Path) -> None:
    plug.up(MODELS / "artist.py")
    client.wait_until_ready(timeout=PATIENCE_SECONDS)
    source = tmp_path / "letter.txt"
    source.write_bytes(os.urandom(200_000))
    assert client.run("artist.length", file=source, others=[source]).output
    result = client.run("artist.copy", file=source)
    (saved,) = client.save(result, tmp_path / "out")
    assert saved.read_bytes() == source.read_bytes()


def test_a_subscription_outlives_the_gateway(plug: System, client: Client) -> None:
    first = plug.gateway()
    plug.worker(MODELS / "epochs.py")
    client.wait_until_ready("epochs", timeout=PATIENCE_SECONDS)
    job = client.submit("epochs.train", {"epochs": 12, "seconds": 0.15, "name": "x"})
    killed = False
    events: list[EventView] = []
    for event in client.subscribe(job):
        events.append(event)
        if event.type == "checkpoint" and not killed:
            killed = True
            os.killpg(first.pid, signal.SIGKILL)
            first.wait(PATIENCE_SECONDS)
            plug.gateway()
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].type == "completed"
    assert client.job(job).attempt >= 1


def test_a_model_s_own_error_comes_back_by_its_name(plug: System, client: Client) -> None:
    plug.up(MODELS / "artist.py")
    client.wait_until_ready(timeout=PATIENCE_SECONDS)
    with pytest.raises(TaskFailed) as direct:
        client.run("artist.fail", kind="value", direct=True)
    assert direct.value.data.get("error_class")
    with pytest.raises(JobFailed):
        client.run("artist.fail", kind="value", timeout=PATIENCE_SECONDS)


async def test_many_clients_at_once_get_each_their_own(plug: System) -> None:
    plug.up(MODELS / "echo.py")
    async with asyncio.timeout(PATIENCE_SECONDS), AsyncClient(plug.url, retry=PATIENT) as client:
        await client.wait_until_ready("echo")
        jobs = [client.run("echo.say", text=f"j{number}") for number in range(25)]
        calls = [client.run("echo.say", text=f"d{number}", direct=True) for number in range(25)]
        results = await asyncio.gather(*jobs, *calls)
    wanted = [f"j{number}" for number in range(25)] + [f"d{number}" for number in range(25)]
    assert [result.output for result in results] == wanted


def test_a_changed_file_starts_its_model_again(plug: System, client: Client, tmp_path: Path) -> None:
    model = tmp_path / "shout.py"
    text = (MODELS / "echo.py").read_text()
    model.write_text(text)
    up = plug.up(model, options=["--reload"])
    client.wait_until_ready("echo", timeout=PATIENCE_SECONDS)
    before = client.run("echo.say", text="a")
    assert before.output == "a"
    changed = text.replace("return text * times", "return text.upper() * times")
    while client.run("echo.say", text="a", timeout=PATIENCE_SECONDS).output != "A":
        model.write_text(changed)
    assert client.job(before.job.id if before.job else "").result == "a"
    assert end(up) == 0
