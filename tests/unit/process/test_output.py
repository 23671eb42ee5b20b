"""Lines come out whole, bounded and without secrets, however they went in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import TaskFailed
from glowplug.job import OutcomeKind
from glowplug.process.output import KEPT_LINES, LONGEST_LINE, Output, Redactor, redacted
from glowplug.process.protocol import Broken, Ended, Logged, WireError

NOTHING = Redactor({})


class Pipe:
    """A pipe whose reading end is an `Output`."""

    def __init__(self) -> None:
        reading, self.writing = os.pipe()
        os.set_blocking(reading, False)
        self.told: list[list[str]] = []
        self.output = Output(reading, NOTHING, self.told.append)

    def write(self, data: bytes) -> None:
        os.write(self.writing, data)

    @property
    def lines(self) -> list[str]:
        return [line for lines in self.told for line in lines]


@pytest.fixture
async def pipe() -> Iterator[Pipe]:  # type: ignore[misc]
    made = Pipe()
    yield made
    made.output.close()
    os.close(made.writing)


async def test_lines_are_told_as_they_come(pipe: Pipe) -> None:
    pipe.output.open()
    pipe.write(b"one\ntwo\nthr")
    async with asyncio.timeout(10):
        while not pipe.told:
            await asyncio.sleep(0)
    assert pipe.told == [["one", "two"]]
    pipe.write(b"ee\n")
    pipe.output.drain()
    assert pipe.lines == ["one", "two", "three"]


async def test_nothing_to_read_is_no_trouble(pipe: Pipe) -> None:
    pipe.output.drain()
    assert pipe.told == []


async def test_a_line_without_an_end_is_told_when_its_printer_is_done(pipe: Pipe) -> None:
    pipe.write(b"half")
    pipe.output.drain()
    assert pipe.told == []
    pipe.output.settle()
    pipe.output.settle()
    assert pipe.lines == ["half"]


async def test_an_endless_line_is_cut(pipe: Pipe) -> None:
    pipe.write(b"x" * (LONGEST_LINE + 1))
    pipe.output.drain()
    [line] = pipe.lines
    assert line == "x" * LONGEST_LINE + "…"


async def test_of_a_bar_that_redraws_itself_the_last_picture_is_kept(pipe: Pipe) -> None:
    pipe.write(b"10%\r50%\r100%\r\n\r\n\n")
    pipe.output.drain()
    assert pipe.lines == ["100%"]


async def test_bytes_that_are_no_text_are_shown_as_such(pipe: Pipe) -> None:
    pipe.write(b"\xff\xfe ok\n")
    pipe.output.drain()
    assert pipe.lines == ["�� ok"]


async def test_the_last_lines_are_kept_for_the_story_of_a_crash(pipe: Pipe) -> None:
    pipe.write(b"".join(b"%d\n" % number for number in range(KEPT_LINES + 5)))
    pipe.output.drain()
    assert list(pipe.output.last) == [str(number) for number in range(5, KEPT_LINES + 5)]


async def test_closing_reads_what_is_left_and_may_be_done_twice(pipe: Pipe) -> None:
    pipe.write(b"last words")
    pipe.output.close()
    pipe.output.close()
    pipe.output.drain()
    assert pipe.lines == ["last words"]


async def test_the_end_of_the_pipe_ends_the_reading() -> None:
    made = Pipe()
    made.output.open()
    os.close(made.writing)
    for _ in range(5):
        await asyncio.sleep(0)
    made.output.drain()
    made.output.close()
    assert made.told == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer [hidden]"),
        ("api_key=abcd1234 next", "api_key=[hidden] next"),
        ('{"password": "abcd1234", "a": 1}', '{"password": "[hidden]", "a": 1}'),
        ("HF_TOKEN: abcd1234", "HF_TOKEN: [hidden]"),
        ("postgresql://me:abcd1234@host/db", "postgresql://me:[hidden]@host/db"),
        ("AKIAABCDEFGHIJKLMNOP is the key", "[hidden] is the key"),
        ("hf_abcdefghijklmnopqrstuvwx", "[hidden]"),
        ("tokens: 12 of 300", "tokens: 12 of 300"),
        ("a token of love", "a token of love"),
        ("loss=0.25 step=3", "loss=0.25 step=3"),
        ("http://127.0.0.1:8000/x", "http://127.0.0.1:8000/x"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert NOTHING(text) == shown


def test_secrets_of_the_environment_are_hidden_wherever_they_stand() -> None:
    redact = Redactor({"MY_TOKEN": "correct-horse", "AWS_SECRET_ACCESS_KEY": "a+b(c)d*e", "HOME": "/home/somebody"})
    assert redact("x correct-horse-y a+b(c)d*e /home/somebody") == "x [hidden]-y [hidden] /home/somebody"


def test_short_values_are_not_taken_for_secrets() -> None:
    assert Redactor({"TOKEN": "on"})("on and on") == "on and on"


def test_a_secret_within_another_is_hidden_with_it() -> None:
    redact = Redactor({"A_TOKEN": "abcdefgh", "B_TOKEN": "abcdefgh-ijkl"})
    assert redact("abcdefgh-ijkl") == "[hidden]"


@given(st.text(max_size=300))
def test_any_text_can_be_looked_through(text: str) -> None:
    assert isinstance(NOTHING(text), str)


def test_messages_lose_their_secrets_too() -> None:
    redact = Redactor({"MY_TOKEN": "correct-horse"})
    logged = redacted(Logged("1", "it is correct-horse"), redact)
    broken = redacted(Broken("it is correct-horse", "permanent"), redact)
    error = WireError.of(TaskFailed("it is correct-horse", error_class="ValueError"))
    ended = redacted(Ended("1", OutcomeKind.FAILED, error=error), redact)
    assert logged == Logged("1", "it is [hidden]")
    assert broken == Broken("it is [hidden]", "permanent")
    assert isinstance(ended, Ended)
    assert ended.error == WireError("task_failed", "it is [hidden]", {"error_class": "ValueError"})
    plain = Ended("1", OutcomeKind.COMPLETED)
    assert redacted(plain, redact) is plain
