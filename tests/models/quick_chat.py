"""The chat model, looking after its server more often than people need it."""

from __future__ import annotations

from typing import ClassVar

from glowplug.workloads.chat.model import Chat as UsualChat


class Chat(UsualChat):
    """As the usual one."""

    check_seconds: ClassVar[float | None] = 0.2
