"""The example of a detector by messages: a stock AMQP client and a bucket, with all of Glowplug at the other end."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import boto3
from PIL import Image
from tests.journeys.system import System, until
from tests.servers.rabbitmq import RabbitServer, rabbitmq, vhost
from tests.servers.seaweed import ACCESS_KEY, SECRET_KEY, S3Server, make_bucket, s3

from glowplug.workloads.detection import samples

__all__ = ["rabbitmq", "s3", "vhost"]
SCRIPT = Path(__file__).parents[2] / "examples" / "detector_by_messages" / "backend.py"
BUCKET = "detector-by-messages"
SMALL = samples.Recipe({"train": 10, "val": 4}, side=64)


def cloud(server: S3Server) -> Mapping[str, str]:
    """Return the environment that leads to the bucket: the same for Glowplug and for the backend."""
    return {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def test_the_whole_story_runs_by_messages_alone(
    plug: System, rabbitmq: RabbitServer, vhost: str, s3: S3Server, tmp_path: Path
) -> None:
    make_bucket(s3, BUCKET)
    plug.environment |= {
        **cloud(s3),
        "GLOWPLUG_ARTIFACTS": f"s3://{BUCKET}",
        "GLOWPLUG_WORKER_OPTIONS": "threads=1",
        "RABBITMQ_HOST": "127.0.0.1",
        "RABBITMQ_PORT": str(rabbitmq.port),
        "RABBITMQ_VHOST": vhost,
    }
    plug.up("detector")
    samples.write(tmp_path / "shapes", SMALL)
    command = [
        sys.executable,
        str(SCRIPT),
        str(tmp_path / "shapes"),
        "--bucket",
        BUCKET,
        "--found",
        str(tmp_path / "f"),
    ]
    command += ["--epochs", "2", "--imgsz", "64", "--batch", "8"]
    began = time.monotonic()
    environment = {**plug.environment, "RABBITMQ_URL": rabbitmq.url(vhost)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{plug.log()}"
    print(done.stdout, time.monotonic() - began)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "dataset",
        *["epoch"] * 2,
        "trained",
        "converted",
        *["found"] * 4,
        "drawn",
        "done",
    ]
    assert [re.sub(" +", " ", line).split()[1] for line in lines[1:3]] == ["1/2", "2/2"]
    assert "models/shapes/best.safetensors in" in lines[3]
    assert "models/shapes/best.onnx in" in lines[4]
    assert "found      datasets/shapes/images/val/0000.png: " in lines[5]
    # What it was told is where it was told.
    store = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
    )
    keys = {one["Key"] for one in store.list_objects_v2(Bucket=BUCKET, Prefix="models/")["Contents"]}
    assert keys == {"models/shapes/best.safetensors", "models/shapes/best.onnx"}
    drawn = sorted((tmp_path / "f").iterdir())
    assert [path.name for path in drawn] == [f"{number + 1}-{number:04}.jpg" for number in range(4)]
    with Image.open(drawn[0]) as picture:
        assert picture.size == (64, 64)
    until(lambda: all(job["done"] for job in plug.get("/v1/jobs")["jobs"]), "every job is done")
    converted = next(job for job in plug.get("/v1/jobs")["jobs"] if job["task"] == "detector.convert")
    comparison = converted["result"]["comparison"]
    assert comparison["boxes"] > 0
    assert comparison["max_confidence_difference"] < comparison["tolerance_confidence"]
