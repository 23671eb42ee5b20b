"""`up --reload`: a worker is started again when the code beside its target changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from tests.unit.supervisor.programs import LIMIT_SECONDS, STAYS, Crew, crew, plan, python_file


async def restarted_after_writes(made: Crew, path: Path, line: str) -> None:
    """Touch `path` until the worker is up again: a watch that has only just begun may miss the first change."""
    async with asyncio.timeout(LIMIT_SECONDS):
        number = 0
        while made.said(line) < 2:
            number += 1
            path.write_text(f"# change {number}\n")
            await asyncio.sleep(0.1)


async def test_a_change_of_the_target_s_file_starts_its_worker_again(tmp_path: Path) -> None:
    mine, other = python_file(tmp_path, "one/mine.py"), python_file(tmp_path, "two/other.py")
    plans = (plan(STAYS, str(mine)), plan(STAYS, str(other), "w2"))
    async with crew(*plans, reload=True) as made:
        await made.until(lambda: made.said("w1: up") and made.said("w2: up"))
        await restarted_after_writes(made, mine, "w1: up")
        assert made.said("w2: up") == 1
        assert made.exits == []


async def test_a_change_of_a_file_beside_the_target_counts_too(tmp_path: Path) -> None:
    mine, beside = python_file(tmp_path, "mine.py"), python_file(tmp_path, "parts/beside.py")
    async with crew(plan(STAYS, str(mine)), reload=True) as made:
        await made.until(lambda: made.said("w1: up"))
        await restarted_after_writes(made, beside, "w1: up")


async def test_without_reload_a_change_changes_nothing(tmp_path: Path) -> None:
    mine = python_file(tmp_path, "mine.py")
    async with crew(plan(STAYS, str(mine))) as made:
        await made.until(lambda: made.said("w1: up"))
        mine.write_text("# changed\n")
        await asyncio.sleep(0.1)
        assert made.deaths == []


async def test_a_target_without_a_folder_is_kept_alive_all_the_same() -> None:
    async with crew(replace(plan(STAYS), target="no_such_package"), reload=True) as made:
        await made.until(lambda: made.said("w1: up"))
