"""One server for a whole session, started by the first test that asks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import pytest

T = TypeVar("T")


def kept(request: pytest.FixtureRequest, key: pytest.StashKey[T], start: Callable[[], AbstractContextManager[T]]) -> T:
    """Return what `start` gives, the same in every module; it ends with the session."""
    stash = request.config.stash
    if key in stash:
        return stash[key]
    running = ExitStack()
    stash[key] = running.enter_context(start())

    def end() -> None:
        # Forgotten first: a session can be torn down and go on, when a test is run again.
        del stash[key]
        running.close()

    request.session.addfinalizer(end)
    return stash[key]
