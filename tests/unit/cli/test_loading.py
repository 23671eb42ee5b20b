"""`glowplug retry-load` and `glowplug warm-up`."""

from __future__ import annotations

import pytest
from tests.unit.cli.commands import Command
from tests.unit.client.play import Play

from glowplug.client import Client, WarmUpView


def test_what_failed_is_loaded_again(glowplug: Command, play: Play) -> None:
    play.broken()
    done = glowplug("retry-load")
    assert done.code == 0
    assert done.out.startswith("play: loading again")
    assert glowplug("status").code == 0


def test_it_is_one_json_document(glowplug: Command, play: Play) -> None:
    play.broken()
    assert glowplug("retry-load", "play", "--json").json == {"retried": ["play"]}


@pytest.mark.parametrize("model", [[], ["play"]])
def test_with_nothing_failed_it_says_so(glowplug: Command, play: Play, model: list[str]) -> None:
    done = glowplug("retry-load", *model)
    assert done.code == 2
    assert "nothing to retry" in done.error
    assert play.url


def test_a_warm_up_that_went_wrong_is_shown_and_the_exit_code_says_so(glowplug: Command, play: Play) -> None:
    done = glowplug("warm-up")
    assert done.code == 3
    head, row = done.rows
    assert head == ["MODEL", "SECONDS", "ERROR"]
    assert row[:2] == ["play", ""]
    assert "w1" in row[2]
    assert play.url


def test_a_warm_up_shows_what_each_model_took(glowplug: Command, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "warm_up", lambda self: {"play": WarmUpView(1234.0)})
    done = glowplug("warm-up")
    assert (done.code, done.rows[1][:2]) == (0, ["play", "1.23"])
    assert glowplug("warm-up", "--json").json == {"services": {"play": {"warmup_time_ms": 1234.0, "error": None}}}
    assert play.url
