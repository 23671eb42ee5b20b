"""From a cold start to a real result, as a newcomer walks it."""

from __future__ import annotations

import io
import json
from pathlib import Path

from PIL import Image
from tests.journeys.system import MODELS, System, assert_told_once, end, until


def test_a_word_becomes_a_picture_that_reads_as_the_word(plug: System, tmp_path: Path) -> None:
    plug.up("digits")
    waited = plug.run("status", "--wait", "--timeout", "60")
    assert waited.returncode == 0, waited.stderr + plug.log()
    assert f"event=gateway.listening url={plug.url}\n" in plug.log()
    drawn = plug.run("run", "digits.generate", "prompt=seven", "count=2", "seed=7", "--out", str(tmp_path), "--json")
    assert drawn.returncode == 0, drawn.stderr
    pictures = sorted(tmp_path.rglob("*.png"))
    assert len(pictures) >= 2
    read = plug.run("run", "digits.classify", f"image=@{pictures[0]}", "--json")
    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout.splitlines()[-1])["result"]["label"] == 7


def test_the_same_seed_draws_the_same_picture_again(plug: System) -> None:
    plug.up("digits")
    plug.wait_ready("digits")
    first, second = (plug.wait_done(plug.submit("digits.generate", prompt="3", seed=11)) for _ in range(2))
    pixels = []
    for job in (first, second):
        picture = plug.http.get(job["artifacts"][0]["url"]).raise_for_status()
        assert picture.headers["content-type"] == "image/png"
        pixels.append(Image.open(io.BytesIO(picture.content)).tobytes())
    assert pixels[0] == pixels[1]


def test_the_server_answers_while_the_model_loads_and_a_job_waits_for_it(plug: System) -> None:
    plug.environment["GLOWPLUG_WORKER_OPTIONS"] = "seconds=8"
    plug.up(MODELS / "slow_load.py")
    until(lambda: plug.answers("/livez"), "the port answers", log=plug.log)
    until(lambda: plug.answers("/readyz"), "the gateway opens", log=plug.log)
    until(lambda: _known(plug, "slowload.say"), "the model has been imported", log=plug.log)
    model = plug.get("/v1/models/slowload")
    assert model["ready"] is False
    assert plug.http.post("/v1/run/slowload.say", json={"text": "a"}).status_code == 503
    job = plug.submit("slowload.say", text="a")
    assert plug.job(job)["state"] == "queued"
    done = plug.wait_done(job)
    assert done["state"] == "completed"
    assert done["attempt"] == 1
    assert_told_once(plug.events(job))


def test_jobs_and_models_are_remembered_over_a_restart_of_everything(plug: System) -> None:
    first = plug.up(MODELS / "echo.py")
    plug.wait_ready("echo")
    done = plug.wait_done(plug.submit("echo.say", text="before"))
    end(first)
    gateway = plug.gateway()
    until(lambda: plug.answers("/readyz"), "the gateway opens again", log=plug.log)
    assert plug.job(done["id"])["result"] == done["result"]
    waiting = plug.submit("echo.say", text="after")
    assert plug.job(waiting)["state"] == "queued"
    plug.worker(MODELS / "echo.py")
    assert plug.wait_done(waiting)["result"] == "after"
    end(gateway)


def _known(plug: System, task: str) -> bool:
    return any(found["name"] == task for found in plug.get("/v1/tasks")["tasks"])
