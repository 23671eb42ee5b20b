"""Which worker processes are run for some targets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.unit.supervisor.programs import commands, python_file

from glowplug.errors import SettingsError
from glowplug.supervisor import check_target, plan_workers
from glowplug.supervisor.plan import target_folder


def test_a_worker_is_this_interpreter_with_our_own_command() -> None:
    (only,) = plan_workers(["digits"], {}, {})
    assert only.command == (sys.executable, "-m", "glowplug", "worker", "digits", "--supervised")


def test_each_worker_is_handed_its_options_word_for_word() -> None:
    options = {"digits": {"prompt": "a, b=c", "steps": "-1"}, "other": {"other.a.b": "c"}}
    digits, other, third = plan_workers(["digits", "other", "third"], {}, {}, options)
    assert digits.command[-4:] == ("--option", "prompt=a, b=c", "--option", "steps=-1")
    assert other.command[-2:] == ("--option", "other.a.b=c")
    assert "--option" not in third.command


def test_a_worker_keeps_its_id_over_restarts_of_everything() -> None:
    first, again = (plan_workers(["a.py:Thing", "digits"], {}, {}) for _ in range(2))
    assert [one.instance_id for one in first] == [one.instance_id for one in again]
    assert first[0].instance_id.endswith("-a-py-Thing")
    assert first[0].environment["GLOWPLUG_WORKER_INSTANCE_ID"] == first[0].instance_id


def test_two_workers_of_one_target_are_told_apart() -> None:
    plans = plan_workers(["digits", "digits", "digits"], {}, {})
    assert len({one.instance_id for one in plans}) == 3
    assert len(set(commands(plans))) == 1


def test_a_target_without_a_letter_still_has_an_id() -> None:
    (only,) = plan_workers(["--"], {}, {})
    assert only.instance_id.endswith("-worker")


def test_a_very_long_target_makes_no_very_long_id() -> None:
    (only,) = plan_workers([f"/{'deep/' * 100}model.py"], {}, {})
    assert only.instance_id.endswith("model-py")
    assert len(only.instance_id) < 200


def test_tokens_of_the_environment_are_not_handed_down() -> None:
    secret = {
        "GLOWPLUG_TOKEN": "hunter2",
        "GLOWPLUG_TOKEN_FILE": "/hunter2",
        "GLOWPLUG_WORKER_TOKEN": "hunter2",
        "GLOWPLUG_WORKER_TOKEN_FILE": "/hunter2",
        "GLOWPLUG_ALERTS_WEBHOOK_URL": "https://h/hunter2",
        "GLOWPLUG_ALERTS_WEBHOOK_SECRET": "hunter2",
        "GLOWPLUG_ALERTS_WEBHOOK_SECRET_FILE": "/hunter2",
    }
    (only,) = plan_workers(["a.py"], {**secret, "PATH": "/bin"}, {"GLOWPLUG_WORKER_TOKEN_FILE": "/data/tokens/worker"})
    assert only.environment["PATH"] == "/bin"
    assert only.environment["GLOWPLUG_WORKER_TOKEN_FILE"] == "/data/tokens/worker"
    assert "hunter2" not in str(only)


def test_what_is_added_wins_over_what_was_there() -> None:
    (only,) = plan_workers(["a.py"], {"GLOWPLUG_URL": "http://old:1"}, {"GLOWPLUG_URL": "http://new:2"})
    assert only.environment["GLOWPLUG_URL"] == "http://new:2"


@pytest.mark.parametrize("target", ["digits", "glowplug.workloads.digits.model:Digits", "json.decoder:JSONDecoder"])
def test_what_is_installed_is_accepted_without_importing_it(target: str) -> None:
    before = set(sys.modules)
    check_target(target)
    assert set(sys.modules) - before <= {"importlib.metadata"}


def test_a_file_that_is_there_is_accepted(tmp_path: Path) -> None:
    path = python_file(tmp_path, "model.py")
    check_target(str(path))
    check_target(f"{path}:Thing")


@pytest.mark.parametrize("target", ["nowhere.py", "nowhere.py:Thing", "some/where"])
def test_a_file_that_is_not_there_is_refused(target: str) -> None:
    with pytest.raises(SettingsError, match=target.partition(":")[0]):
        check_target(target)


@pytest.mark.parametrize("target", ["no_such_package", "no_such.models:Thing", "", ":Thing", "a..b"])
def test_a_module_that_is_not_there_is_refused_and_what_is_there_is_named(target: str) -> None:
    with pytest.raises(SettingsError, match="digits"):
        check_target(target)


def test_the_folder_of_a_file_is_its_own(tmp_path: Path) -> None:
    assert target_folder(str(python_file(tmp_path, "model.py"))) == tmp_path


def test_the_folder_of_a_module_is_its_top_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python_file(tmp_path, "my_models/__init__.py", "raise RuntimeError('imported')")
    python_file(tmp_path, "my_models/deep/thing.py")
    monkeypatch.chdir(tmp_path)
    assert target_folder("my_models.deep.thing:Thing") == tmp_path / "my_models"


def test_the_folder_of_a_package_without_a_file_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python_file(tmp_path, "bare_models/thing.py")
    monkeypatch.chdir(tmp_path)
    assert target_folder("bare_models.thing") == tmp_path / "bare_models"


def test_the_folder_of_an_entry_point_is_that_of_its_code() -> None:
    folder = target_folder("digits")
    assert folder is not None
    assert folder.name == "glowplug"


def test_what_is_compiled_in_has_no_folder_to_watch() -> None:
    assert target_folder("no_such_package") is None
