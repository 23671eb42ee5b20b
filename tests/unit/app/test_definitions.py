"""What a developer got wrong is said where it stands, and not to the first visitor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest
from tests.unit.app.rig import until_ready

from glowplug import Model
from glowplug.app import Readiness
from glowplug.app.options import ComponentOptions, ReadinessOptions, read_options
from glowplug.errors import Conflict, SettingsError
from glowplug.readiness import Gates


def nothing(ctx: Any) -> None:
    """Load nothing."""


class Echo(Model):
    """A model that can be found by another process."""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optional": True}, "there is no option 'optional'"),
        ({"isolate": True}, "isolate=True needs a Model"),
        ({"gates": "sometimes"}, "gates is 'always' or 'start'"),
        ({"retries": -1}, "retries is a number"),
        ({"retries": "many"}, "retries is a number"),
        ({"startup_timeout": 0}, "startup_timeout is a number of seconds above 0"),
        ({"warmup_timeout": "60"}, "warmup_timeout is a number of seconds"),
        ({"stall_timeout": float("inf")}, "stall_timeout is a number of seconds"),
        ({"check_every": True}, "check_every is a number of seconds"),
        ({"warm_up": "say_hello"}, "warm_up: a function is expected"),
        ({"warm_up": lambda one, two: None}, "1 argument at most, and wants (one, two)"),
        ({"check": 3}, "check: a function is expected"),
        ({"weights": "s3://bucket/net"}, "weights is a mapping"),
    ],
)
def test_a_wrong_option_is_refused_with_the_right_ones(ready: Readiness, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        ready.add("tts", nothing, **options)
    assert said in refused.value.message
    assert ready.loaders == {}


@pytest.mark.parametrize("name", ["", "a/b", "with space", "stream", "retry", "é", "x" * 65, 3, "-a"])
def test_a_name_that_cannot_stand_in_an_address_is_refused(ready: Readiness, name: Any) -> None:
    with pytest.raises(SettingsError, match="cannot be a name"):
        ready.add(name, nothing)


def test_a_decorator_without_a_name_is_refused_before_anything_waits_for_it(ready: Readiness) -> None:
    with pytest.raises(SettingsError, match=r'@ready.component\("nothing"\)'):
        ready.component(nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["tts", "llama-3.1", "A_1"])
def test_usual_names_are_taken(ready: Readiness, name: str) -> None:
    ready.add(name, nothing)
    assert list(ready.loaders) == [name]


def test_a_name_is_taken_once(ready: Readiness) -> None:
    ready.add("tts", nothing)
    with pytest.raises(Conflict, match="already"):
        ready.add("tts", nothing)


def generator(ctx: Any) -> Iterator[str]:
    """Load as a dependency or a lifespan would."""
    yield "voice"


async def asynchronous_generator(ctx: Any) -> AsyncIterator[str]:
    """Load as a dependency or a lifespan would."""
    yield "voice"


@pytest.mark.parametrize("load", [generator, asynchronous_generator, partial(generator)])
def test_a_loader_that_yields_is_refused_as_its_value_would_be_a_generator(ready: Readiness, load: Any) -> None:
    with pytest.raises(SettingsError, match="write `return` instead of `yield`"):
        ready.add("tts", load)


@pytest.mark.parametrize("load", [lambda one, two: None, lambda *, keyword: None, "load_tts", None])
def test_a_loader_that_cannot_be_called_with_a_context_is_refused(ready: Readiness, load: Any) -> None:
    with pytest.raises(SettingsError, match="component"):
        ready.add("tts", load)


@pytest.mark.parametrize(
    "load",
    [
        lambda: 1,
        lambda ctx: 1,
        lambda ctx, more=2: 1,
        lambda voice="amy": voice.upper(),
        lambda *all_of_it: 1,
        partial(nothing),
    ],
)
async def test_a_loader_takes_the_context_or_nothing(ready: Readiness, load: Any) -> None:
    ready.add("tts", load)
    async with ready:
        await until_ready(ready)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"early_status": 404}, "early_status is 425 or 503"),
        ({"warmup_timeout": -1}, "warmup_timeout is a number"),
        ({"tokens": "x"}, "there is no option 'tokens'"),
        ({"webhook": "not an address"}, "webhook"),
    ],
)
def test_a_wrong_option_of_the_whole_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Readiness(**options)
    assert said in refused.value.message


def test_the_token_is_shown_to_nobody() -> None:
    shown = repr(Readiness(token="secret-token", webhook_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").options)
    assert "secret-token" not in shown
    assert "whsec" not in shown


def test_the_decorator_gives_back_what_it_got(ready: Readiness) -> None:
    assert ready.component("tts")(nothing) is nothing
    assert ready.component("echo")(Echo) is Echo


def test_what_can_be_checked_gates_the_start_alone() -> None:
    assert ComponentOptions().chosen_gates is Gates.ALWAYS
    assert ComponentOptions(check=nothing).chosen_gates is Gates.START
    assert ComponentOptions(check=nothing, gates="always").chosen_gates is Gates.ALWAYS


def test_times_are_those_of_the_whole_where_a_component_says_nothing() -> None:
    whole = ReadinessOptions(startup_timeout=7, warmup_timeout=8)
    deadlines = read_options(ComponentOptions, {"warmup_timeout": 3}, "tts").deadlines(whole)
    assert (deadlines.startup_seconds, deadlines.warm_up_seconds, deadlines.stall_seconds) == (7, 3, 300)


def test_a_component_must_not_be_added_from_outside_the_loop_once_it_runs(ready: Readiness) -> None:
    async def serve() -> None:
        async with ready:
            with pytest.raises(Conflict, match="from its event loop"):
                await asyncio.to_thread(ready.add, "late", nothing)

    asyncio.run(serve())


async def test_names_that_are_required_are_checked_at_the_start(ready: Readiness) -> None:
    ready.add("tts", nothing)
    ready.add("chat", nothing)
    ready.require("tts", "speech")
    with pytest.raises(SettingsError, match="no component named 'speech'; there are: chat, tts"):
        await ready.start()
    assert not ready.started


@pytest.mark.parametrize("name", ["weights", "warm_up", "check"])
def test_what_belongs_to_an_isolated_model_is_refused_beside_it(ready: Readiness, name: str) -> None:
    values = {"weights": {"net": "x"}, "warm_up": nothing, "check": nothing}
    with pytest.raises(SettingsError, match=f"{name} is a part of the model Echo"):
        ready.add("echo", Echo, isolate=True, **{name: values[name]})  # type: ignore[misc]


def test_a_model_that_another_process_cannot_find_is_refused_at_once(ready: Readiness) -> None:
    class Inner(Model):
        """Stands in a function."""

    with pytest.raises(SettingsError, match="move it to the top level of a file"):
        ready.add("inner", Inner, isolate=True)
