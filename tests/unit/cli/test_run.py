"""`glowplug run`: from words to a result and files."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.cli.commands import Command
from tests.unit.client.play import PICTURE, Play

pytestmark = pytest.mark.usefixtures("play")


def test_the_result_is_on_standard_output_and_the_rest_beside(glowplug: Command) -> None:
    done = glowplug("run", "play.echo", "text=ab", "times=2")
    assert done.code == 0
    assert done.out == "abab\n"
    assert done.err.startswith("job ")
    assert "play.echo: 100 % completed" in done.err


def test_words_become_what_the_task_takes(glowplug: Command) -> None:
    assert glowplug("run", "play.echo", "text=7", "loud=yes").out == "7\n"


def test_json_is_one_document_and_nothing_else(glowplug: Command) -> None:
    done = glowplug("run", "play.echo", "text=a", "--json")
    assert done.err == ""
    said = done.json
    assert (said["task"], said["result"], said["files"]) == ("play.echo", "a", [])
    assert glowplug("jobs", "show", said["job"], "--json").json["result"] == "a"


def test_progress_is_plain_lines_when_nobody_looks(glowplug: Command) -> None:
    done = glowplug("run", "play.steps", "count=3")
    assert "\x1b[" not in done.err
    assert "\r" not in done.err
    assert "play.steps: 100 % step 3" in done.err


def test_files_are_saved_and_named(glowplug: Command, tmp_path: Path) -> None:
    done = glowplug("run", "play.picture", "count=2", "--out", tmp_path / "pictures")
    first, second = done.out.splitlines()
    assert [Path(first).name, Path(second).name] == ["picture-0.png", "picture-1.png"]
    assert Path(first).read_bytes() == PICTURE


def test_files_go_to_the_folder_out_unless_told_otherwise(glowplug: Command) -> None:
    said = glowplug("run", "play.picture", "--json").json
    assert said["files"] == ["out/picture-0.png"]
    assert (glowplug.folder / "out" / "picture-0.png").read_bytes() == PICTURE


def test_without_files_no_folder_is_made_in_vain(glowplug: Command) -> None:
    glowplug("run", "play.echo", "text=a")
    assert not (glowplug.folder / "out").exists()


@pytest.mark.parametrize("words", [["file=@photo.bin"], ["--file", "file=photo.bin"], ["--file", "file=@photo.bin"]])
def test_a_file_is_uploaded(glowplug: Command, words: list[str]) -> None:
    (glowplug.folder / "photo.bin").write_bytes(b"x" * 1234)
    assert glowplug("run", "play.measure", *words).out == "1234\n"


def test_a_file_that_is_not_there_is_a_usage_error(glowplug: Command) -> None:
    done = glowplug("run", "play.measure", "file=@absent.png")
    assert done.code == 2
    assert "absent.png" in done.error
    assert glowplug("jobs", "ls", "--json").json["jobs"] == []


def test_a_task_without_parameters_needs_no_words(glowplug: Command, play: Play) -> None:
    play.release()
    assert glowplug("run", "play.hold").out == "released\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["play.echo", "text=a", "times=many"], "times: 'many' is not a whole number"),
        (["play.echo", "txt=a"], "no parameter 'txt'"),
        (["play.echo", "hello"], "not key=value"),
        (["play.echo"], "text"),
        (["play.ecko", "text=a"], "play.echo"),
        (["nobody.echo", "text=a"], "nobody.echo"),
    ],
)
def test_what_cannot_be_run_is_a_usage_error(glowplug: Command, words: list[str], said: str) -> None:
    done = glowplug("run", *words)
    assert done.code == 2
    assert said in done.error


def test_a_job_that_failed_is_exit_code_4_with_the_reason(glowplug: Command) -> None:
    done = glowplug("run", "play.fail")
    assert done.code == 4
    assert "it did not work" in done.error
    assert done.out == ""


def test_a_job_that_takes_too_long_goes_on(glowplug: Command, play: Play) -> None:
    done = glowplug("run", "play.hold", "--timeout", "0.2")
    assert done.code == 3
    assert "it goes on" in done.error
    assert glowplug("jobs", "ls", "--json").json["jobs"][0]["state"] == "running"
    play.release()


def test_async_prints_the_job_and_waits_for_nothing(glowplug: Command, play: Play) -> None:
    done = glowplug("run", "play.hold", "--async")
    job_id = done.out.strip()
    assert glowplug("jobs", "show", job_id, "--json").json["done"] is False
    play.release()
    said = glowplug("run", "play.hold", "--async", "--json").json
    assert said["task"] == "play.hold"


def test_a_result_for_programs_has_references_and_paths(glowplug: Command) -> None:
    said = glowplug("run", "play.picture", "--json").json
    assert said["result"][0].startswith("artifact:jobs/")
    assert Path(said["files"][0]).name == "picture-0.png"


def test_a_job_for_a_model_that_is_not_ready_says_what_it_waits_for(glowplug: Command, play: Play) -> None:
    play.broken()
    done = glowplug("run", "play.echo", "text=a", "--timeout", "0.2")
    assert done.code == 3
    assert "play is not ready (no weights)" in done.err
