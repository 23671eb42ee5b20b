"""What somebody who means harm can send or do to a running system, and what is left of it afterwards."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from tests.journeys.system import MODELS, System, assert_told_once, system, until
from tests.models.train_steps import expected

ECHO = MODELS / "echo.py"
TRAINER = MODELS / "train_steps.py"
SECRETS = ("api-secret-of-this-test", "worker-secret-of-this-test-1234567890")


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with system(tmp_path_factory.mktemp("attacked")) as plug:
        plug.up(ECHO)
        plug.wait_ready("echo")
        yield plug
        assert plug.wait_done(plug.submit("echo.say", text="still here"))["result"] == "still here"


def raw(plug: System, request: bytes) -> bytes:
    """Send bytes as they are; return what comes until the connection is closed."""
    with socket.create_connection(("127.0.0.1", plug.port), timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", *headers, "Connection: close", "\r\n"]).encode()


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example"],
        ["127.0.0.1.evil.example"],
        ["evil.example@localhost"],
        ["localhost/evil.example"],
        ["localhost", "evil.example"],
        [],
    ],
)
def test_a_name_that_is_not_this_machines_gets_nothing(echo: System, hosts: list[str]) -> None:
    assert raw(echo, get("/v1/jobs", *(f"Host: {host}" for host in hosts))).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "path", ["/api/internal/artifacts", "/api/%69nternal/artifacts", "/api/internal/../internal/x"]
)
def test_no_spelling_of_a_workers_route_opens_it(echo: System, path: str) -> None:
    assert raw(echo, get(path, "Host: localhost")).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2ftokens/worker",
        "inputs/..%2f..%2ftokens%2fworker",
        "/etc/passwd",
        "inputs\\..\\x",
        ".uploads/x",
        "a%00",
    ],
)
def test_no_spelling_of_a_key_leaves_the_store(echo: System, path: str) -> None:
    answer = raw(echo, get(f"/v1/artifacts/{path}", "Host: localhost"))
    assert answer.startswith((b"HTTP/1.1 422", b"HTTP/1.1 404"))
    assert echo.worker_token_file.read_bytes().strip() not in answer


def test_headers_without_end_are_cut_off(echo: System) -> None:
    assert raw(echo, b"GET /livez HTTP/1.1\r\nX: " + b"a" * 70_000).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"run_at": "0001-01-01T00:00:00+14:00"}, 422),
        ({"run_at": "9999-12-31T23:59:59-14:00"}, 422),
        ({"webhook": "http://host/\r\nX: y"}, 422),
        ({"priority": 10**30}, 422),
    ],
)
def test_a_value_that_nobody_could_read_again_is_refused_and_the_queue_goes_on(
    echo: System, said: dict[str, object], status: int
) -> None:
    body = {"task": "echo.say", "input": {"text": "x"}, **said}
    assert echo.http.post("/v1/jobs", json=body).status_code == status
    assert echo.http.get("/v1/jobs").status_code == 200


def test_sixteen_submits_at_once_with_one_key_are_one_job(echo: System) -> None:
    def submit(number: int) -> tuple[int, str]:
        body = {"task": "echo.say", "input": {"text": "same"}}
        answer = httpx.post(f"{echo.url}/v1/jobs", json=body, headers={"Idempotency-Key": "one"}, timeout=30)
        return answer.status_code, answer.json()["id"]

    with ThreadPoolExecutor(16) as threads:
        answers = Counter(threads.map(submit, range(16)))
    assert list(answers.values()) == [16]
    assert next(iter(answers))[0] == 202


def test_cancels_that_race_the_end_leave_one_end(echo: System) -> None:
    def cancel(job: str) -> int:
        return httpx.post(f"{echo.url}/v1/jobs/{job}/cancel", json={}, timeout=30).status_code

    with ThreadPoolExecutor(4) as threads:
        for _ in range(10):
            job = echo.submit("echo.say", text="x")
            statuses = set(threads.map(cancel, [job] * 4))
            state = echo.wait_done(job)["state"]
            assert_told_once(echo.events(job))
            assert statuses <= {202, 409}
            assert state in ("completed", "canceled")


def test_watchers_who_never_read_hold_up_nobody(echo: System) -> None:
    later = {"task": "echo.say", "input": {"text": "x"}, "run_at": "2099-01-01T00:00:00Z"}
    job = echo.http.post("/v1/jobs", json=later).json()["id"]
    request = get(f"/v1/jobs/{job}/events", "Host: localhost")
    watchers = [socket.create_connection(("127.0.0.1", echo.port)) for _ in range(200)]
    try:
        for watcher in watchers:
            watcher.sendall(request)
        assert echo.wait_done(echo.submit("echo.say", text="beside"), limit=10)["result"] == "beside"
        assert echo.http.post(f"/v1/jobs/{job}/cancel", json={}).json()["state"] == "canceled"
    finally:
        for watcher in watchers:
            watcher.close()


def test_secrets_are_in_no_command_line_no_model_process_no_log_and_no_answer(tmp_path: Path) -> None:
    api, worker = SECRETS
    with system(tmp_path, GLOWPLUG_TOKEN=api, GLOWPLUG_WORKER_TOKEN=worker) as plug:
        plug.http.headers["authorization"] = f"Bearer {api}"
        plug.up(ECHO)
        plug.wait_ready("echo")
        assert plug.wait_done(plug.submit("echo.say", text="x"))["state"] == "completed"
        assert httpx.get(f"{plug.url}/v1/jobs", headers={"authorization": "Bearer wrong"}).status_code == 401
        family = [psutil.Process(plug.programs[0].pid), *psutil.Process(plug.programs[0].pid).children(recursive=True)]
        said = [" ".join(process.cmdline()) for process in family]
        said += ["".join(psutil.Process(pid).environ().values()) for pid in plug.child_pids()]
        said += [plug.log(), *(plug.http.get(path).text for path in ("/v1/workers", "/metrics", "/v1/models"))]
        assert len(plug.child_pids()) == 1
        assert [text for text in said if api in text or worker in text] == []
        assert oct(plug.worker_token_file.stat().st_mode & 0o777) == "0o600"


def test_beyond_loopback_without_a_token_nothing_is_opened(plug: System) -> None:
    ended = plug.run("gateway", "--host", "0.0.0.0", "--port", str(plug.port))
    assert ended.returncode != 0
    assert "token" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_kill_of_up_itself_leaves_no_process_and_the_next_one_goes_on_with_the_job(plug: System) -> None:
    plug.environment["GLOWPLUG_WORKER_CANCEL_GRACE_SECONDS"] = "1"
    program = plug.up(TRAINER)
    plug.wait_ready("trainsteps")
    job = plug.submit("trainsteps.train", steps=40, step_seconds=0.02)
    plug.wait_event(job, "checkpoint")
    family = psutil.Process(program.pid).children(recursive=True)
    program.kill()
    program.wait(10)
    until(lambda: not [one for one in family if _lives(one)], "nobody of the family is left", limit=20)
    plug.up(TRAINER)
    plug.wait_ready("trainsteps")
    assert plug.wait_done(job)["result"]["state"] == expected(40)
    assert_told_once(plug.events(job))


def test_a_worker_that_slept_past_its_lease_is_refused_and_then_works_again(plug: System) -> None:
    plug.environment["GLOWPLUG_LEASE_SECONDS"] = "5"
    plug.gateway()
    sleeper = plug.worker(TRAINER)
    plug.wait_ready("trainsteps")
    job = plug.submit("trainsteps.train", steps=60, step_seconds=0.05)
    plug.wait_event(job, "checkpoint")
    os.kill(sleeper.pid, signal.SIGSTOP)
    plug.worker(TRAINER)
    until(lambda: _starts(plug, job) == 2, "another worker takes the job over", log=plug.log)
    os.kill(sleeper.pid, signal.SIGCONT)
    done = plug.wait_done(job)
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["lost", "completed"]
    assert done["result"]["state"] == expected(60)
    assert [artifact["key"].split("/")[2] for artifact in done["artifacts"]] == ["2"]
    assert_told_once(plug.events(job))
    again = [plug.submit("trainsteps.train", steps=5, step_seconds=0.05) for _ in range(6)]
    workers = {plug.wait_done(one)["attempts"][-1]["worker"] for one in again}
    assert done["attempts"][0]["worker"] in workers


def _starts(plug: System, job: str) -> int:
    return [event["type"] for event in plug.events_so_far(job)].count("started")


def _lives(process: psutil.Process) -> bool:
    # Where nobody collects the dead of others, they stay as zombies.
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
