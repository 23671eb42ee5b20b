"""Users and limits from the settings: what is wrong is said with the fix, and no token is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.assembly.interior import gateway_policy
from glowplug.assembly.users import rates_of, users_of
from glowplug.errors import SettingsError
from glowplug.gateway.policy import Rates, User
from glowplug.settings import Settings

TWO = """
[users.ann]
token = "a-token"
weight = 2
jobs_per_minute = 60

[users.bob]
token_file = "bob.token"

[limits]
jobs_per_minute = 100
tasks = {"digits.generate" = 30}
"""


def written(folder: Path, text: str, **environment: str) -> Settings:
    (folder / "glowplug.toml").write_text(text)
    return Settings.load(environment, folder / "glowplug.toml")


def test_users_and_limits_come_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "bob.token").write_text("b-token\n")
    settings = written(tmp_path, TWO)
    ann = User(name="ann", token="a-token", weight=2.0, jobs_per_minute=60)
    assert users_of(settings) == (ann, User(name="bob", token="b-token"))
    policy = gateway_policy(settings, "worker-token")
    assert policy.access.users[0] == ann
    assert policy.access.needs_token
    assert policy.rates == Rates(jobs_per_minute=100, tasks={"digits.generate": 30})


def test_without_users_nothing_is_asked_for() -> None:
    policy = gateway_policy(Settings.load({}), "worker-token")
    assert not policy.access.needs_token
    assert (policy.access.users, policy.rates) == ((), Rates())


def test_users_let_a_gateway_be_bound_to_all_addresses(tmp_path: Path) -> None:
    written(tmp_path, '[users.ann]\ntoken = "a"', GLOWPLUG_HOST="0.0.0.0").refuse_open_gateway()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[users.ann]\nweight = 2", "users.ann has no token; write one of token and token_file"),
        ('[users.ann]\ntoken = "a"\ntoken_file = "b"', "users.ann has both token and token_file"),
        ('[users.ann]\ntoken_file = "nowhere"', "nowhere cannot be read"),
        ('[users.ann]\ntoken = "hush hush"', "without spaces"),
        ('[users.ann]\ntoken = "tökén"', "plain letters"),
        ('[users."a b"]\ntoken = "hush"', "'a b' cannot be a user's name"),
        ('[users.local]\ntoken = "hush"', "'local' cannot be a user's name"),
        ('[users.ann]\ntoken = "hush"\n[users.bob]\ntoken = "hush"', "users.bob: its token is the one of users.ann"),
        ('[gateway]\ntoken = "hush"\n[users.bob]\ntoken = "hush"', "users.bob: its token is the one of gateway.token"),
    ],
)
def test_what_is_wrong_is_said_with_the_fix(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        users_of(written(tmp_path, text))
    assert said in raised.value.message
    assert "hush" not in raised.value.message


def test_an_empty_token_file_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(SettingsError, match=r"users\.ann"):
        users_of(written(tmp_path, '[users.ann]\ntoken_file = "empty"'))


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "", "٣", "9999999999"])
def test_a_limit_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match=r"limits\.tasks: m\.t"):
        rates_of(Settings.load({"GLOWPLUG_LIMITS_TASKS": "m.t=1"}).limits.__class__(tasks={"m.t": value}))


def test_limits_may_come_from_the_environment() -> None:
    settings = Settings.load({"GLOWPLUG_LIMITS_JOBS_PER_MINUTE": "9", "GLOWPLUG_LIMITS_TASKS": "m.a=1,m.b=2"})
    assert rates_of(settings.limits) == Rates(jobs_per_minute=9, tasks={"m.a": 1, "m.b": 2})
