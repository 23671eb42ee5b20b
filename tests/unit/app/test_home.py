"""Doing something on the loop of the application, whoever asks."""

from __future__ import annotations

import asyncio

import pytest

from glowplug.app.home import at_home, is_home
from glowplug.errors import Draining


async def where() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def test_on_the_same_loop_it_is_simply_awaited() -> None:
    here = asyncio.get_running_loop()
    assert is_home(here)
    assert await at_home(here, where()) is here
    assert await at_home(None, where()) is here


async def test_from_another_loop_it_runs_at_home() -> None:
    here = asyncio.get_running_loop()
    assert await asyncio.to_thread(lambda: asyncio.run(at_home(here, where()))) is here


async def test_a_loop_that_has_ended_is_told_of() -> None:
    ended = asyncio.new_event_loop()
    ended.close()
    with pytest.raises(Draining, match="has ended"):
        await at_home(ended, where())


def test_without_a_loop_nobody_is_at_home() -> None:
    loop = asyncio.new_event_loop()
    assert not is_home(loop)
    loop.close()
