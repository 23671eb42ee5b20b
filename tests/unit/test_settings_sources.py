"""Reading any tree of settings: nothing here knows a setting of ours by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from glowplug.errors import SettingsError
from glowplug.settings import Settings
from glowplug.settings_sources import Bytes, Count, Port, Seconds, Secret, Url, read_settings, variable_of


class Oven(Struct, frozen=True, kw_only=True):
    """A group."""

    heat: int = 180
    ready_seconds: Seconds = 60.0
    door: Literal["open", "shut"] = "shut"
    trays: tuple[str, ...] = ()
    lit: bool = False
    key: Secret | None = None


class Kitchen(Struct, frozen=True, kw_only=True):
    """A tree of two levels."""

    place: Path = Path("home")
    space_bytes: Bytes | None = None
    cooks: Count = 1
    phone: Url | None = None
    line: Port = 1
    taste: float = 0.5
    oven: Oven = Oven()


ALIASES = {"OVEN_MS": ("oven.ready_seconds", "ms"), "HEAT": ("oven.heat", "")}
TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=40)


def read(env: dict[str, str] | None = None, toml: Path | None = None, **overrides: Any) -> Kitchen:
    return read_settings(Kitchen, ALIASES, env or {}, toml, overrides)


def test_nothing_said_is_the_defaults() -> None:
    assert read() == Kitchen()


def test_a_setting_s_variable_is_its_path() -> None:
    assert variable_of("oven.heat") == "GLOWPLUG_OVEN_HEAT"
    assert variable_of("place") == "GLOWPLUG_PLACE"
    assert variable_of("gateway.port") == "GLOWPLUG_PORT"


def test_groups_and_their_siblings_are_set_apart() -> None:
    kitchen = read({"GLOWPLUG_OVEN_HEAT": "200", "GLOWPLUG_COOKS": "3"})
    assert kitchen == Kitchen(cooks=3, oven=Oven(heat=200))


@pytest.mark.parametrize(
    ("variable", "text", "setting", "value"),
    [
        ("GLOWPLUG_PLACE", "/tmp/x", "place", Path("/tmp/x")),
        ("GLOWPLUG_SPACE_BYTES", "2KiB", "space_bytes", 2048),
        ("GLOWPLUG_PHONE", "https://x", "phone", "https://x"),
        ("GLOWPLUG_TASTE", "0.25", "taste", 0.25),
        ("GLOWPLUG_LINE", "0", "line", 0),
    ],
)
def test_each_kind_is_read_from_a_text(variable: str, text: str, setting: str, value: Any) -> None:
    assert getattr(read({variable: text}), setting) == value


def test_the_unit_of_an_alias_is_for_bare_numbers_alone() -> None:
    assert read({"OVEN_MS": "1500"}).oven.ready_seconds == 1.5
    assert read({"OVEN_MS": "2m"}).oven.ready_seconds == 120


def test_an_alias_is_named_in_its_own_mistake() -> None:
    with pytest.raises(SettingsError, match=r"^HEAT: 'hot' is not a whole number"):
        read({"HEAT": "hot"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("oven = 3", "oven"),
        ("oven.heat = 'hot'", "oven.heat: 'hot' is not a whole number"),
        ("oven.heat = true", "oven.heat: True is not a whole number"),
        ("place = 3", "place: 3 is not a path"),
        ("phone = 3", "phone: 3 is not a URL"),
        ("oven.trays = 'one'", "a list of texts"),
        ("oven.door = 'ajar'", "one of open, shut"),
        ("oven.key = ''", "a token is a text"),
        ("[oven.heat]\nx = 1", "oven.heat"),
    ],
)
def test_a_wrong_value_in_a_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "kitchen.toml"
    path.write_text(text)
    if said == "a list of texts":
        assert read(toml=path).oven.trays == ("one",)
        return
    with pytest.raises(SettingsError) as caught:
        read(toml=path)
    assert said in caught.value.message
    assert caught.value.message.startswith(str(path))


def test_a_flag_may_be_a_text_or_a_value() -> None:
    assert read(cooks="3").cooks == 3
    assert read(cooks=3).cooks == 3
    with pytest.raises(SettingsError, match=r"^--cooks: 'many' is not"):
        read(cooks="many")


def test_an_underscore_in_a_flag_is_a_dash() -> None:
    with pytest.raises(SettingsError, match=r"^--space-bytes: "):
        read(space_bytes="much")


@given(st.sampled_from(["HEAT", "READY_SECONDS", "DOOR", "TRAYS", "LIT", "KEY"]), TEXT)
def test_any_text_for_any_setting_is_taken_or_refused_in_one_line(name: str, text: str) -> None:
    try:
        read({f"GLOWPLUG_OVEN_{name}": text})
    except SettingsError as error:
        said = error.message
        assert said.startswith(f"GLOWPLUG_OVEN_{name}: ")
        assert "\n" not in said


@given(TEXT)
def test_any_variable_of_ours_is_known_or_refused(name: str) -> None:
    variable = f"GLOWPLUG_{name}"
    try:
        Settings.load({variable: "1", "GLOWPLUG_DATA": "/d", "GLOWPLUG_CACHE": "/c"})
    except SettingsError as error:
        said = error.message
        assert variable.partition("\n")[0] in said


@given(st.integers(0, 10**9), st.sampled_from(["ms", "s", "m", "h", "d", ""]))
def test_every_time_with_a_unit_is_understood(number: int, unit: str) -> None:
    seconds = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}[unit]
    assert read({"GLOWPLUG_OVEN_READY_SECONDS": f"{number}{unit}"}).oven.ready_seconds == pytest.approx(
        number * seconds
    )


@given(st.integers(0, 10**6), st.sampled_from(["", "B", "KB", "KiB", "kib", "MiB", "GiB", "TiB"]))
def test_every_size_with_a_unit_is_understood(number: int, unit: str) -> None:
    powers = {"": 1, "b": 1, "kb": 1000, "kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4}
    assert read({"GLOWPLUG_SPACE_BYTES": f"{number}{unit}"}).space_bytes == number * powers[unit.lower()]
