"""Conversations on the gateway, as far as they need no model: who may begin one, and when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.house import policy
from tests.unit.gateway.served import close_of, served
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from glowplug.assembly.conversations import conversations_of
from glowplug.clock import SystemClock
from glowplug.gateway.policy import GatewayPolicy, User

API = "operator-token"
GUARDED = {"api_token": API, "users": (User(name="ada", token="ada-token"),)}


@asynccontextmanager
async def gateway(folder: Path, chosen: GatewayPolicy | None = None) -> AsyncIterator[str]:
    """Serve a gateway without models and yield its address for WebSockets."""
    conversations = conversations_of(4, SystemClock())
    async with served(folder, chosen=chosen, conversations=conversations) as house:
        yield str(house.client.base_url).rstrip("/").replace("http", "ws")


async def test_before_the_models_are_there_it_closes_with_try_again_later(tmp_path: Path) -> None:
    async with gateway(tmp_path) as url, connect(f"{url}/ws/conversation") as socket:
        assert await close_of(socket) == (1013, "tts is not ready: no model here serves audio/speech")


@pytest.mark.parametrize("query", ["?format=midi", f"?voice={'x' * 300}"])
async def test_an_address_that_makes_no_sense_is_refused_with_a_reason(tmp_path: Path, query: str) -> None:
    async with gateway(tmp_path) as url, connect(f"{url}/ws/conversation{query}") as socket:
        code, reason = await close_of(socket)
    assert code == 1008
    assert "format" in reason or "too long" in reason


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [({}, False), ({"Authorization": "Bearer wrong"}, False)]
    + [({"Authorization": f"Bearer {token}"}, True) for token in (API, "ada-token")],
)
async def test_where_a_token_is_needed_the_operator_and_users_may_talk(
    tmp_path: Path, headers: dict[str, Any], allowed: bool
) -> None:
    async with gateway(tmp_path, policy(access=GUARDED)) as url:
        if not allowed:
            with pytest.raises(InvalidStatus, match="403"):
                await connect(f"{url}/ws/conversation", additional_headers=headers)
            return
        async with connect(f"{url}/ws/conversation", additional_headers=headers) as socket:
            assert (await close_of(socket))[0] == 1013
        async with connect(f"{url}/ws/test", additional_headers=headers) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
