"""Errors as problems: one shape, nothing of our inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from tests.unit.gateway.house import House, Told, house

from glowplug.clock import ManualClock
from glowplug.errors import (
    BugError,
    DiskFull,
    InvalidInput,
    LoadFailed,
    NotFound,
    NotReady,
    Unauthorized,
    error_classes,
)
from glowplug.gateway.problems import problem, problem_body, retry_after, without_folders
from glowplug.job import Job
from glowplug.stores.memory import MemoryStore


def parsed(response: Response) -> dict[str, Any]:
    return dict(json.loads(bytes(response.body)))


@pytest.mark.parametrize("kind", sorted(error_classes().values(), key=lambda kind: kind.code))
def test_every_error_of_ours_is_a_problem_of_its_own_status(kind: Any) -> None:
    response = problem(kind("it went wrong"))
    body = parsed(response)
    assert response.status_code == body["status"] == kind.status
    assert response.media_type == "application/problem+json"
    assert (body["code"], body["detail"], body["retryable"]) == (kind.code, "it went wrong", kind.retryable)
    assert body["title"]


def test_its_data_stands_beside_the_standard_members_and_never_in_their_place() -> None:
    body = problem_body(InvalidInput("wrong", fields=["x"], status=200, code="ok"))
    assert (body["fields"], body["status"], body["code"]) == ([{"path": "x", "message": "wrong"}], 422, "invalid_input")


def test_data_that_json_cannot_hold_is_written_as_text() -> None:
    assert parsed(problem(NotFound("x", path=Path("/tmp/x"))))["path"] == "/tmp/x"


@pytest.mark.parametrize(("said", "expected"), [(None, 2), (0.1, 1), (4.2, 5), (7, 7), (900, 30), ("x", 2)])
def test_when_to_ask_again_is_a_whole_number_of_seconds_from_1_to_30(said: Any, expected: int) -> None:
    error = NotReady("loading") if said is None else NotReady("loading", retry_after=said)
    assert retry_after(error) == expected
    response = problem(error)
    assert response.headers["retry-after"] == str(expected)
    assert parsed(response)["retry_after"] == expected


def test_a_load_that_failed_says_so_and_that_asking_again_is_no_use() -> None:
    response = problem(LoadFailed("no weights"))
    body = parsed(response)
    assert (body["code"], body["retryable"]) == ("model_load_failed", False)
    assert ("retry-after" in response.headers, "retry_after" in body) == (False, False)


def test_who_must_show_a_token_is_told_which_kind() -> None:
    assert problem(Unauthorized("who are you")).headers["www-authenticate"] == "Bearer"


async def test_an_unknown_path_and_a_wrong_method_are_problems_too(home: House) -> None:
    missing = await home.client.get("/nowhere")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    wrong = await home.client.delete("/v1/jobs")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert {missing.headers["content-type"], wrong.headers["content-type"]} == {"application/problem+json"}


class Broken(MemoryStore):
    """Fails in ways that nobody foresaw."""

    error: Exception = ValueError("password=hunter2 at /home/ann")

    async def job(self, job_id: str) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [ValueError("password=hunter2"), BugError("password=hunter2")])
async def test_an_error_of_ours_tells_the_log_everything_and_the_caller_nothing(
    tmp_path: Path, told: Told, error: Exception
) -> None:
    clock = ManualClock()
    store = Broken(clock=clock)
    store.error = error
    async with house(tmp_path, clock, store=store) as home:
        response = await home.client.get("/v1/jobs/x")
    assert (response.status_code, response.json()["code"]) == (500, "bug")
    assert "hunter2" not in response.text
    assert told.of("http.failed")[0]["path"] == "/v1/jobs/x"
    assert "hunter2" in told.of("http.failed")[0]["error"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no room to write to /srv/ann/data/glowplug.db: free some", "no room to write to glowplug.db: free some"),
        ("cannot use '/srv/ann/x.db' (locked)", "cannot use 'x.db' (locked)"),
        ("no room to write in /srv/ann/artifacts (10 bytes free)", "no room to write in artifacts (10 bytes free)"),
        ("no answer from http://host:80/a/b/c", "no answer from http://host:80/a/b/c"),
        ("ask again in 1/2 minute, and/or later", "ask again in 1/2 minute, and/or later"),
    ],
)
def test_callers_are_told_files_but_not_their_folders(said: str, told: str) -> None:
    error = without_folders(DiskFull(said, path="/srv/ann", free_bytes=10))
    assert (type(error), error.message, error.data) == (DiskFull, told, {"free_bytes": 10})


async def test_a_full_disk_is_told_without_the_folder(tmp_path: Path) -> None:
    class Full(MemoryStore):
        async def job(self, job_id: str) -> Job:
            raise DiskFull(f"no room to write to {tmp_path}/glowplug.db")

    clock = ManualClock()
    async with house(tmp_path, clock, store=Full(clock=clock)) as home:
        response = await home.client.get("/v1/jobs/x")
        assert (response.status_code, response.json()["detail"]) == (507, "no room to write to glowplug.db")
