"""Readiness as a gateway and its workers tell it over HTTP, while real models load, fail and come back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.journeys.followers import EventFollower, Follower, SocketFollower, following, progress_of
from tests.journeys.system import MODELS, System, until

TOKEN = "a-token-for-callers"
BEARER = {"authorization": f"Bearer {TOKEN}"}


def worker_url(plug: System, **headers: str) -> str:
    """Return the address of the only worker, once it has one."""

    def workers() -> list[dict[str, Any]]:
        if not plug.answers("/readyz"):
            return []
        return [one for one in plug.http.get("/v1/workers", headers=headers).json()["workers"] if one["url"]]

    until(workers, "the worker has announced itself", log=plug.log)
    return str(workers()[0]["url"])


def registered(plug: System) -> dict[str, Any]:
    """Return the only worker as other services of the backend see it."""
    token = {"authorization": f"Bearer {plug.worker_token_file.read_text().strip()}"}
    (found,) = plug.http.get("/api/internal/ai-services/status", headers=token).json()["services"]
    return dict(found)


def up_gated(plug: System, gate: Path) -> None:
    plug.up(MODELS / "gated.py", options=["--option", f"gate={gate}"])


def up_failing(plug: System, weights: Path) -> None:
    plug.environment["GLOWPLUG_WORKER_LOAD_ATTEMPTS"] = "1"
    plug.up(MODELS / "needs_file.py", options=["--option", f"file={weights}"])


def reconnect(url: str, last_id: str) -> int:
    """Come back as a browser does, with the last event's id, until told to stay away."""
    for _ in range(10):
        with httpx.stream("GET", f"{url}/api/ready/stream", headers={"last-event-id": last_id}) as answer:
            if answer.status_code == 204:
                return 204
            ids = [line.removeprefix("id: ") for line in answer.iter_lines() if line.startswith("id: ")]
            last_id = ids[-1]
    return 200


