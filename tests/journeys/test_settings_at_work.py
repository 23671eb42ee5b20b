"""Settings of a worker, as whole processes obey them."""

from __future__ import annotations

from pathlib import Path

from tests.journeys.backend import backend
from tests.journeys.system import MODELS, PATIENCE_SECONDS, System, until


def state_of(plug: System, model: str) -> str | None:
    if not plug.answers("/readyz"):
        return None
    models = {one["name"]: one["state"] for one in plug.get("/v1/models")["models"]}
    return models.get(model)


def test_a_model_that_is_not_preloaded_sleeps_until_a_job_waits_for_it(plug: System) -> None:
    plug.environment["MODEL_PRELOAD"] = "false"
    plug.up(MODELS / "slow_load.py", options=["--option", "seconds=0.2"])
    until(lambda: state_of(plug, "slowload") == "sleeping", "the model sleeps", log=plug.log)
    job_id = plug.submit("slowload.say", text="awake")
    job = plug.wait_done(job_id)
    assert (job["state"], job["result"]) == ("completed", "awake")
    assert job["attempt"] == 1


def test_a_sleeping_model_is_loaded_when_somebody_asks(plug: System) -> None:
    plug.environment["MODEL_PRELOAD"] = "false"
    plug.up(MODELS / "echo.py")
    until(lambda: state_of(plug, "echo") == "sleeping", "the model sleeps", log=plug.log)
    assert plug.http.post("/v1/models/echo/load").is_success
    plug.wait_ready("echo")


def test_a_worker_whose_model_cannot_load_tells_the_backend_and_exits(plug: System, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no such driver')")
    with backend() as there:
        plug.gateway()
        more = {"BACKEND_URL": there.url, "EXIT_ON_LOAD_FAILURE": "true", "GLOWPLUG_WORKER_LOAD_ATTEMPTS": "1"}
        worker = plug.worker(tmp_path / "broken.py", **more)
        assert worker.wait(PATIENCE_SECONDS) == 1, plug.log()
        ((path, body, _),) = there.got
    assert path == "/api/internal/ai-service-error"
    assert "no such driver" in body["error"]


def test_a_worker_may_stay_up_with_a_model_that_cannot_load(plug: System, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no such driver')")
    plug.gateway()
    worker = plug.worker(tmp_path / "broken.py", GLOWPLUG_WORKER_LOAD_ATTEMPTS="1")
    until(lambda: state_of(plug, "broken") == "error", "the failure is known", log=plug.log)
    assert worker.poll() is None


def test_a_backend_hears_of_a_ready_model_and_never_sees_the_gateway_s_own_token(plug: System) -> None:
    with backend() as there:
        plug.environment["BACKEND_URL"] = there.url
        plug.up(MODELS / "echo.py")
        until(lambda: there.got, "the backend is told", log=plug.log)
        ((path, body, authorization),) = there.got
    assert path == "/api/internal/ai-service-ready"
    assert (body["status"], body["model_name"]) == ("ready", "echo")
    assert authorization is None


def test_a_token_that_was_set_is_shown_to_the_backend(plug: System) -> None:
    with backend() as there:
        plug.environment |= {"BACKEND_URL": there.url, "GLOWPLUG_WORKER_TOKEN": "a-token-of-ours"}
        plug.up(MODELS / "echo.py")
        until(lambda: there.got, "the backend is told", log=plug.log)
        assert there.got[0][2] == "Bearer a-token-of-ours"
    assert "a-token-of-ours" not in plug.log()


def test_options_reach_the_model_from_the_file_and_the_command_line(plug: System, tmp_path: Path) -> None:
    (tmp_path / "teller.py").write_text(
        "from glowplug import Model, task\n"
        "class Teller(Model):\n"
        "    def load(self, ctx):\n"
        "        self.options = dict(ctx.options)\n"
        "    @task()\n"
        "    def tell(self, ctx) -> dict[str, str]:\n"
        "        return self.options\n"
    )
    (tmp_path / "settings.toml").write_text("[options.teller]\nsource = 'file'\nthreads = 2\n")
    plug.environment["GLOWPLUG_CONFIG"] = str(tmp_path / "settings.toml")
    said = ["source=line, with=signs", "room=for all", "teller.room=for one", "other.room=for another"]
    (tmp_path / "other.py").write_text((tmp_path / "teller.py").read_text().replace("Teller", "Other"))
    options = [word for option in said for word in ("--option", option)]
    plug.up(tmp_path / "teller.py", tmp_path / "other.py", options=options)
    plug.wait_ready("teller")
    job = plug.wait_done(plug.submit("teller.tell"))
    assert job["result"] == {"source": "line, with=signs", "threads": "2", "room": "for one"}
