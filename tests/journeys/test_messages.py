"""A backend that speaks RabbitMQ and nothing else, and all of Glowplug at the other end as real processes."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.journeys.system import MODELS, System, until
from tests.models.detector import box, picture
from tests.servers.message_backend import MessageBackend
from tests.servers.rabbitmq import RabbitServer, rabbitmq, require_rabbitmq, vhost

__all__ = ["rabbitmq", "vhost"]
GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "messages.md"
SQUARES = {3, 7, 12}
DATASET = "datasets/squares/data.yaml"


def training(job_id: str, **hyperparams: Any) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "dataset": {"s3_prefix": "datasets/squares/", "name": "squares"},
        "output": {"prefix": "models/squares", "model_name": "squares.pt"},
        "hyperparams": {"epochs": 8, **hyperparams},
    }


def point_at(plug: System, server: RabbitServer, vhost: str = "/") -> None:
    plug.environment |= {"RABBITMQ_HOST": "127.0.0.1", "RABBITMQ_PORT": str(server.port), "RABBITMQ_VHOST": vhost}


def put_into_bucket(plug: System, key: str, data: bytes) -> None:
    """Lay a file into the artifact store, as a backend with access to it would."""
    path = plug.folder / "data" / "artifacts" / key
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


def photo() -> bytes:
    """Return a picture with squares in it."""
    stream = io.BytesIO()
    dots = (np.clip(picture(SQUARES), 0, 1) * 255).astype(np.uint8)
    Image.fromarray(dots).save(stream, "PNG")
    return stream.getvalue()


def run_script_of_the_guide(plug: System, url: str) -> list[str]:
    """Run the program that the guide shows, and return what it printed."""
    block = GUIDE.read_text(encoding="utf-8").partition("<!-- script -->\n")[2].partition("<!-- /script -->")[0].strip()
    script = plug.folder / "backend.py"
    script.write_text(block.partition("\n")[2].rpartition("\n```")[0])
    command = [sys.executable, str(script), url, "photos/of-today/photo.png"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
async def backend(plug: System, rabbitmq: RabbitServer, vhost: str) -> AsyncIterator[MessageBackend]:
    point_at(plug, rabbitmq, vhost)
    put_into_bucket(plug, DATASET, b"names: [square]")
    plug.up(MODELS / "detector.py")
    async with MessageBackend(rabbitmq.url(vhost)) as made:
        yield made


async def test_train_convert_and_infer_by_messages_alone(
    plug: System, backend: MessageBackend, rabbitmq: RabbitServer, vhost: str
) -> None:
    await backend.ask("train", training("j1"))
    done = await backend.result("train")
    assert done["type"] == "training_completed"
    epochs = [one for one in backend.updates("train") if one["type"] == "epoch_update"]
    assert [(one["current_epoch"], one["progress"]) for one in epochs] == [(n, 12.5 * n) for n in range(1, 9)]
    assert epochs[-1]["metrics"]["train_loss"] < epochs[0]["metrics"]["train_loss"]
    assert set(epochs[0]["metrics"]) == {"train_loss", "mAP50", "box_loss", "cls_loss", "dfl_loss"}
    assert done["final_metrics"]["final_mAP50"] == epochs[-1]["metrics"]["mAP50"] > 0.9
    assert done["final_metrics"]["training_epochs"] == 8

    output = {"prefix": "models/squares", "model_name": "squares.onnx"}
    await backend.ask("convert", {"job_id": "j1", "model_path": done["model_path"], "output": output})
    converted = await backend.result("convert")
    assert converted["type"] == "conversion_completed", converted
    assert [one["type"] for one in backend.updates("convert")] == ["progress_update"]

    put_into_bucket(plug, "photos/of-today/photo.png", photo())
    body = {"job_id": "j1", "model_path": converted["model_path"], "images": ["photos/of-today/photo.png"]}
    await backend.ask("infer", {**body, "output": {"prefix": "found"}})
    found = await backend.result("infer")
    assert found["type"] == "inference_completed", found
    (seen,) = found["results"]
    assert seen["image"] == "photos/of-today/photo.png"
    assert [one["box"] for one in seen["detections"]] == [box(cell) for cell in sorted(SQUARES)]
    assert {one["label"] for one in seen["detections"]} == {"square"}
    assert (converted["model_path"], seen["output"]) == ("models/squares/squares.onnx", "found/0.txt")
    text = plug.http.get(f"/v1/artifacts/{seen['output']}").text
    assert text == "\n".join(str(box(cell)) for cell in sorted(SQUARES))

    await backend.ask("train", training("j2", fail_at=3))
    failed = await backend.result("train")
    assert (failed["type"], failed["current_epoch"]) == ("training_failed", 2)
    assert "CUDA out of memory" in failed["error_message"]
    assert failed["partial_metrics"]["last_loss"] > 0

    await backend.listen("train_request_q.dlq")
    await backend.ask("train", b"\x00garbage")
    assert "not JSON" in str((await backend.message("train_request_q.dlq")).headers["x-reason"])

    await backend.disconnect()
    said = await asyncio.to_thread(run_script_of_the_guide, plug, rabbitmq.url(vhost))
    # Before that, what was fetched of the data set may be told.
    said = said[next(place for place, line in enumerate(said) if line.startswith("train progress_update 0.0")) :]
    assert [line.split()[:3] for line in said[1:6]] == [["train", "epoch_update", f"{20.0 * n}"] for n in range(1, 6)]
    assert [line.split()[:2] for line in said[6:-1]] == [
        ["train", "training_completed"],
        ["convert", "progress_update"],
        ["convert", "conversion_completed"],
        ["infer", "progress_update"],
        ["infer", "inference_completed"],
    ]
    assert said[-1].count("square") == len(SQUARES)
    for line in ("[RMQ] RabbitMQ consumer started", "[Handler] train j1: training_completed"):
        assert line in plug.log()


@pytest.mark.chaos
async def test_a_broker_that_is_not_there_comes_late_and_is_killed_while_a_training_runs(
    plug: System, tmp_path: Path
) -> None:
    require_rabbitmq()
    (tmp_path / "broker").mkdir()
    broker = RabbitServer(tmp_path / "broker")
    try:
        point_at(plug, broker)
        put_into_bucket(plug, DATASET, b"names: [square]")
        plug.up(MODELS / "detector.py")
        plug.wait_ready("detector")
        until(lambda: "[RMQ] Failed to connect to RabbitMQ: " in plug.log(), "the log says what is missing")
        await asyncio.to_thread(broker.start)
        backend = MessageBackend(broker.url())
        async with backend:
            await backend.ask("train", training("j1", epochs=20, epoch_seconds=0.1))
            assert (await backend.heard("train_update_q"))["type"] == "progress_update"
            assert (await backend.heard("train_update_q"))["current_epoch"] == 1
            await asyncio.to_thread(broker.kill9)
        # The run goes on without it.
        (job,) = plug.get("/v1/jobs")["jobs"]
        assert plug.wait_done(job["id"])["state"] == "completed"
        await asyncio.to_thread(broker.start)
        async with backend:
            done = await backend.result("train")
            assert done["type"] == "training_completed"
            # At least once, and in order: what the broker had, and what it was told again.
            epochs = [1]
            while epochs[-1] != 20:
                epochs.append((await backend.heard("train_update_q")).get("current_epoch", 1))
            assert list(dict.fromkeys(epochs)) == list(range(1, 21))
            # The door takes requests again, and what ran is not run twice.
            await backend.ask("train", training("j1", epochs=20, epoch_seconds=0.1))
            assert await backend.result("train") == done
            assert len(plug.get("/v1/jobs")["jobs"]) == 1
            assert plug.job(job["id"])["attempt"] == 1
    finally:
        broker.close()
