"""`glowplug run` of a task that streams: what it yields is printed as it comes."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
from collections.abc import Iterator

import pytest
from tests.unit.cli.commands import LIMIT_SECONDS, Command
from tests.unit.cli.singer import Singer
from tests.unit.client.play import Play

from glowplug.cli.output import waiting
from glowplug.cli.streaming import Pieces


@pytest.fixture
def singer(play: Play) -> Iterator[Singer]:
    """Return what streams the task `play.sing`, once the gateway knows its address."""
    made, entered = Singer(play.released), []

    async def begin() -> None:
        entered.append(made.singing())
        play.worker.url = await entered[0].__aenter__()
        await play.worker.register()

    async def end() -> None:
        await entered[0].__aexit__(None, None, None)

    play.do(begin)
    yield made
    play.do(end)


def test_each_piece_is_printed_when_it_comes(glowplug: Command, play: Play, singer: Singer) -> None:
    with glowplug.process("run", "play.sing", "text=one two three") as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == "one "
        assert not singer.left.is_set()
        play.release()
        out, err = process.communicate(timeout=LIMIT_SECONDS)
    assert (process.returncode, out, err) == (0, "two three \n", "number 2\n")
    assert glowplug("jobs", "ls", "--json").json["jobs"] == []


def test_ctrl_c_ends_the_call(glowplug: Command, play: Play, singer: Singer) -> None:
    with glowplug.process("run", "play.sing", "text=one two three") as process:
        assert process.stdout is not None
        process.stdout.read(4)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_SECONDS)
    assert (process.returncode, out, err) == (130, "\n", "play.sing was ended\n")
    play.do(lambda: asyncio.wait_for(singer.left.wait(), LIMIT_SECONDS))


@pytest.mark.usefixtures("singer")
def test_for_programs_each_piece_is_a_line_of_json(glowplug: Command, play: Play) -> None:
    play.release()
    done = glowplug("run", "play.sing", "text=one two", "--json")
    assert [json.loads(line) for line in done.out.splitlines()] == ["one ", {"text": "two ", "number": 1}]
    assert (done.code, done.err) == (0, "")


@pytest.mark.usefixtures("singer")
def test_a_stream_that_takes_too_long_is_ended(glowplug: Command) -> None:
    done = glowplug("run", "play.sing", "text=one two", "--timeout", "0.3")
    assert done.code == 3
    assert done.out == "one \n"
    assert "play.sing was not done after 0.3 s and was ended" in done.error


def test_an_error_in_the_middle_comes_after_what_was_said(glowplug: Command, play: Play, singer: Singer) -> None:
    singer.error = {"code": "task_failed", "detail": "it lost its voice", "status": 500}
    play.release()
    done = glowplug("run", "play.sing", "text=one two")
    assert done.code == 4
    assert done.out == "one two \n"
    assert "it lost its voice" in done.error


@pytest.mark.usefixtures("play")
def test_without_a_worker_for_direct_calls_it_is_a_job(glowplug: Command) -> None:
    done = glowplug("run", "play.sing", "text=one two")
    assert (done.code, done.out) == (0, "one two \n")
    assert done.err.startswith("job ")
    done = glowplug("run", "play.sing", "text=one two", "--json")
    assert (done.out, done.err) == ('"one "\n"two "\n', "")


def test_ctrl_c_cancels_a_job_that_is_waited_for_as_a_stream(glowplug: Command, play: Play) -> None:
    play.broken()
    with glowplug.process("run", "play.sing", "text=one two") as process:
        assert process.stderr is not None
        while "queued" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 130
    assert "play.sing was ended" in err
    assert glowplug("jobs", "ls", "--json").json["jobs"][0]["state"] == "canceled"


def test_a_stream_may_be_queued_instead(glowplug: Command, singer: Singer) -> None:
    done = glowplug("run", "play.sing", "text=one two", "--async")
    assert glowplug("jobs", "show", done.out.strip(), "--json").json["task"] == "play.sing"
    assert not singer.left.is_set()


class TestPieces:
    def test_what_is_no_text_has_lines_of_its_own(self, capsys: pytest.CaptureFixture[str]) -> None:
        pieces = Pieces(as_json=False)
        for value in ("a", {"n": 1}, {"n": 2}, "b\n", "", 3):
            pieces.take(value)
        pieces.end()
        assert capsys.readouterr() == ('a\n{"n":1}\n{"n":2}\nb\n3\n', "")

    def test_what_is_beside_the_text_is_told_at_the_end_and_in_few_words(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pieces = Pieces(as_json=False)
        pieces.take({"text": "Hello", "audio": "UklG" * 100, "rate": 22050, "none": None})
        pieces.take({"text": "", "rate": 22050, "why": "stop", "counts": [1, 2]})
        pieces.end()
        out, err = capsys.readouterr()
        assert out == "Hello\n"
        assert err == "audio left out (it is in --json), rate 22050, why stop, counts [1,2]\n"

    def test_files_that_are_mentioned_are_remembered_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        pieces = Pieces(as_json=True)
        pieces.take({"file": "artifact:calls/1/a.png"})
        pieces.take(["artifact:calls/1/a.png", "artifact:calls/1/b.png"])
        assert list(pieces.files) == ["calls/1/a.png", "calls/1/b.png"]
        assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_sign_that_something_is_waited_for_is_gone_before_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        with waiting("play.sing has begun") as stop:
            stop()
            terminal.write("text")
            terminal.flush()
        shown = ""
        while "text" not in shown:
            shown += os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "play.sing has begun" in shown
    assert "\x1b[2K" in shown[shown.rindex("play.sing has begun") : shown.index("text")]
