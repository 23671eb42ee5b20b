"""What `glowplug run` shows of each event of a job."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from glowplug.cli import run
from glowplug.client import EventView, JobView

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Shown:
    """A meter that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[float | None, str]] = []

    def show(self, name: str, percent: float | None, words: str) -> None:
        assert name == "a.b"
        self.said.append((percent, words))


def shown(kind: str, **data: Any) -> list[tuple[float | None, str]]:
    meter = Shown()
    run._show(meter, "a.b", EventView(1, kind, NOW, data))
    return meter.said


@pytest.mark.parametrize(
    ("kind", "data", "percent", "words"),
    [
        ("queued", {}, None, "queued"),
        ("started", {"attempt": 1, "worker": "w1"}, None, "started"),
        ("progress", {"done": 3, "total": 4, "percent": 75.0, "note": "step 3"}, 75.0, "step 3"),
        ("progress", {"done": 3, "percent": None, "note": ""}, None, "running"),
        (
            "progress",
            {"percent": 50.0, "preview": "artifact:jobs/1/p.png"},
            50.0,
            "running",
        ),
        ("metrics", {"epoch": 2, "loss": 0.25, "name": "x"}, None, "epoch 2, loss 0.25"),
        ("metrics", {"values": {"loss": 1e-9}}, None, "loss 1e-09"),
        ("requeued", {"reason": "crashed", "message": "the model died"}, None, "requeued the model died"),
        ("requeued", {"reason": "interrupted"}, None, "requeued interrupted"),
        ("resumed", {"step": 3}, None, "resumed"),
        ("canceling", {}, None, "canceling"),
        ("failed", {"message": "it did not work"}, None, "failed it did not work"),
        ("completed", {"result": 1}, 100, "completed"),
    ],
)
def test_an_event_is_shown_in_plain_words(kind: str, data: dict[str, Any], percent: float | None, words: str) -> None:
    assert shown(kind, **data) == [(percent, words)]


@pytest.mark.parametrize("kind", ["log", "artifact", "checkpoint"])
def test_what_would_only_flicker_is_not_shown(kind: str) -> None:
    assert shown(kind, text="x") == []


def test_an_event_that_nobody_knows_yet_is_shown_by_its_name() -> None:
    assert shown("brand_new") == [(None, "brand_new")]


@pytest.mark.parametrize(
    ("position", "seconds", "words"),
    [
        (None, None, "queued"),
        (0, None, "queued"),
        (3, None, "queued, 3 ahead"),
        (3, 12.4, "queued, 3 ahead, starts in about 12 s"),
    ],
)
def test_a_waiting_job_shows_its_place(position: int | None, seconds: float | None, words: str) -> None:
    job = JobView("j1", "a.b", "queued", False, NOW, position=position, estimated_start_seconds=seconds)
    assert run._queued(job) == words


@pytest.mark.parametrize(
    ("word", "upload"), [("image=a.png", "image=@a.png"), ("image=@a.png", "image=@a.png"), ("image", "image@")]
)
def test_a_file_option_is_an_upload(word: str, upload: str) -> None:
    assert run._as_upload(word) == upload
