"""Pretending: an application's own tests decide how its components stand, and nothing is loaded."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import glowplug.testing
from glowplug import Readiness
from glowplug.errors import Conflict, InvalidInput, LoadFailed, NotFound, NotReady
from glowplug.testing import pretend


class Shop:
    """An application with a voice that takes long, an optional ear, and a chat server elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.loads: list[str] = []
        self.ready = Readiness(cache=folder / "cache", data=folder / "data")
        self.ready.add("tts", self.load_tts)
        self.ready.add("stt", self.load_tts, required=False)
        self.ready.add("chat", self.load_tts, check=lambda chat: True, check_every=0.001)
        self.app = FastAPI(lifespan=self.ready.lifespan)
        self.app.include_router(self.ready.router())
        self.app.post("/speak", dependencies=[self.ready.require("tts")])(self.speak)

    def load_tts(self) -> str:
        self.loads.append("tts")
        return "the real one"

    def speak(self, text: str) -> dict[str, str]:
        return {"audio": self.ready["tts"](text)}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def say(client: TestClient, text: str = "hi") -> Any:
    return client.post("/speak", params={"text": text})


def service(client: TestClient, name: str = "tts") -> dict[str, Any]:
    found: dict[str, Any] = client.get("/api/ready").json()["services"][name]
    return found


def test_nothing_loads_and_nothing_is_ready_until_the_test_says_so(shop: Shop) -> None:
    with pretend(shop.ready), TestClient(shop.app) as client:
        assert say(client).status_code == 425
        assert client.get("/readyz").status_code == 503
        assert service(client)["status"] == "pending"
    assert shop.loads == []


def test_a_ready_component_gives_the_value_of_the_test(shop: Shop) -> None:
    with pretend(shop.ready) as models, TestClient(shop.app) as client:
        models.ready("tts", value=str.upper)
        assert say(client).json() == {"audio": "HI"}
        assert client.get("/readyz").status_code == 503


def test_without_a_name_everything_is_ready(shop: Shop) -> None:
    with pretend(shop.ready) as models, TestClient(shop.app) as client:
        models.ready(value=str.upper)
        assert client.get("/readyz").status_code == 200
        assert shop.ready["chat"] is str.upper


def test_what_is_said_before_the_start_holds_from_the_start(shop: Shop) -> None:
    with pretend(shop.ready) as models:
        models.ready("tts", value=str.upper)
        models.fail("chat", "refused")
        with TestClient(shop.app) as client:
            assert say(client).status_code == 200
            assert service(client, "chat")["error"] == "refused"


def test_what_was_said_holds_when_the_application_is_started_again(shop: Shop) -> None:
    with pretend(shop.ready) as models:
        models.slow("tts", percent=30, seconds_left=9)
        for _ in range(2):
            with TestClient(shop.app) as client:
                assert service(client)["progress"] == 30
                assert service(client)["estimated_seconds"] == 9


def test_a_slow_component_is_as_far_as_the_test_says(shop: Shop) -> None:
    with pretend(shop.ready) as models, TestClient(shop.app) as client:
        models.slow("tts", percent=40, seconds_left=12)
        early = say(client)
        assert early.status_code == 425
        assert early.headers["retry-after"] == "12"
        assert (early.json()["progress"], early.json()["estimated_seconds"]) == (40, 12)


def test_a_slow_component_without_a_time_has_no_estimate(shop: Shop) -> None:
    with pretend(shop.ready) as models, TestClient(shop.app) as client:
        models.slow("tts", percent=99)
        assert service(client)["progress"] == 99
        assert "estimated_seconds" not in service(client)
        assert say(client).headers["retry-after"] == "2"


def test_a_slow_component_moves_on_within_its_attempt_and_back_only_in_a_new_one(shop: Shop) -> None:
    with pretend(shop.ready) as models, TestClient(shop.app) as client:
        for percent in (10, 40, 40, 80):
            models.slow("tts", percent=percent, seconds_left=100 - percent)
            assert service(client)["progress"] == percent
            assert service(client)["estimated_seconds"] == 100 - percent
            assert "attempt" not in service(client)
        models.slow("tts", percent=10)
        assert (service(client)["progress"], service(client)["attempt"]) == (10, 2)


async def test_every_step_reaches_those_who_watch(shop: Shop) -> None:
    with pretend(shop.ready) as models:
        async with asyncio.timeout(20), shop.ready, shop.ready.subscribe() as news:
            for wanted in ((0, 3), (10, 2), (10, 1), (99, 1)):
                models.slow("tts", percent=wanted[0], seconds_left=wanted[1])
                async for snapshot in news:
                    tts = snapshot.find("tts")
                    if tts is not None and (int(tts.percent), tts.estimated_seconds) == wanted:
                        break


def test_a_failed_component_answers_503_with_its_error_until_it_is_ready_again(shop: Shop) -> None:
    with pretend(shop.ready) as models, TestClient(shop.app) as client:
        models.fail("tts", "Out of memory", "out_of_memory")
        assert say(client).status_code == 503
        assert "TTS initialization failed: Out of memory" in client.get("/api/ready").json()["errors"]
        assert service(client)["error_class"] == "out_of_memory"
        with pytest.raises(LoadFailed, match="Out of memory"):
            shop.ready["tts"]
        models.ready("tts", value=str.upper)
        assert say(client).status_code == 200


