"""How the verbs speak on a terminal, to people, and in a pipe, to programs."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.unit.cli.commands import LIMIT_SECONDS, Command
from tests.unit.client.play import Play

from glowplug.cli import output
from glowplug.cli.ending import fail


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def terminal() -> Iterator[Terminal]:
    """Let the output go to a terminal for the block; a fixture would come before pytest's own capture."""
    made = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", made)
        patch.setattr(sys, "stderr", made)
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "100")
        yield made


def test_a_table_on_a_terminal_is_aligned() -> None:
    with terminal() as screen:
        output.say_table(("NAME", "STATE"), [("a-long-name", "ready"), ("b", None)])
    head, first, *_ = screen.getvalue().splitlines()
    assert first.split() == ["a-long-name", "ready"]
    assert "NAME" in head
    assert "\t" not in screen.getvalue()


def test_what_looks_like_markup_is_shown_as_it_is() -> None:
    with terminal() as screen:
        output.say_table(("NAME",), [("[bold]x[/bold]",)])
    assert "[bold]x[/bold]" in screen.getvalue()


def test_a_table_in_a_pipe_has_one_line_a_row_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    output.say_table(("A", "B"), [("one\ttwo\nthree", None)])
    assert capsys.readouterr().out == "A\tB\none two three\t\n"


def test_a_bar_on_a_terminal_shows_where_it_is() -> None:
    with terminal() as screen, output.meter() as shown:
        shown.show("digits", None, "queued")
        shown.show("digits", 40.0, "step 4 [of 10]")
        shown.show("digits", 100.0, "completed")
    said = screen.getvalue()
    assert "digits" in said
    assert "100%" in said
    assert "completed" in said


def test_in_a_pipe_a_line_comes_for_each_tenth_and_each_new_word(capsys: pytest.CaptureFixture[str]) -> None:
    with output.meter() as shown:
        for percent in range(101):
            shown.show("digits", percent, "training")
        shown.show("digits", 100, "done")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "digits: 0 % training"
    assert lines[-1] == "digits: 100 % done"
    assert len(lines) == 12


def test_counters_in_the_words_make_no_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    with output.meter() as shown:
        for done in range(9):
            shown.show("digits", done, f"Reading weights, {done} of 100 MB")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_two_things_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    with output.meter() as shown:
        shown.show("a", None, "queued")
        shown.show("b", None, "queued")
        shown.show("a", None, "queued")
    assert capsys.readouterr().err == "a: queued\nb: queued\n"


def test_a_quiet_meter_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with output.meter(quiet=True) as shown:
        shown.show("a", 1.0, "queued")
    assert capsys.readouterr() == ("", "")


def test_an_error_is_always_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    fail("first\nsecond\t third")
    assert capsys.readouterr().err == "glowplug: error: first second third\n"


def test_on_a_real_terminal_a_run_draws_and_ends_well(glowplug: Command, play: Play) -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "GLOWPLUG_URL": play.url}
    process = subprocess.Popen(
        [sys.executable, "-m", "glowplug", "run", "play.steps", "count=5"],
        env=environment,
        cwd=glowplug.folder,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    seen = b""
    try:
        while piece := os.read(leader, 65536):
            seen += piece
    except OSError:
        # Linux tells the end of a terminal this way.
        pass
    finally:
        os.close(leader)
    assert process.wait(LIMIT_SECONDS) == 0
    assert b"\x1b[" in seen
    assert b"completed" in seen
    assert b"5" in seen.splitlines()[-1]


def test_in_a_pipe_a_long_silence_is_broken_while_only_counters_move(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(output, "monotonic", lambda: now[0])
    with output.meter() as shown:
        for second in range(25):
            now[0] = float(second)
            shown.show("digits", 3.0, f"Importing libraries, about {60 - second} s left")
    assert len(capsys.readouterr().err.splitlines()) == 3
