"""Which doors the settings open."""

from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.assembly.doors import open_doors
from glowplug.clock import ManualClock
from glowplug.door import Door
from glowplug.errors import SettingsError
from glowplug.settings import Settings


def doors(folder: Path, **environment: str) -> dict[str, Door]:
    own = {"GLOWPLUG_DATA": str(folder), **environment}
    return {door.name: door for door in open_doors(Settings.load(own), ManualClock())}


def test_what_nobody_asks_for_is_not_opened(tmp_path: Path) -> None:
    assert set(doors(tmp_path)) == {"webhook"}


def test_an_address_opens_the_door_to_it(tmp_path: Path) -> None:
    mqtt = {"GLOWPLUG_MQTT_URL": "mqtt://me:secret@broker", "GLOWPLUG_MQTT_PREFIX": "plant/7"}
    events = {"GLOWPLUG_EVENTS_URL": "amqp://me:secret@broker/", "GLOWPLUG_EVENTS_EXCHANGE": "mine"}
    assert set(doors(tmp_path, **mqtt, **events)) == {"webhook", "mqtt", "events"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"GLOWPLUG_MQTT_URL": "http://me:secret@broker"},
        {"GLOWPLUG_MQTT_URL": "mqtt://me:secret@broker", "GLOWPLUG_MQTT_PREFIX": "a/#"},
        {"GLOWPLUG_EVENTS_URL": "http://me:secret@broker"},
    ],
)
def test_an_address_that_is_none_stops_the_start_without_its_password(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as refused:
        doors(tmp_path, **wrong)
    assert "secret" not in str(refused.value)
