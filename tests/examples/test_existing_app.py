"""An existing app, before and after: what the ten lines buy."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.examples.programs import EXAMPLES, Program, served
from tests.journeys.system import until

FOLDER = EXAMPLES / "existing_app"
QUESTION = "/search?q=parse+a+date+string"


def changed(sign: str) -> list[str]:
    """Return the lines that the diff adds (+) or takes away (-), blank ones left out."""
    before, after = (FOLDER / name for name in ("before.py", "after.py"))
    lines = difflib.unified_diff(before.read_text().splitlines(), after.read_text().splitlines(), lineterm="", n=0)
    return [line for line in lines if line.startswith(sign) and line[:3] != sign * 3 and line[1:].strip()]


def test_the_diff_adds_ten_lines_at_most_and_takes_away_no_more() -> None:
    assert 0 < len(changed("+")) <= 10
    assert 0 < len(changed("-")) <= 10


def test_the_readme_says_how_many_lines_change() -> None:
    words = {8: "eight", 9: "nine", 10: "ten"}
    said = f"{words[len(changed('+'))]} lines added, {words[len(changed('-'))]} taken away"
    assert said in (FOLDER / "README.md").read_text()


def test_before_the_port_is_closed_while_the_model_loads(tmp_path: Path) -> None:
    with served(tmp_path, "existing_app", "before:app") as program:
        refused = 0

        def open_at_last() -> bool:
            nonlocal refused
            try:
                program.http.get("/")
            except httpx.ConnectError:
                refused += 1
                return False
            return True

        # The server is at its start-up once it says so; from there to the index nothing answers.
        until(lambda: "Waiting for application startup" in program.log(), "the app starts", log=program.log)
        until(open_at_last, "the port opens", log=program.log)
        assert refused > 0
        assert program.http.get(QUESTION).status_code == 200


@pytest.fixture
def after(tmp_path: Path) -> Iterator[Program]:
    with served(tmp_path, "existing_app", "after:app") as program:
        program.wait_answering()
        yield program


def test_after_the_port_answers_while_the_model_loads(after: Program) -> None:
    body = after.body()
    assert body["ready"] is False
    assert body["services"]["index"]["status"] in ("pending", "loading")
    assert after.http.get("/").json()["name"] == "Search"
    assert after.http.get("/livez").status_code == 200
    assert after.http.get("/readyz").status_code == 503


def test_after_the_guarded_route_says_too_early_and_then_works(after: Program) -> None:
    early = after.http.get(QUESTION)
    assert early.status_code == 425
    assert 1 <= int(early.headers["retry-after"]) <= 30
    assert early.json()["type"] == "initialization"
    assert after.follow()[-1]["ready"] is True
    found = after.http.get(QUESTION)
    assert found.status_code == 200
    assert len(found.json()) == 5
    assert all(one["score"] > 0 for one in found.json())


def test_after_the_load_is_followed_file_by_file(after: Program) -> None:
    pictures = after.follow()
    percents = [picture["progress"] for picture in pictures]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert all(picture["ready"] is (picture["progress"] == 100) for picture in pictures)
    assert any(0 < percent < 100 for percent in percents)


def test_after_the_second_start_knows_how_long_it_takes(tmp_path: Path) -> None:
    for _ in range(2):
        with served(tmp_path, "existing_app", "after:app") as program:
            program.wait_answering()
            first = program.body()
            program.wait_ready()
    assert first["ready"] is True or first["estimated_seconds"] is not None
