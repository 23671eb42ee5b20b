"""What a developer is told of mistakes that nothing else would show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.app.rig import until_ready

from glowplug import Readiness
from glowplug.app.attempts import STANDSTILL_SECONDS
from glowplug.app.past import OwnPast
from glowplug.errors import NotReady
from glowplug.events import EventSpec, set_sink
from glowplug.readiness import Load, MemoryHistories


@pytest.fixture
def heard() -> Iterator[dict[str, list[dict[str, Any]]]]:
    """Return the fields of each event by its name."""
    events: dict[str, list[dict[str, Any]]] = {}

    def hear(spec: EventSpec, fields: dict[str, Any]) -> None:
        events.setdefault(spec.name, []).append(fields)

    previous = set_sink(hear)
    yield events
    set_sink(previous)


async def test_a_coroutine_that_blocks_the_server_is_told_with_the_way_out(
    ready: Readiness, heard: dict[str, list[dict[str, Any]]]
) -> None:
    async def load() -> str:
        time.sleep(STANDSTILL_SECONDS + 1.2)
        return "voice"

    ready.add("tts", load)
    async with ready:
        await until_ready(ready)
    [told] = heard["app.standstill"]
    assert told["component"] == "tts"
    assert told["seconds"] > STANDSTILL_SECONDS
    assert "`def` instead of `async def`" in told["advice"]


async def test_a_load_that_lets_the_server_be_is_not_told(
    ready: Readiness, heard: dict[str, list[dict[str, Any]]]
) -> None:
    ready.add("tts", lambda: time.sleep(0.05))
    async with ready:
        await until_ready(ready)
    assert "app.standstill" not in heard


async def test_an_application_without_components_is_told_that_it_will_never_be_ready(
    ready: Readiness, heard: dict[str, list[dict[str, Any]]]
) -> None:
    async with ready:
        assert not ready.is_ready()
    assert len(heard["app.empty"]) == 1


def test_a_value_that_is_asked_for_while_a_module_is_imported_says_where_to_ask(ready: Readiness) -> None:
    ready.add("tts", lambda: "voice")
    with pytest.raises(NotReady, match="inside a route"):
        ready["tts"]


async def test_components_of_one_name_in_two_applications_learn_apart(tmp_path: Path) -> None:
    def first() -> str:
        return "first"

    def second() -> str:
        return "second"

    for load, model, knows in ((first, None, False), (first, None, True), (second, None, False)):
        ready = Readiness(cache=tmp_path)
        ready.add("tts", load, model=model)
        assert (ready.snapshot().components[0].estimate is not None) is knows
        async with ready:
            await until_ready(ready)


async def test_a_model_that_is_named_is_one_for_all(tmp_path: Path) -> None:
    for load, knows in ((lambda: 1, False), (lambda: 2, True)):
        ready = Readiness(cache=tmp_path)
        ready.add("tts", load, model="kokoro")
        assert (ready.snapshot().components[0].estimate is not None) is knows
        async with ready:
            await until_ready(ready)


def test_what_is_told_apart_is_found_again() -> None:
    kept = MemoryHistories()
    past = OwnPast(kept)
    past.tell_apart("tts@", "app.py:load")
    past.record("tts@", Load((("load", 1.0),)))
    past.record("chat@", Load((("load", 2.0),)))
    assert len(past.past("tts@").loads) == len(past.past("chat@").loads) == 1
    assert not kept.past("tts@").loads
