"""The page of states says what the code does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from glowplug.job import JobState
from glowplug.readiness.state import TRANSITIONS, State, Status

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "states.md"


def test_the_page_of_states_is_what_the_tables_say() -> None:
    printed = subprocess.run([sys.executable, ROOT / "scripts" / "states"], capture_output=True, text=True, check=True)
    assert PAGE.read_text() == printed.stdout, "run: scripts/states > docs/states.md"


def test_the_page_names_every_state() -> None:
    page = PAGE.read_text()
    assert [word for word in (*Status, *State, *JobState) if f"**{word}**" not in page] == []


def test_the_page_shows_each_transition_of_a_component_and_no_other() -> None:
    heads, _, *rows = (cells(line) for line in component_table())
    shown = {(row[0].strip("*"), new) for row in rows for new, mark in zip(heads, row, strict=True) if mark == "●"}
    assert shown == {(old.value, new.value) for old in Status for new in TRANSITIONS[old] if new is not old}


def component_table() -> list[str]:
    lines = PAGE.read_text().splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("| from \\ to"))
    return lines[first : first + 2 + len(Status)]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")[1:-1]]