def test_a_retry_of_a_failed_component_loads_until_the_test_says_more(shop: Shop) -> None:
    with pretend(shop.ready) as models, TestClient(shop.app, "http://127.0.0.1", client=("127.0.0.1", 1234)) as client:
        models.fail("tts")
        assert client.post("/api/ready/retry/tts").is_success
        assert say(client).status_code == 425
        models.ready("tts", value=str.upper)
        assert say(client).status_code == 200
    assert shop.loads == []


def test_a_component_keeps_its_value_when_it_comes_back(shop: Shop) -> None:
    with pretend(shop.ready) as models, TestClient(shop.app) as client:
        models.ready("tts", value=str.upper)
        models.slow("tts", percent=50)
        assert say(client).status_code == 425
        models.ready("tts")
        assert say(client).json() == {"audio": "HI"}


def test_an_unavailable_component_says_why(shop: Shop) -> None:
    with pretend(shop.ready) as models, TestClient(shop.app) as client:
        models.unavailable("stt")
        models.ready("tts", "chat")
        assert (service(client, "stt")["status"], service(client, "stt")["reason"]) == ("unavailable", "not_installed")
        assert client.get("/readyz").status_code == 200


def test_a_server_elsewhere_that_dies_later_leaves_the_whole_ready(shop: Shop) -> None:
    with pretend(shop.ready) as models, TestClient(shop.app) as client:
        models.ready()
        models.fail("chat", "connection refused")
        assert client.get("/readyz").status_code == 200
        assert service(client, "chat")["ready"] is False


def test_warming_up_is_pretended_too(shop: Shop) -> None:
    with pretend(shop.ready) as models, TestClient(shop.app, "http://127.0.0.1", client=("127.0.0.1", 1234)) as client:
        models.ready("tts")
        assert client.post("/api/warmup").status_code == 200
        assert service(client)["warmup_time_ms"] == 0.0


async def test_it_works_without_a_web_client_too(shop: Shop) -> None:
    with pretend(shop.ready) as models:
        async with asyncio.timeout(20), shop.ready:
            assert not shop.ready.is_ready("tts")
            waiting = asyncio.create_task(shop.ready.wait_until_ready("tts"))
            models.ready("tts", value=1)
            assert (await waiting).only(["tts"]).ready
            assert shop.ready["tts"] == 1


async def test_it_works_over_an_asgi_transport(shop: Shop) -> None:
    transport = httpx.ASGITransport(shop.app)
    with pretend(shop.ready) as models:
        async with (
            asyncio.timeout(20),
            shop.ready,
            httpx.AsyncClient(transport=transport, base_url="http://a") as client,
        ):
            assert (await client.post("/speak", params={"text": "hi"})).status_code == 425
            models.ready("tts", value=str.upper)
            assert (await client.post("/speak", params={"text": "hi"})).json() == {"audio": "HI"}


def test_afterwards_the_real_components_load_again(shop: Shop) -> None:
    real = dict(shop.ready.loaders)
    with pretend(shop.ready) as models, TestClient(shop.app):
        models.ready(value="pretended")
    assert shop.ready.loaders == real

    async def loaded() -> Any:
        async with asyncio.timeout(20), shop.ready:
            await shop.ready.wait_until_ready()
            return shop.ready["tts"]

    assert asyncio.run(loaded()) == "the real one"


def test_it_is_undone_when_the_test_fails(shop: Shop) -> None:
    real = dict(shop.ready.loaders)
    with pytest.raises(ZeroDivisionError), pretend(shop.ready):
        raise ZeroDivisionError
    assert shop.ready.loaders == real


def test_no_pretended_load_is_remembered(shop: Shop, tmp_path: Path) -> None:
    with pretend(shop.ready) as models, TestClient(shop.app):
        models.slow("tts", percent=50, seconds_left=1)
        models.ready("tts")
    assert list(tmp_path.rglob("loads.json")) == []


async def test_it_comes_too_late_for_an_application_that_runs(shop: Shop) -> None:
    async with asyncio.timeout(20), shop.ready:
        with pytest.raises(Conflict, match="before it starts"), pretend(shop.ready):
            pass


def test_an_unknown_name_is_refused(shop: Shop) -> None:
    with pretend(shop.ready) as models:
        for act in (models.ready, models.slow, models.fail, models.unavailable):
            with pytest.raises(NotFound, match="tta"):
                act("tta")


@pytest.mark.parametrize(("percent", "seconds_left"), [(100, 1), (-1, 1), (0, -1)])
def test_progress_that_cannot_be_is_refused(shop: Shop, percent: float, seconds_left: float) -> None:
    with pretend(shop.ready) as models, pytest.raises(InvalidInput, match="slow"):
        models.slow("tts", percent=percent, seconds_left=seconds_left)


async def test_what_is_not_ready_has_no_value(shop: Shop) -> None:
    with pretend(shop.ready) as models:
        async with asyncio.timeout(20), shop.ready:
            models.slow("tts", seconds_left=7)
            with pytest.raises(NotReady) as refused:
                shop.ready["tts"]
            assert refused.value.data["retry_after"] == 7


def test_the_front_door_is_light_and_lists_what_it_offers() -> None:
    code = (
        "import sys, json, glowplug.testing\n"
        "print(json.dumps([n for n in ('pytest', 'fastapi', 'starlette', 'asyncio', 'unittest') if n in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
    assert {"Pretence", "pretend"} <= set(dir(glowplug.testing))
    assert not hasattr(glowplug.testing, "nonsense")


def test_pretending_needs_no_pytest() -> None:
    code = "import sys; from glowplug.testing import pretend; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
