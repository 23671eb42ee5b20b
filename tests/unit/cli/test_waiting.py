"""What `glowplug status --wait` says while there is nothing to show yet."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.unit.cli.commands import Command
from tests.unit.client.play import playing

from glowplug.cli import waiting
from glowplug.cli.waiting import Deaths, Patience, missing
from glowplug.client import ReadyView


class Shown:
    """A meter that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def show(self, name: str, percent: float | None, words: str) -> None:
        self.said.append(f"{name}: {words}" if percent is None else f"{name}: {percent:.0f} {words}")


def view(*models: str) -> ReadyView:
    return ReadyView(ready=False, state="INITIALIZING", services={name: {"status": "pending"} for name in models})


def test_without_any_worker_that_is_what_is_missing() -> None:
    assert missing(view(), None).startswith("none has come yet")
    assert missing(view(), "digits").startswith("none has come yet")


def test_a_model_that_no_worker_has_is_missing_by_name() -> None:
    assert missing(view("a", "b"), "digits") == "none has the model digits; there are: a b"


def test_with_a_load_to_show_nothing_is_missing() -> None:
    assert missing(view("digits"), "digits") == ""
    assert missing(view("digits"), None) == ""


def test_the_time_that_was_waited_is_told_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, now = Shown(), [100.0]
    monkeypatch.setattr(waiting, "monotonic", lambda: now[0])
    patience = Patience(shown)
    for moment in (100.0, 104.0, 106.0, 112.5):
        now[0] = moment
        patience.wait("worker", "none")
    assert shown.said == [
        "worker: waiting, none",
        "worker: waiting, none",
        "worker: waiting for 5 s, none",
        "worker: waiting for 10 s, none",
    ]


def test_what_was_not_waited_for_is_not_announced() -> None:
    shown = Shown()
    patience = Patience(shown)
    patience.over("gateway", "answers")
    assert shown.said == []
    patience.wait("gateway", "gone")
    patience.over("gateway", "answers")
    patience.over("gateway", "answers")
    assert shown.said == ["gateway: waiting, gone", "gateway: 100 answers"]


def test_a_worker_that_keeps_dying_is_named() -> None:
    deaths = Deaths()
    for status in ("offline", "loading", "offline", "loading"):
        deaths.note([{"instance_id": "old", "status": "offline"}, {"instance_id": "w1", "status": status}])
    assert deaths.words == "w1 has died once"
    deaths.note([{"instance_id": "w1", "status": "offline"}])
    assert deaths.words == "w1 has died 2 times"


def test_a_gateway_without_a_worker_says_so(glowplug: Command, tmp_path: Path) -> None:
    with playing(tmp_path / "gateway") as play:
        glowplug.set("GLOWPLUG_URL", play.url)
        done = glowplug("status", "--wait", "--timeout", "0.3")
    assert done.code == 3
    assert "worker: waiting, none has come yet" in done.err
    assert "none has come yet" in done.error


def test_a_worker_that_comes_late_is_announced(glowplug: Command, tmp_path: Path) -> None:
    with playing(tmp_path / "gateway") as play:
        glowplug.set("GLOWPLUG_URL", play.url)
        threading.Timer(0.4, play.ready).start()
        done = glowplug("status", "--wait", "--timeout", "20")
    assert done.code == 0
    assert done.err.index("worker: waiting") < done.err.index("play: 100 % ready")


def test_the_wait_for_a_model_that_nobody_has_names_those_that_are_there(glowplug: Command, tmp_path: Path) -> None:
    with playing(tmp_path / "gateway") as play:
        play.ready()
        glowplug.set("GLOWPLUG_URL", play.url)
        done = glowplug("status", "nobody", "--wait", "--timeout", "0.3")
    assert done.code == 3
    assert "there are: play" in done.error


class Registry:
    """Answers as a client does whose gateway knows one worker."""

    def __init__(self, *statuses: str) -> None:
        self._statuses = list(statuses)

    def workers(self) -> list[dict[str, str]]:
        return [{"instance_id": "w1", "status": self._statuses.pop(0)}]


def test_each_death_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(waiting, "monotonic", lambda: now[0])
    deaths, client = Deaths(), Registry("loading", "offline", "offline", "loading", "offline")
    told = []
    for _ in range(5):
        now[0] += 1.0
        told.append(deaths.look(client))  # type: ignore[arg-type]
    assert told == ["", "w1 has died once", "", "", "w1 has died 2 times"]
