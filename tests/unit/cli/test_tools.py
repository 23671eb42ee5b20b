"""`new`, `doctor` and `clean`: before the first start, and after something went wrong."""

from __future__ import annotations

import importlib.util
import socket
import sqlite3
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.commands import Command
from tests.unit.client.play import Play

from glowplug import doctor, housekeeping
from glowplug.data_folder import DataFolder, GatewayLock
from glowplug.load_context import LoadContext
from glowplug.model import RunContext
from glowplug.settings import Settings


def imported(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def findings(glowplug: Command) -> dict[str, dict[str, str]]:
    return {one["check"]: one for one in glowplug("doctor", "--json").json["findings"]}


class TestNew:
    def test_the_first_model_runs_as_a_plain_object(self, glowplug: Command) -> None:
        done = glowplug("new", "captioner")
        assert done.out == "Wrote captioner.py. Start it with: glowplug up captioner.py\n"
        model = imported(glowplug.folder / "captioner.py").Captioner()
        model.load(LoadContext())
        assert model.greet(RunContext(), name="Ada") == "Hello, Ada!"
        assert list(model.tasks()) == ["captioner.greet"]

    def test_the_file_says_how_to_run_it(self, glowplug: Command) -> None:
        glowplug("new", "captioner")
        text = (glowplug.folder / "captioner.py").read_text()
        assert "glowplug up captioner.py" in text
        assert "glowplug run captioner.greet" in text

    def test_a_name_of_many_words_becomes_one(self, glowplug: Command) -> None:
        assert glowplug("new", "My Great-Model", "--json").json == {"file": "my_great_model.py"}
        model = imported(glowplug.folder / "my_great_model.py").MyGreatModel
        assert list(model.tasks()) == ["mygreatmodel.greet"]
        assert "run mygreatmodel.greet" in (glowplug.folder / "my_great_model.py").read_text()

    def test_nothing_is_overwritten(self, glowplug: Command) -> None:
        (glowplug.folder / "captioner.py").write_text("mine")
        done = glowplug("new", "captioner")
        assert done.code == 2
        assert "is there already" in done.error
        assert (glowplug.folder / "captioner.py").read_text() == "mine"

    @pytest.mark.parametrize("name", ["7seas", "class", "!!!", " "])
    def test_a_name_that_python_does_not_take_is_refused(self, glowplug: Command, name: str) -> None:
        done = glowplug("new", name)
        assert done.code == 2
        assert "cannot name a model" in done.error

    def test_another_folder_may_be_named(self, glowplug: Command, tmp_path: Path) -> None:
        (tmp_path / "models").mkdir()
        glowplug("new", "captioner", "--folder", tmp_path / "models")
        assert (tmp_path / "models" / "captioner.py").exists()
        done = glowplug("new", "captioner", "--folder", tmp_path / "absent")
        assert done.code == 2
        assert "cannot write" in done.error


class TestDoctor:
    def test_a_healthy_machine_is_told_so(self, glowplug: Command) -> None:
        glowplug.set("GLOWPLUG_PORT", "0")
        done = glowplug("doctor")
        assert done.code == 0, done.out
        assert "ok    data folder" in done.out
        assert "fail" not in done.out

    def test_every_finding_that_is_not_well_has_a_fix(self, glowplug: Command) -> None:
        for finding in glowplug("doctor", "--json").json["findings"]:
            assert bool(finding["fix"]) is (finding["verdict"] != "ok")

    def test_a_port_in_use_is_a_finding_and_exit_code_3(self, glowplug: Command) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            glowplug.set("GLOWPLUG_PORT", str(taken.getsockname()[1]))
            assert findings(glowplug)["port"]["verdict"] == "fail"
            done = glowplug("doctor")
        assert done.code == 3
        assert "fix: choose another with --port" in done.out

    def test_a_gateway_that_answers_is_well(self, glowplug: Command, play: Play) -> None:
        found = findings(glowplug)["gateway"]
        assert (found["verdict"], found["detail"]) == ("ok", f"{play.url} answers")

    def test_a_gateway_that_does_not_answer_is_a_finding(self, glowplug: Command) -> None:
        glowplug.set("GLOWPLUG_URL", "http://127.0.0.1:9")
        assert findings(glowplug)["gateway"]["verdict"] == "fail"

    def test_a_token_that_others_can_read_is_a_finding(self, glowplug: Command) -> None:
        folder = DataFolder(glowplug.folder / "data")
        folder.prepare()
        folder.read_worker_token()
        assert findings(glowplug)["tokens"]["verdict"] == "ok"
        folder.worker_token.chmod(0o644)
        assert findings(glowplug)["tokens"]["fix"] == f"chmod go= {folder.worker_token}"

    def test_a_data_folder_that_cannot_be_used_is_a_finding(self, glowplug: Command) -> None:
        (glowplug.folder / "file").write_text("")
        glowplug.set("GLOWPLUG_DATA", str(glowplug.folder / "file" / "data"))
        glowplug.set("GLOWPLUG_CACHE", str(glowplug.folder / "file" / "cache"))
        found = findings(glowplug)
        assert found["data folder"]["verdict"] == "fail"
        assert found["cache folder"]["verdict"] == "note"

    def test_a_nearly_full_disk_is_a_finding(self, glowplug: Command) -> None:
        glowplug.set("GLOWPLUG_RETENTION_MIN_FREE_BYTES", "1000000TiB")
        assert findings(glowplug)["disk"]["verdict"] == "fail"

    def test_a_damaged_database_is_a_finding_and_is_left_alone(self, glowplug: Command) -> None:
        folder = DataFolder(glowplug.folder / "data")
        folder.prepare()
        folder.database.write_bytes(b"SQLite format 3\x00" + b"\xff" * 8192)
        before = folder.database.read_bytes()
        assert findings(glowplug)["database"]["verdict"] == "fail"
        assert folder.database.read_bytes() == before

    def test_a_sound_database_is_well(self, glowplug: Command) -> None:
        folder = DataFolder(glowplug.folder / "data")
        folder.prepare()
        with sqlite3.connect(folder.database) as database:
            database.execute("CREATE TABLE t (x)")
        database.close()
        assert "is sound" in findings(glowplug)["database"]["detail"]

    def test_another_store_is_left_to_the_gateway(self, glowplug: Command) -> None:
        glowplug.set("GLOWPLUG_STORE", "postgresql://user:hunter2@db/x")
        detail = findings(glowplug)["database"]["detail"]
        assert detail.startswith("postgresql;")
        assert "hunter2" not in detail

    def test_an_open_gateway_without_a_token_is_a_finding(self, glowplug: Command) -> None:
        glowplug.set("GLOWPLUG_HOST", "0.0.0.0")
        assert findings(glowplug)["access"]["verdict"] == "fail"

    def test_a_missing_extra_is_a_note_with_the_command(
        self, glowplug: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doctor, "EXTRAS", {"pictures": ("no_such_module",), "json": ("json",)})
        found = findings(glowplug)
        assert found["extra pictures"]["verdict"] == "note"
        assert found["extra pictures"]["fix"] == "pip install 'glowplug[pictures]'"
        assert found["extra json"]["verdict"] == "ok"

    def test_every_extra_of_a_model_is_looked_at(self) -> None:
        project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
        of_servers = {"amqp", "sqs", "postgres", "mongo", "mqtt"}
        assert set(doctor.EXTRAS) == set(project["optional-dependencies"]) - of_servers

    @pytest.mark.parametrize(
        ("date", "verdict"), [("Thu, 01 Jan 2026 00:00:00 GMT", "note"), (None, "ok")], ids=["apart", "together"]
    )
    def test_a_clock_that_differs_is_a_note(self, date: str | None, verdict: str) -> None:
        from email.utils import formatdate

        assert doctor._clock(date or formatdate(usegmt=True)).verdict == verdict


class TestClean:
    @pytest.fixture
    def folder(self, glowplug: Command) -> DataFolder:
        made = DataFolder(glowplug.folder / "data")
        made.prepare()
        (made.scratch / "worker-1").mkdir()
        (made.scratch / "worker-1" / "rest.bin").write_bytes(b"x" * 1000)
        made.database.write_bytes(b"jobs")
        weights = glowplug.folder / "cache" / "weights"
        (weights / "net-1" / "files").mkdir(parents=True)
        (weights / "net-1" / "files" / "net").write_bytes(b"y" * 500)
        (weights / "net-1.lock").touch()
        return made

    def test_without_yes_it_only_shows(self, glowplug: Command, folder: DataFolder) -> None:
        done = glowplug("clean")
        assert "scratch: " in done.out
        assert "1000 bytes can be freed; add --yes" in done.out
        assert (folder.scratch / "worker-1").exists()

    def test_leftovers_go_and_jobs_stay(self, glowplug: Command, folder: DataFolder) -> None:
        assert glowplug("clean", "--yes", "--json").json["freed_bytes"] == 1000
        assert list(folder.scratch.iterdir()) == []
        assert folder.database.exists()
        assert (glowplug.folder / "cache" / "weights" / "net-1").exists()

    def test_fetched_weights_go_when_asked_for(self, glowplug: Command, folder: DataFolder) -> None:
        glowplug("clean", "--cache", "--yes")
        assert [path.name for path in (glowplug.folder / "cache" / "weights").iterdir()] == ["net-1.lock"]
        assert folder.database.exists()

    def test_everything_goes_when_asked_for(self, glowplug: Command, folder: DataFolder) -> None:
        folder.read_worker_token()
        assert glowplug("clean", "--all", "--yes").code == 0
        left = sorted(path.name for path in folder.root.iterdir())
        assert not folder.database.exists()
        assert set(left) <= {"lock", "scratch", "artifacts", "tokens"}

    def test_a_running_gateway_keeps_its_things(self, glowplug: Command, folder: DataFolder) -> None:
        with GatewayLock(folder):
            done = glowplug("clean", "--all", "--yes")
        assert done.code == 2
        assert "already runs" in done.error
        assert folder.database.exists()

    def test_nothing_to_do_is_said(self, glowplug: Command) -> None:
        assert glowplug("clean", "--yes").out == "0 bytes freed\n"
        assert glowplug("clean").out == "0 bytes can be freed\n"

    def test_a_link_is_removed_and_not_what_it_points_to(self, glowplug: Command, folder: DataFolder) -> None:
        precious = glowplug.folder / "precious"
        precious.mkdir()
        (precious / "photo").write_text("x")
        (folder.scratch / "link").symlink_to(precious)
        glowplug("clean", "--yes")
        assert not (folder.scratch / "link").is_symlink()
        assert (precious / "photo").exists()

    def test_what_is_gone_already_is_no_error(self, glowplug: Command, folder: DataFolder) -> None:
        settings = Settings.load({"GLOWPLUG_DATA": str(folder.root), "GLOWPLUG_CACHE": str(glowplug.folder / "cache")})
        rubbish = housekeeping.find_rubbish(settings)
        housekeeping.remove(settings, rubbish)
        housekeeping.remove(settings, rubbish)
        assert list(folder.scratch.iterdir()) == []
