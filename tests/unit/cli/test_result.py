"""How a result reads."""

from __future__ import annotations

from typing import Any

import pytest

from glowplug.cli.result import result_lines

ONE, TWO = "artifact:jobs/1/2/one.png", "artifact:jobs/1/2/two.png"
SAVED = {ONE: "out/one.png", TWO: "out/two.png"}


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        ("plain text", ["plain text"]),
        ("two\nlines", ["two", "lines"]),
        ("", [""]),
        (None, []),
        (1234, ["1234"]),
        (True, ["true"]),
        ([0.5, 1.5], ["[0.5,1.5]"]),
        ([], ["[]"]),
        ({}, ["{}"]),
        (["a", "b"], ["a", "b"]),
        ({"label": "7", "seed": 3}, ["label  7", "seed   3"]),
        ({"label": "7", "sheet": None}, ["label  7"]),
        ({"deep": {"a": [1]}}, ['deep  {"a":[1]}']),
    ],
)
def test_what_a_task_returns_is_shown_in_few_words(output: Any, lines: list[str]) -> None:
    assert result_lines(output, {}) == lines


def test_a_file_is_shown_by_where_it_was_saved() -> None:
    assert result_lines({"images": [ONE, TWO], "seed": 7}, SAVED) == [
        "images  out/one.png",
        "        out/two.png",
        "seed    7",
    ]


def test_a_file_that_the_result_does_not_mention_comes_last() -> None:
    assert result_lines({"seed": 7, "image": ONE}, SAVED) == ["seed   7", "image  out/one.png", "out/two.png"]
    assert result_lines(None, SAVED) == ["out/one.png", "out/two.png"]


def test_a_file_deep_inside_is_mentioned_once() -> None:
    assert result_lines({"pages": [{"image": ONE}]}, {ONE: "out/one.png"}) == ['pages  [{"image":"out/one.png"}]']


def test_a_long_list_of_texts_is_json_on_one_line() -> None:
    (line,) = result_lines(["word"] * 100, {})
    assert line.startswith('["word",')
