"""What the gateway is told of the settings, and what its interior is made of."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from glowplug.assembly.gateway import on_port
from glowplug.assembly.interior import Interior, gateway_policy
from glowplug.assembly.opening import make_telemetry
from glowplug.clock import SystemClock
from glowplug.errors import SettingsError
from glowplug.gateway.policy import GatewayPolicy
from glowplug.settings import Settings


def policy(**environment: str) -> GatewayPolicy:
    return gateway_policy(Settings.load(environment), "worker-token")


def test_on_loopback_no_token_is_asked_for() -> None:
    access = policy().access
    assert access.loopback
    assert access.api_token is None
    assert access.worker_token == "worker-token"


def test_elsewhere_the_token_is_the_one_that_is_set() -> None:
    access = policy(GLOWPLUG_HOST="0.0.0.0", GLOWPLUG_TOKEN="hunter2", GLOWPLUG_ALLOWED_HOSTS="a.example, b").access
    assert not access.loopback
    assert access.api_token == "hunter2"
    assert tuple(access.allowed_hosts) == ("a.example", "b")


@pytest.mark.parametrize(
    ("variable", "value", "read", "wanted"),
    [
        ("GLOWPLUG_MAX_INPUT_BYTES", "1KiB", lambda it: it.limits.input_bytes, 1024),
        ("GLOWPLUG_MAX_UPLOAD_BYTES", "2MiB", lambda it: it.limits.artifact_bytes, 2 << 20),
        ("GLOWPLUG_RETENTION_JOBS_SECONDS", "2d", lambda it: it.retention.jobs_seconds, 172_800),
        ("GLOWPLUG_RETENTION_INPUTS_SECONDS", "1h", lambda it: it.retention.inputs_seconds, 3600),
        ("GLOWPLUG_RETENTION_ORPHANS_SECONDS", "2h", lambda it: it.retention.stale_seconds, 7200),
        ("GLOWPLUG_RETENTION_MIN_FREE_BYTES", "7", lambda it: it.min_free_bytes, 7),
        ("AI_SERVICE_MAX_AGE", "5000", lambda it: it.pace.max_age_seconds, 5),
        ("AI_SERVICE_HEALTH_CHECK_INTERVAL", "2000", lambda it: it.pace.probe_seconds, 2),
        ("GLOWPLUG_LEASE_SECONDS", "9", lambda it: it.lease_seconds, 9),
        ("GLOWPLUG_LEASE_SECONDS", "9", lambda it: it.pace.term_seconds, 9),
        ("GLOWPLUG_LEASE_SECONDS", "90", lambda it: it.pace.term_seconds, 10),
        ("GLOWPLUG_URL", "https://gate.example", lambda it: it.public_url, "https://gate.example"),
        ("GLOWPLUG_DATA", "/somewhere", lambda it: it.data_folder, Path("/somewhere")),
    ],
)
def test_every_setting_of_the_gateway_arrives(variable: str, value: str, read: Any, wanted: Any) -> None:
    assert read(policy(**{variable: value})) == wanted


def test_the_port_that_was_really_taken_is_the_one_that_others_are_told() -> None:
    settings = Settings.load({"GLOWPLUG_PORT": "0"})
    assert on_port(settings, 4711).gateway_url == "http://127.0.0.1:4711"
    assert settings.gateway.port == 0


def test_workers_of_this_machine_come_straight_whatever_address_others_are_told() -> None:
    settings = on_port(Settings.load({"GLOWPLUG_PORT": "0", "GLOWPLUG_URL": "https://gate.example"}), 4711)
    assert (settings.gateway_url, settings.local_url) == ("https://gate.example", "http://127.0.0.1:4711")


def interior(folder: Path, **environment: str) -> Interior:
    settings = Settings.load({"GLOWPLUG_DATA": str(folder), "GLOWPLUG_STORE": "memory:", **environment})
    return Interior(settings, SystemClock(), "worker-token", make_telemetry(settings, "worker-token"))


def client_of(rooms: Interior) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=rooms.application)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")


async def test_a_gateway_is_ready_by_itself_and_counts_what_it_has(tmp_path: Path) -> None:
    rooms = interior(tmp_path)
    async with asyncio.timeout(20), rooms, client_of(rooms) as client:
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/v1/jobs")).json()["jobs"] == []
        assert "glowplug_" in (await client.get("/metrics")).text


async def test_a_gateway_that_drains_says_so_before_it_stops(tmp_path: Path) -> None:
    rooms = interior(tmp_path)
    async with asyncio.timeout(20), rooms, client_of(rooms) as client:
        rooms.drain()
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/livez")).status_code == 200


async def test_a_gateway_may_be_started_after_it_was_stopped_without_leaving_anything(tmp_path: Path) -> None:
    for _ in range(2):
        rooms = interior(tmp_path, GLOWPLUG_STORE=f"sqlite:///{tmp_path / 'jobs.db'}")
        async with asyncio.timeout(20), rooms:
            assert rooms.gateway is not None
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert [task for task in others if not task.done()] == []


@pytest.mark.parametrize("variable", ["GLOWPLUG_STORE", "GLOWPLUG_BROKER", "GLOWPLUG_ARTIFACTS"])
def test_an_unknown_adapter_ends_it_before_anything_is_started(tmp_path: Path, variable: str) -> None:
    with pytest.raises(SettingsError, match=variable.removeprefix("GLOWPLUG_").lower()):
        interior(tmp_path, **{variable: "odd://somewhere"})
