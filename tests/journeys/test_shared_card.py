"""Two models on a card that holds one of them: whoever is asked for comes, by jobs and by direct calls."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.journeys.system import System, until

SOURCE = """
from glowplug import Model, task

class {name}(Model):
    @classmethod
    def estimate(cls, weights, options):
        return 150 << 20

    def load(self, ctx):
        self.room = bytearray(b"x") * (150 << 20)

    def sleep(self):
        self.room = bytearray()

    def wake(self):
        self.load(None)

    @task
    def say(self, ctx, text: str) -> str:
        return text if self.room else "asleep"
"""


@pytest.mark.chaos
def test_models_take_turns_on_a_card_that_holds_one(plug: System, tmp_path: Path) -> None:
    for name in ("One", "Two"):
        (tmp_path / f"{name.lower()}.py").write_text(SOURCE.format(name=name))
    plug.environment |= {
        "GLOWPLUG_WORKER_DEVICE_MEMORY_BYTES": "200MiB",
        "GLOWPLUG_WORKER_DEVICE_TURN_SECONDS": "1",
    }
    plug.up(tmp_path / "one.py", tmp_path / "two.py")

    def statuses() -> list[str]:
        services = plug.get("/api/ready")["services"]
        return sorted(services.get(name, {}).get("status", "") for name in ("one", "two"))

    until(
        lambda: plug.answers("/readyz") and statuses() == ["ready", "sleeping"],
        "one is in, the other waits",
        log=plug.log,
    )
    jobs = [plug.submit(f"{name}.say", text=f"{name} {number}") for number in range(4) for name in ("one", "two")]
    said = [plug.wait_done(job)["result"] for job in jobs]
    assert said == [f"{name} {number}" for number in range(4) for name in ("one", "two")]
    for name in ("one", "two", "one"):
        answers = lambda name=name: plug.http.post(f"/v1/run/{name}.say", json={"text": "here"})  # noqa: E731
        until(lambda answers=answers: answers().status_code == 200, f"{name} comes when it is called", log=plug.log)
