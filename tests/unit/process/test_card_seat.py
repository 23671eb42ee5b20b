"""A model whose folder of cards breaks serves on, and says once that it shares with nobody, and once that it does."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from glowplug import events
from glowplug.clock import SystemClock
from glowplug.errors import SettingsError
from glowplug.process import card_ledger, card_seat
from glowplug.process.card_seat import Seat
from glowplug.process.cards import CPU, Card, CardSpec

LIMIT_BYTES = 100


class Heard:
    """The events of cards, in their order."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fields: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    def __call__(self, spec: events.EventSpec, fields: dict[str, Any]) -> None:
        if spec.name.startswith("cards."):
            self.names.append(spec.name)
            self.fields.append(fields)
            self._news.set()

    async def next(self) -> dict[str, Any]:
        """Wait for news."""
        async with asyncio.timeout(20):
            await self._news.wait()
        self._news.clear()
        return self.fields[-1]


class Counting(SystemClock):
    """Lets others wait until it was slept by so many times."""

    def __init__(self) -> None:
        self.slept = 0
        self._news = asyncio.Condition()

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        async with self._news:
            self.slept += 1
            self._news.notify_all()

    async def until(self, slept: int) -> None:
        """Wait for it."""
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: self.slept >= slept)


@pytest.fixture
def clock() -> Counting:
    return Counting()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    monkeypatch.setattr(card_ledger, "LOCK_SECONDS", 0.01)
    monkeypatch.setattr(card_seat, "POLL_SECONDS", 0.01)
    heard = Heard()
    before = events.set_sink(heard)
    yield heard
    events.set_sink(before)


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    return tmp_path / "cards"


@pytest.fixture
async def seat(cards: Path, heard: Heard, clock: Counting) -> AsyncIterator[Seat]:
    seat = Seat(CardSpec(folder=cards, limit_bytes=LIMIT_BYTES), "images", clock)
    await seat.admit([Card(CPU, CPU)], 10, asyncio.Event(), lambda why: None)
    await seat.awake(10, 0)
    assert heard.names == []
    yield seat
    await seat.close()


def broken(cards: Path) -> Path:
    """Put a file where the folder was; return where the folder is now."""
    away = cards.with_name("away")
    cards.rename(away)
    cards.write_text("no folder")
    return away


async def test_a_folder_that_breaks_is_told_once_and_its_return_too(
    seat: Seat, cards: Path, heard: Heard, clock: Counting
) -> None:
    away = broken(cards)
    saying = asyncio.create_task(seat.awake(20, 1))
    told = await heard.next()
    assert told["model"] == "images"
    assert "cannot be written to" in told["error"]
    assert "point GLOWPLUG_DATA at another folder" in told["error"]
    await clock.until(clock.slept + 3)
    cards.unlink()
    away.rename(cards)
    assert (await heard.next())["seconds"] > 0
    async with asyncio.timeout(20):
        await saying
    assert heard.names == ["cards.lost", "cards.restored"]


async def test_a_folder_that_somebody_keeps_locked_is_told_too(seat: Seat, cards: Path, heard: Heard) -> None:
    descriptor = os.open(cards / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    saying = asyncio.create_task(seat.awake(20, 1))
    assert "is locked by a process that does not go on" in (await heard.next())["error"]
    os.close(descriptor)
    await heard.next()
    async with asyncio.timeout(20):
        await saying
    assert heard.names == ["cards.lost", "cards.restored"]


async def test_a_model_that_leaves_a_broken_folder_says_so_and_comes_back_to_a_mended_one(
    seat: Seat, cards: Path, heard: Heard
) -> None:
    broken(cards)
    await seat.outside()
    await seat.outside()
    assert heard.names == ["cards.lost"]
    cards.unlink()
    await seat.outside()
    assert heard.names == ["cards.lost", "cards.restored"]


async def test_one_that_is_not_in_yet_fails_with_the_reason_instead(cards: Path, heard: Heard) -> None:
    cards.write_text("no folder")
    seat = Seat(CardSpec(folder=cards, limit_bytes=LIMIT_BYTES), "images", SystemClock())
    with pytest.raises(SettingsError, match="cannot be written to"):
        await seat.admit([Card(CPU, CPU)], 10, asyncio.Event(), lambda why: None)
    assert heard.names == []
