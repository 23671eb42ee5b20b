"""Bad input gets one clear line with the fix, and nothing is lost."""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path

import pytest
from tests.journeys.system import MODELS, System, end, until

NOT_AN_IMAGE = b"GIF89a but not really"


@pytest.fixture
def echo(plug: System) -> System:
    """A system with the echo model ready."""
    plug.up(MODELS / "echo.py")
    plug.wait_ready("echo")
    return plug


def one_line(text: str) -> str:
    """Return the one line that says what is wrong; log lines may stand before it, a traceback never."""
    said = [line for line in text.strip().splitlines() if not line.startswith("timestamp=")]
    assert len(said) == 1, text
    assert said[0].startswith("glowplug: error: ")
    return said[0]


def test_requests_that_cannot_be_served_are_told_why(echo: System) -> None:
    unknown = echo.http.post("/v1/jobs", json={"task": "echo.ehco", "input": {}})
    wrong_type = echo.http.post("/v1/jobs", json={"task": "echo.say", "input": {"text": 7}})
    no_json = echo.http.post("/v1/jobs", content=b"text=hello", headers={"content-type": "text/plain"})
    broken = echo.http.post("/v1/jobs", content=b"{", headers={"content-type": "application/json"})
    said = {answer.status_code: answer.json() for answer in (unknown, wrong_type, no_json)}
    assert set(said) == {404, 422, 415}
    assert said[404]["code"] == "unknown_task"
    assert "echo.say" in said[404]["detail"]
    assert "text" in str(said[422])
    assert broken.status_code in (400, 422)
    assert all(
        answer.headers["content-type"].startswith("application/problem+json")
        for answer in (unknown, wrong_type, no_json, broken)
    )
    assert echo.get("/v1/jobs")["jobs"] == []


@pytest.mark.parametrize("key", ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "jobs//x"])
def test_a_path_that_leaves_the_artifact_root_is_refused(echo: System, key: str) -> None:
    answer = echo.http.get(f"/v1/artifacts/{key}")
    assert answer.status_code in (404, 422)
    assert "root:" not in answer.text


def test_a_second_gateway_on_the_same_data_folder_is_refused_and_the_first_goes_on(echo: System) -> None:
    second = echo.run("gateway", "--port", "0")
    assert second.returncode == 2
    assert "data" in one_line(second.stderr)
    assert echo.answers("/readyz")


def test_a_port_in_use_is_named_with_the_way_out(plug: System) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", plug.port))
        taken.listen()
        done = plug.run("gateway", "--port", str(plug.port))
    assert done.returncode == 2
    assert str(plug.port) in one_line(done.stderr)
    assert "--port" in done.stderr


def test_an_unknown_setting_is_refused_with_what_was_meant(plug: System) -> None:
    plug.environment["GLOWPLUG_LEASE_SECONDZ"] = "5"
    done = plug.run("gateway", "--port", "0")
    assert done.returncode == 2
    assert "GLOWPLUG_LEASE_SECONDZ" in one_line(done.stderr)


def test_a_corrupt_database_is_named_and_left_alone(plug: System) -> None:
    data = plug.folder / "data"
    data.mkdir()
    database = data / "glowplug.db"
    database.write_bytes(b"SQLite format 3\x00" + b"\xff" * 8192)
    before = database.read_bytes()
    done = plug.run("gateway", "--port", "0")
    assert done.returncode not in (0, -9)
    assert "glowplug.db" in one_line(done.stderr)
    assert database.read_bytes() == before


def test_a_database_newer_than_the_code_is_refused(plug: System) -> None:
    gateway = plug.gateway()
    until(lambda: plug.answers("/readyz"), "the gateway opens", log=plug.log)
    end(gateway)
    with sqlite3.connect(plug.folder / "data" / "glowplug.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    done = plug.run("gateway", "--port", "0")
    assert done.returncode == 2
    assert "newer" in one_line(done.stderr)


@pytest.mark.parametrize(
    ("target", "said"),
    [("nowhere.py", "nowhere.py"), ("no_such_package.models:Thing", "no_such_package")],
)
def test_a_target_that_does_not_exist_is_refused(plug: System, target: str, said: str) -> None:
    done = plug.run("up", target, "--port", "0")
    assert done.returncode == 2
    assert said in one_line(done.stderr)


def test_a_file_that_is_missing_stops_the_command_before_anything_is_sent(echo: System, tmp_path: Path) -> None:
    done = echo.run("run", "echo.say", f"text=@{tmp_path / 'absent.txt'}")
    assert done.returncode == 2
    assert "absent.txt" in one_line(done.stderr)
    assert echo.get("/v1/jobs")["jobs"] == []


def test_an_upload_over_the_limit_is_refused_while_it_streams(plug: System) -> None:
    plug.environment["GLOWPLUG_MAX_UPLOAD_BYTES"] = "1000"
    plug.gateway()
    until(lambda: plug.answers("/readyz"), "the gateway opens", log=plug.log)
    answer = plug.http.post("/v1/artifacts/big.bin", content=b"x" * 5000)
    assert answer.status_code == 413
    assert answer.json()["code"] == "too_large"
    small = plug.http.post("/v1/artifacts/small.bin", content=b"x" * 10)
    assert small.status_code == 201
