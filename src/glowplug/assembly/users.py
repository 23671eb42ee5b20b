"""Users and their limits, from the settings: names checked, tokens read from where they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from glowplug.errors import SettingsError
from glowplug.gateway.policy import Rates, User
from glowplug.settings import Settings
from glowplug.settings_doors import LimitSettings, UserSettings

# What comes in through the API without being a user's, and through a door, has these owners.
TAKEN_NAMES = frozenset({"local", "rabbitmq"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def users_of(settings: Settings) -> tuple[User, ...]:
    """Return the users. Raises `SettingsError` for a name or token that cannot be one, with the fix."""
    users = tuple(_user(name, settings.users[name]) for name in sorted(settings.users))
    owners = {settings.gateway.token.reveal(): "gateway.token"} if settings.gateway.token else {}
    for user in users:
        place = f"users.{user.name}"
        if user.token in owners:
            raise SettingsError(f"{place}: its token is the one of {owners[user.token]} too; give each its own")
        owners[user.token] = place
    return users


def rates_of(limits: LimitSettings) -> Rates:
    """Return how many jobs may be submitted in a minute. Raises `SettingsError` for what is no number."""
    return Rates(jobs_per_minute=limits.jobs_per_minute, tasks=_by_task(limits.tasks))


def _by_task(told: Mapping[str, str]) -> dict[str, int]:
    for task, value in told.items():
        if not (value.isascii() and value.isdecimal() and 0 < int(value) < 10**9):
            raise SettingsError(
                f"limits.tasks: {task} = {value[:40]!r} is not a number of jobs a minute; write 60, say"
            )
    return {task: int(value) for task, value in told.items()}


def _user(name: str, told: UserSettings) -> User:
    if name in TAKEN_NAMES or not _NAME.fullmatch(name):
        raise SettingsError(
            f"users: {name[:80]!r} cannot be a user's name; take up to 64 letters, digits, '.', '_', '@' and '-', "
            f"and none of {', '.join(sorted(TAKEN_NAMES))}"
        )
    return User(name=name, token=_token(name, told), weight=told.weight, jobs_per_minute=told.jobs_per_minute)


def _token(name: str, told: UserSettings) -> str:
    if (told.token is None) == (told.token_file is None):
        what = "has no token" if told.token is None else "has both token and token_file"
        raise SettingsError(f"users.{name} {what}; write one of token and token_file into [users.{name}]")
    token = told.token.reveal() if told.token is not None else _read(name, told.token_file)
    if not token or not token.isascii() or any(letter <= " " or letter == "\x7f" for letter in token):
        raise SettingsError(f"users.{name}: a token is plain letters, digits and signs without spaces between them")
    return token


def _read(name: str, path: Path | None) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() if path is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"users.{name}: token_file {path} cannot be read: {error}") from error
