"""A picture that one worker begins and another finishes, through the whole system."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import Any

import pytest
from PIL import Image
from tests.journeys.system import System, assert_told_once, end, until
from tests.models.pipelines import tiny_sdxl

TARGET = "images"
ORDER = {"prompt": "a red house beside a lake", "seed": 11, "steps": 100, "width": 64, "height": 64, "count": 2}


def picture(plug: System, uri: str) -> bytes:
    return (
        plug.http.get(f"/v1/artifacts/{uri.removeprefix('artifact:')}", follow_redirects=True)
        .raise_for_status()
        .content
    )


def step_of(plug: System, job: str) -> int:
    progress: dict[str, Any] | None = plug.job(job)["progress"]
    return int(progress["done"]) if progress else 0


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_a_worker_that_leaves_in_the_middle_of_a_picture_hands_it_on_and_nobody_can_tell(plug: System) -> None:
    folder = tiny_sdxl(plug.folder / "sdxl")
    options = {"GLOWPLUG_WORKER_OPTIONS": f"source={folder}, threads=1, default_size=64, preview_seconds=0.2"}
    plug.environment |= {"HF_HUB_OFFLINE": "1"}
    plug.gateway()
    first = plug.worker(TARGET, **options)
    plug.wait_ready("images", limit=120)
    job = plug.submit("images.generate", **ORDER)
    until(lambda: step_of(plug, job) > 110, "the second picture is begun", log=plug.log)
    assert end(first, 30) == 0
    assert plug.job(job)["state"] == "queued"
    plug.worker(TARGET, **options)
    plug.wait_ready("images", limit=120)
    done = plug.wait_done(job, limit=120)
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["interrupted", "completed"]
    events = plug.events(job)
    assert_told_once(events)
    lines = [event["data"]["text"] for event in events if event["type"] == "log"]
    assert any("went on after 1 pictures" in line for line in lines), lines
    whole = plug.wait_done(plug.submit("images.generate", **ORDER), limit=120)
    resumed, expected = ([picture(plug, uri) for uri in one["result"]["images"]] for one in (done, whole))
    assert resumed == expected
    assert Image.open(io.BytesIO(resumed[0])).size == (64, 64)
    previews = [
        event["data"]["preview"] for event in events if event["type"] == "progress" and event["data"]["preview"]
    ]
    assert picture(plug, previews[-1]).startswith(b"\xff\xd8")
    for attempt in {preview.rpartition("/")[0] for preview in previews}:
        numbers = dict.fromkeys(int(one.stem) for one in map(PurePosixPath, previews) if str(one.parent) == attempt)
        assert list(numbers) == list(range(1, len(numbers) + 1)), "each preview that is stored is told of"
