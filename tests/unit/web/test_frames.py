"""Frames: one encoding of each picture for all readers, and never an old time told as new."""

from __future__ import annotations

import json

import pytest

from glowplug.clock import ManualClock
from glowplug.readiness import Board, Component
from glowplug.web.frames import FRESH_SECONDS, Frames

LINKS = {"stream": "ready/stream"}


@pytest.fixture
def frames(board: Board, tts: Component, clock: ManualClock) -> Frames:
    tts.begin()
    return Frames(board, LINKS, clock)


def test_all_readers_of_one_picture_share_one_encoding(frames: Frames, board: Board) -> None:
    frame = frames.newest()
    assert frames.newest() is frame
    assert frames.of(board.snapshot()) is frame
    assert frame.event is frame.event
    assert frame.message is frame.message


def test_every_change_makes_a_new_frame(frames: Frames, tts: Component) -> None:
    before = frames.newest()
    tts.stage("read")
    after = frames.newest()
    assert after.version > before.version
    assert json.loads(after.ready)["services"]["tts"]["stage"] == "read"


async def test_without_news_the_times_go_on(frames: Frames, clock: ManualClock) -> None:
    assert json.loads(frames.newest().ready)["loading_seconds"] == 0.0
    await clock.advance(30)
    assert json.loads(frames.newest().ready)["loading_seconds"] == 30.0


async def test_a_moment_later_the_same_frame_serves(frames: Frames, clock: ManualClock) -> None:
    frame = frames.newest()
    await clock.advance(FRESH_SECONDS / 2)
    assert frames.newest() is frame


def test_a_wall_clock_that_jumps_changes_nothing(frames: Frames, clock: ManualClock) -> None:
    frame = frames.newest()
    clock.jump(clock.now().replace(year=2040))
    assert frames.newest() is frame


def test_an_event_is_the_body_with_its_version_as_the_id(frames: Frames, board: Board) -> None:
    frame = frames.newest()
    head, data, end, nothing = frame.event.split(b"\n")
    assert head == f"id: {board.version}".encode()
    assert data == b"data: " + frame.ready
    assert (end, nothing) == (b"", b"")
    assert json.loads(frame.ready)["links"] == LINKS


def test_a_message_is_the_documented_one(frames: Frames) -> None:
    assert set(json.loads(frames.newest().message)) == {"phase", "progress", "estimated_seconds", "message", "services"}


def test_ready_failed_and_draining_are_the_last_word(frames: Frames, tts: Component, board: Board) -> None:
    assert not frames.newest().is_last
    tts.fail("Out of memory")
    assert frames.newest().is_last
    tts.begin()
    assert not frames.newest().is_last
    tts.ready()
    assert frames.newest().is_last
    board.drain()
    assert frames.newest().is_last
