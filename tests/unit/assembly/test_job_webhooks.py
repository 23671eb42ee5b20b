"""The door of webhooks as the settings make it."""

from __future__ import annotations

from typing import Any

import pytest

from glowplug.assembly.doors import job_webhooks, open_doors
from glowplug.clock import ManualClock
from glowplug.door import Door
from glowplug.doors.signatures import new_secret
from glowplug.errors import InvalidInput, SettingsError
from glowplug.job import JobRequest
from glowplug.settings import Settings

PRIVATE = JobRequest(task="echo.say", input={}, webhook="http://127.0.0.1:9000/hook")


def door(**environment: str) -> Door:
    """Return the door of a gateway with these settings."""
    settings = Settings.load({f"GLOWPLUG_{name}": value for name, value in environment.items()})
    return job_webhooks(settings, ManualClock())


@pytest.mark.parametrize(
    ("environment", "allowed"),
    [
        ({}, True),
        ({"HOST": "::1"}, True),
        ({"HOST": "0.0.0.0", "TOKEN": "t"}, False),
        ({"HOST": "0.0.0.0", "TOKEN": "t", "WEBHOOKS_ALLOW_PRIVATE": "true"}, True),
        ({"WEBHOOKS_ALLOW_PRIVATE": "false"}, False),
    ],
)
def test_private_addresses_are_for_a_gateway_on_loopback_unless_somebody_says_so(
    environment: dict[str, Any], allowed: bool
) -> None:
    if allowed:
        assert door(**environment).follower(PRIVATE) is not None
    else:
        with pytest.raises(InvalidInput, match="GLOWPLUG_WEBHOOKS_ALLOW_PRIVATE"):
            door(**environment).follower(PRIVATE)


def test_a_secret_that_is_none_keeps_the_gateway_from_starting_and_is_not_shown() -> None:
    with pytest.raises(SettingsError) as raised:
        door(WEBHOOKS_SECRET="whsec_hunter2")
    assert "hunter2" not in raised.value.message
    assert door(WEBHOOKS_SECRET=new_secret()).name == "webhook"


def test_every_gateway_has_it() -> None:
    assert "webhook" in {one.name for one in open_doors(Settings.load({}), ManualClock())}
