"""Where files are to lie: only a job's own, only once it is completed, and below the prefix that was asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from glowplug.artifact import Artifact
from glowplug.doors.message_outputs import wanted_places
from glowplug.doors.message_requests import Kind
from glowplug.job import Job, JobEvent, JobRequest, submitted

NOW = datetime(2024, 1, 15, tzinfo=UTC)
BEST, LAST = Artifact("jobs/x/1/best.safetensors", 3, "00"), Artifact("jobs/x/1/last.safetensors", 3, "00")
OUTPUT = {"prefix": "models/cats", "model_name": "cats.pt"}


def places(
    kind: Kind,
    result: Any,
    output: Any = OUTPUT,
    *,
    event: str = "completed",
    made: tuple[Artifact, ...] = (BEST, LAST),
) -> dict[str, str]:
    job: Job = submitted(JobRequest(task="detector.train", input={"output": output}), NOW)[0]
    ended = JobEvent(job.id, 7, event, NOW, {"result": result})
    return wanted_places(kind, replace(job, artifacts=made), ended)


@pytest.mark.parametrize("kind", [Kind.TRAIN, Kind.CONVERT])
@pytest.mark.parametrize("result", [{"model_path": BEST.uri, "last_path": LAST.uri}, BEST.uri, BEST.key, {}, None])
def test_a_model_lies_under_the_name_that_was_asked_for(kind: Kind, result: Any) -> None:
    assert places(kind, result) == {BEST.key: "models/cats/cats.pt"}


def test_pictures_lie_under_their_own_names() -> None:
    made = tuple(Artifact(f"jobs/x/1/{name}", 3, "00") for name in ("1-a.png", "2-b.png"))
    found = {"results": [{"output": made[0].uri}, {"output": made[1].uri}, {"output": None}, {}, 7]}
    wanted = {"jobs/x/1/1-a.png": "found/1-a.png", "jobs/x/1/2-b.png": "found/2-b.png"}
    assert places(Kind.INFER, found, {"prefix": "found/"}, made=made) == wanted
    assert places(Kind.INFER, found["results"], {"prefix": "found"}, made=made) == wanted


@pytest.mark.parametrize("said", ["jobs/other/1/best.pt", "artifact:datasets/secret.bin", "models/mine.pt", 7])
def test_a_task_has_nothing_copied_but_what_it_has_made(said: Any) -> None:
    assert places(Kind.TRAIN, {"model_path": said}) == {}
    assert places(Kind.INFER, {"results": [{"output": said}]}) == {}


def test_nothing_is_copied_before_the_end_or_without_a_place() -> None:
    assert places(Kind.TRAIN, BEST.uri, event="failed") == {}
    assert places(Kind.TRAIN, BEST.uri, event="progress") == {}
    for output in (None, "models", {}, {"prefix": ""}, {"prefix": 7}):
        assert places(Kind.TRAIN, BEST.uri, output) == {}
    assert places(Kind.TRAIN, None, made=()) == {}
    assert places(Kind.INFER, "nonsense") == {}
