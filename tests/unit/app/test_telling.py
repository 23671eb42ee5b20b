"""Who hears of the components: the log, the metrics and a webhook; and what all that costs an application's start."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys

import pytest
from tests.unit.app.rig import SECONDS, until_ready, until_status
from tests.unit.doors.receiver import receiver

from glowplug.app import Readiness
from glowplug.events import emit
from glowplug.readiness import Status

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HEAVY = ["glowplug.process.host", "glowplug.process.weights", "glowplug.job", "glowplug.store", "aiohttp", "alembic"]
HEAVY += ["httpx", "msgspec", "obstore", "platformdirs", "prometheus_client", "psutil", "sqlalchemy", "structlog"]
HEAVY += ["multiprocessing", "numpy", "uvicorn"]


async def test_each_step_is_a_line_in_the_log_of_the_application(
    ready: Readiness, caplog: pytest.LogCaptureFixture
) -> None:
    ready.add("tts", lambda: None)
    with caplog.at_level(logging.INFO, "glowplug"):
        async with ready:
            await until_ready(ready)
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("tts: loading → ready") for line in lines)
    assert any(line.startswith("tts is ready after") for line in lines)


async def test_after_the_end_nothing_is_heard(ready: Readiness, caplog: pytest.LogCaptureFixture) -> None:
    async with ready:
        pass
    caplog.clear()
    emit("store.failed", error="after the end")
    assert caplog.records == []


async def test_a_webhook_hears_that_it_is_ready_and_that_it_leaves() -> None:
    async with asyncio.timeout(SECONDS), receiver() as hook:
        ready = Readiness(webhook=hook.url, webhook_secret=SECRET)
        ready.add("tts", lambda: None)
        async with ready:
            await until_ready(ready)
            while "READY" not in _states(hook.verified(SECRET)):
                await hook.times(len(hook.asked) + 1)
        assert _states(hook.verified(SECRET))[-1] == "DRAINING"


def _states(events: list[dict[str, dict[str, str]]]) -> list[str]:
    return [event["data"]["state"] for event in events]


async def test_a_webhook_that_is_away_holds_up_nothing() -> None:
    ready = Readiness(webhook="http://127.0.0.1:9")
    ready.add("tts", lambda: None)
    async with asyncio.timeout(SECONDS), ready:
        await until_status(ready, "tts", Status.READY)


def test_adding_it_imports_nothing_that_only_some_need() -> None:
    code = f"""
import json, sys
from fastapi import Depends, FastAPI
before = set(sys.modules)
from glowplug import Readiness
ready = Readiness(cache="/nonexistent")
ready.component("tts")(lambda ctx: None)
app = FastAPI(lifespan=ready.lifespan)
app.include_router(ready.router(prefix="/api"))
app.get("/one", dependencies=[ready.require("tts")])(lambda: None)
print(json.dumps(sorted(set({HEAVY!r}) & set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