def test_a_load_is_followed_to_its_end_at_the_gateway_and_at_the_worker(plug: System, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    up_gated(plug, gate)
    urls = (plug.url, worker_url(plug))
    until(lambda: "gated" in plug.get("/api/ready")["services"], "the model has said its name", log=plug.log)
    with following(*urls) as followers:
        early = plug.http.get("/api/v1/admin/ready")
        assert (early.status_code, early.json()["type"]) == (425, "initialization")
        assert 1 <= int(early.headers["retry-after"]) <= 30
        assert plug.http.get("/ready").status_code == 200, "the gateway itself is ready, or nothing could be scaled"
        assert httpx.get(f"{urls[1]}/ready").status_code == 503
        assert registered(plug)["status"] == "loading"
        for url in urls:
            assert httpx.get(f"{url}/ready/gated").status_code == 503
            assert httpx.get(f"{url}/v2/models/gated/ready").status_code == 503
        gate.touch()
    told = registered(plug)
    assert (told["status"], told["url"], told["error"]) == ("ready", urls[1], None)
    assert told["loadTime"] > 0
    for one in followers:
        assert one.fault is None, (one.url, one.fault)
        assert progress_of(one) == sorted(progress_of(one))
        assert one.seen[0]["progress"] < 100
        assert one.seen[-1]["progress"] == 100
        assert one.seen[-1]["services"]["gated"]["ready"]
        if isinstance(one, SocketFollower):
            assert (one.seen[-1]["phase"], one.code) == ("ready", 1000)
        elif isinstance(one, EventFollower):
            assert one.seen[-1]["state"] == "READY"
            assert reconnect(one.url, one.last_id) == 204
    for url in urls:
        for path in (
            "/ready",
            "/readyz",
            "/ready/gated",
            "/readyz/gated",
            "/v2/health/ready",
            "/v2/models/gated/ready",
        ):
            assert httpx.get(url + path).status_code == 200, path
        assert httpx.get(f"{url}/ready/nobody").status_code == 404
        assert (
            httpx.get(f"{url}/api/ready", headers={"origin": "https://shop.example"}).headers[
                "access-control-allow-origin"
            ]
            == "*"
        )


def test_what_is_answered_while_models_load_can_be_switched(plug: System, tmp_path: Path) -> None:
    plug.environment["GLOWPLUG_NOT_READY_STATUS"] = "503"
    gate = tmp_path / "gate"
    up_gated(plug, gate)
    for url in (worker_url(plug), plug.url):
        early = httpx.get(f"{url}/api/v1/admin/ready")
        assert (early.status_code, early.json()["type"]) == (503, "initialization")
    gate.touch()
    plug.wait_ready("gated")


@pytest.mark.parametrize("whom", ["gateway", "worker"])
def test_a_model_that_failed_is_loaded_again_when_somebody_asks(plug: System, tmp_path: Path, whom: str) -> None:
    weights = tmp_path / "weights"
    up_failing(plug, weights)
    worker = worker_url(plug)
    url = plug.url if whom == "gateway" else worker
    until(lambda: "needsfile" in httpx.get(f"{url}/api/ready").json()["services"], "it is imported", log=plug.log)
    with following(url) as followers:
        pass
    for one in followers:
        service = one.seen[-1]["services"]["needsfile"]
        assert service["status"] == "error"
        assert "weights" in service["error"]
    socket = followers[1]
    assert isinstance(socket, SocketFollower)
    assert (socket.seen[-1]["phase"], socket.code) == ("error", 1000)
    assert httpx.get(f"{url}/api/v1/admin/ready").json()["type"] == "error"

    weights.touch()
    assert httpx.post(f"{url}/api/ready/retry/nobody").status_code == 404
    retried = httpx.post(f"{url}/api/ready/retry")
    assert (retried.status_code, retried.json()) == (202, {"retried": ["needsfile"]})
    with following(url) as followers:
        pass
    for one in followers:
        # Not even the first news after the answer is the old failure.
        assert not [seen for seen in one.seen if seen["services"]["needsfile"]["status"] == "error"]
        assert one.seen[-1]["services"]["needsfile"]["ready"]
    for path in ("/api/ready/retry", "/api/ready/retry/needsfile"):
        refused = httpx.post(url + path)
        assert refused.status_code in (409, 429), "nothing failed, or it was asked a moment ago"
        assert refused.headers["content-type"] == "application/problem+json"
    assert httpx.post(f"{url}/api/ready/retry").status_code == 409
    assert plug.wait_done(plug.submit("needsfile.say", text="at last"))["result"] == "at last"


def test_nobody_can_retry_the_model_of_a_worker_that_has_left(plug: System, tmp_path: Path) -> None:
    plug.environment["EXIT_ON_LOAD_FAILURE"] = "true"
    plug.gateway()
    plug.environment["GLOWPLUG_WORKER_LOAD_ATTEMPTS"] = "1"
    options = {"GLOWPLUG_WORKER_OPTIONS": f"file={tmp_path / 'weights'}"}
    assert plug.worker(MODELS / "needs_file.py", **options).wait(60) == 1, plug.log()
    until(lambda: plug.answers("/readyz"), "the gateway is up", log=plug.log)
    refused = plug.http.post("/api/ready/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_a_warm_up_tells_its_time_and_nothing_stops_being_ready(plug: System, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    up_gated(plug, gate)
    plug.wait_ready("gated")
    first = plug.get("/api/ready")["services"]["gated"]["warmup_time_ms"]
    for url in (plug.url, worker_url(plug)):
        answers = in_the_meantime(
            lambda url=url: httpx.post(f"{url}/api/warmup", timeout=60),  # type: ignore[misc]
            lambda url=url: [httpx.get(f"{url}{path}").status_code for path in ("/ready/gated", "/v2/health/ready")],  # type: ignore[misc]
        )
        warmed, seen = answers
        assert warmed.status_code == 200, warmed.text
        assert warmed.json()["services"]["gated"]["warmup_time_ms"] >= 300
        assert len(seen) > 1
        assert {status for pair in seen for status in pair} == {200}

    def shown() -> bool:
        return bool(plug.get("/api/ready")["services"]["gated"]["warmup_time_ms"] != first)

    until(shown, "the gateway shows the new time", log=plug.log)


def in_the_meantime(
    act: Callable[[], httpx.Response], look: Callable[[], list[int]]
) -> tuple[httpx.Response, list[list[int]]]:
    """Do something that takes its time, and look again and again while it lasts."""
    done: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: done.append(act()))
    thread.start()
    seen = []
    while thread.is_alive():
        seen.append(look())
    return done[0], seen


def test_everybody_may_look_and_only_who_has_the_token_may_act(plug: System) -> None:
    plug.environment["GLOWPLUG_TOKEN"] = TOKEN
    plug.up(MODELS / "echo.py")
    worker = worker_url(plug, **BEARER)
    until(lambda: plug.get("/api/ready")["ready"], "the model is ready", log=plug.log)
    for path in ("/livez", "/readyz", "/startupz", "/health", "/api/ready", "/api/v1/admin/ready", "/ready/echo"):
        assert plug.http.get(path).status_code == 200, path
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/echo/ready", "/glowplug/overlay.js"):
        assert plug.http.get(path).status_code == 200, path
    with following(plug.url) as followers:
        pass
    assert all(one.seen[-1]["progress"] == 100 for one in followers)
    for path, allowed in (("/api/ready/retry", 409), ("/api/ready/retry/echo", 409), ("/api/warmup", 200)):
        assert plug.http.post(path).status_code == 401, path
        assert plug.http.post(path, headers={"authorization": "Bearer guess"}).status_code == 401
        assert plug.http.post(path, headers=BEARER).status_code == allowed, path
        shop = {**BEARER, "origin": "https://shop.example"}
        assert plug.http.post(path, headers=shop).status_code == 403
    # A worker on loopback is open to this machine, and to no page.
    assert httpx.post(f"{worker}/api/warmup").status_code == 200
    for headers in ({"host": "evil.example"}, {"origin": "https://shop.example"}):
        assert httpx.post(f"{worker}/api/warmup", headers=headers).status_code == 403


def test_who_follows_a_server_that_is_told_to_stop_does_not_hold_it_up(plug: System, tmp_path: Path) -> None:
    up_gated(plug, tmp_path / "gate")
    urls = (plug.url, worker_url(plug))
    with following(*urls) as followers:
        plug.programs[-1].terminate()
    # Cut off after the server's grace, they would have ended with a fault.
    assert not [(one.url, one.fault) for one in followers if one.fault]
    assert not any(ready(one) for one in followers)
    assert plug.programs[-1].wait(30) == 0, plug.log()


def ready(follower: Follower) -> bool:
    return any(one["progress"] == 100 for one in follower.seen)
