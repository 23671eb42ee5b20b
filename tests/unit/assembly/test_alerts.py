"""Who is told of changes, as the settings say."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from tests.unit.doors.receiver import receiver

from glowplug.assembly.alerts import alerts_of
from glowplug.clock import SystemClock
from glowplug.doors.signatures import new_secret
from glowplug.errors import SettingsError
from glowplug.readiness import Board
from glowplug.settings import Settings

BOUND = 20


def settings(**alerts: str) -> Settings:
    return Settings.load({f"GLOWPLUG_ALERTS_{name.upper()}": value for name, value in alerts.items()})


def test_nobody_is_told_unless_somebody_is_named() -> None:
    board = Board()
    assert alerts_of(settings(), board, SystemClock(), "w1") == ()
    assert alerts_of(settings(webhook_secret=new_secret()), board, SystemClock(), "w1") == ()
    assert alerts_of(settings(webhook_url="https://h/", enabled="false"), board, SystemClock(), "w1") == ()


@pytest.mark.parametrize("secrets", [1, 2, 0])
async def test_the_webhook_is_told_signed_with_each_secret(secrets: int) -> None:
    keys = [new_secret() for _ in range(secrets)]
    async with asyncio.timeout(BOUND), receiver() as it:
        wanted = settings(webhook_url=f"{it.url}/hook", **({"webhook_secret": " ".join(keys)} if keys else {}))
        board = Board()
        async with AsyncExitStack() as life:
            for part in alerts_of(wanted, board, SystemClock(), "w1"):
                await life.enter_async_context(part)
            tts = board.add("tts")
            tts.begin()
            tts.ready()
            await it.times(1)
            board.drain()
        assert "webhook-signature" in it.asked[0][0] or not keys
        for key in keys:
            states = [body["data"]["state"] for body in it.verified(key)]
            assert states == ["READY", "DRAINING"]
            assert {body["data"]["instance"] for body in it.verified(key)} == {"w1"}


@pytest.mark.parametrize(
    "alerts",
    [{"webhook_url": "hooks.example.com/hunter2"}, {"webhook_url": "https://h/", "webhook_secret": "whsec_hunter2"}],
)
def test_what_cannot_work_is_refused_at_the_start_and_not_shown(alerts: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="webhook") as caught:
        alerts_of(settings(**alerts), Board(), SystemClock(), "w1")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(settings(**alerts))
