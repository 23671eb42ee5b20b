"""The command as a whole: help, errors in one line, exit codes, and that it starts fast."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from tests.unit.cli.commands import LIMIT_SECONDS, Command
from tests.unit.client.play import Play

import glowplug as package
from glowplug import errors
from glowplug.cli import app as people
from glowplug.cli import main as cli
from glowplug.cli.ending import ended, exit_code

VERBS = [
    "up",
    "gateway",
    "worker",
    "new",
    "run",
    "upload",
    "jobs",
    "models",
    "retry-load",
    "warm-up",
    "status",
    "doctor",
    "clean",
    "migrate",
]
HEAVY = ["rich", "httpx", "msgspec", "asyncio", "fastapi", "uvicorn", "structlog", "platformdirs", "importlib.metadata"]


def test_help_names_every_verb(glowplug: Command) -> None:
    done = glowplug("--help")
    assert done.code == 0
    for verb in VERBS:
        assert f"\n  {verb} " in done.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(glowplug: Command, verb: str) -> None:
    done = glowplug(verb, "--help")
    assert done.code == 0
    assert "Usage: " in done.out
    assert "\x1b[" not in done.out


def test_without_a_verb_one_gets_the_help(glowplug: Command) -> None:
    done = glowplug()
    assert done.code == 2
    assert "\nCommands:\n" in done.err
    assert "error" not in done.err


def test_without_a_word_for_jobs_one_gets_their_help(glowplug: Command) -> None:
    assert "\n  ls " in glowplug("jobs").err


def test_the_version_is_the_package_s(glowplug: Command) -> None:
    done = glowplug("--version")
    assert (done.code, done.out) == (0, f"{package.__version__}\n")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['glowplug', '--help']\n"
        "from glowplug.cli.main import main\n"
        "try: main()\n"
        f"except SystemExit: print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["upp"], "upp"),
        (["jobs", "list"], "list"),
        (["run"], "TASK"),
        (["jobs", "ls", "--limit", "0"], "limit"),
        (["jobs", "ls", "--limt", "3"], "--limt"),
        (["gateway", "--port", "many"], "--port"),
    ],
)
def test_a_wrong_word_is_one_line_and_a_usage_error(glowplug: Command, words: list[str], said: str) -> None:
    done = glowplug(*words)
    assert done.code == 2
    assert said in done.error
    assert done.out == ""


def test_a_wrong_setting_is_one_line_and_a_usage_error(glowplug: Command) -> None:
    glowplug.set("GLOWPLUG_PROT", "1")
    done = glowplug("models")
    assert done.code == 2
    assert "did you mean GLOWPLUG_PORT?" in done.error


def test_no_gateway_is_not_ready(glowplug: Command) -> None:
    done = glowplug("models")
    assert done.code == 3
    assert "glowplug up" in done.error


def test_a_gateway_that_does_not_answer_is_not_ready(glowplug: Command) -> None:
    glowplug.set("GLOWPLUG_URL", "http://127.0.0.1:9")
    done = glowplug("models")
    assert done.code == 3
    assert "http://127.0.0.1:9" in done.error


def test_a_message_of_many_lines_becomes_one(glowplug: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise errors.Corrupt("first\n   second")

    monkeypatch.setattr(people, "app", broken)
    done = glowplug("models")
    assert (done.code, done.error) == (1, "first second")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UserError("x"), 2),
        (errors.SettingsError("x"), 2),
        (errors.InvalidInput("x"), 2),
        (errors.Unauthorized("x"), 2),
        (errors.UnknownTask("x"), 2),
        (errors.Conflict("x"), 2),
        (errors.DiskFull("x"), 2),
        (errors.NotReady("x"), 3),
        (errors.LoadFailed("x"), 3),
        (errors.Draining("x"), 3),
        (errors.Unreachable("x"), 3),
        (errors.DeadlineExceeded("x"), 3),
        (errors.JobFailed("x"), 4),
        (errors.TaskFailed("x"), 4),
        (errors.ModelCrashed("x"), 4),
        (errors.Corrupt("x"), 1),
        (errors.BugError("x"), 1),
        (errors.RemoteError("x"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: errors.GlowplugError, code: int) -> None:
    assert exit_code(error) == code


def test_an_interrupt_is_130_without_a_word(glowplug: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(people, "app", interrupted)
    done = glowplug("models")
    assert (done.code, done.out, done.err) == (130, "", "")


def test_a_mistake_of_ours_is_not_hidden(glowplug: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(people, "app", mistaken)
    monkeypatch.setattr(sys, "argv", ["glowplug", "models"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_the_module_is_the_command(glowplug: Command) -> None:
    done = glowplug.apart("--version")
    assert (done.code, done.out) == (0, f"{package.__version__}\n")


def test_ctrl_c_while_waiting_leaves_the_job_and_says_where_it_is(glowplug: Command, play: Play) -> None:
    with glowplug.process("run", "play.hold") as process:
        assert process.stderr is not None
        job_id = process.stderr.readline().split()[-1]
        while "started" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_SECONDS)
    assert (process.returncode, out) == (130, "")
    assert f"glowplug jobs show {job_id}, or jobs cancel {job_id}" in err
    assert "Traceback" not in err
    assert glowplug("jobs", "show", job_id, "--json").json["state"] == "running"
    play.release()


def test_a_reader_that_has_seen_enough_ends_it_quietly(glowplug: Command, play: Play) -> None:
    command = f"{sys.executable} -m glowplug models --json | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert play.url


def test_a_missing_token_is_told_with_the_setting_that_mends_it(capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> int:
        raise errors.Unauthorized("a token is needed")

    assert ended(refused) == 2
    assert capsys.readouterr().err == "glowplug: error: a token is needed; set GLOWPLUG_TOKEN\n"
