"""The example of a detector by messages: a stock AMQP client and a bucket, with all of Glowplug at the other end."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import boto3
from PIL import Image
from tests.journeys.system import System
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
    environment = {**plug.environment, "RABBITMQ_URL": rabbitmq.url(vhost)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{plug.log()}"
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
    assert set(stored(s3, "models/")) == {"models/shapes/best.safetensors", "models/shapes/best.onnx"}
    drawn = sorted((tmp_path / "f").iterdir())
    assert [path.name for path in drawn] == [f"{number + 1}-{number:04}.jpg" for number in range(4)]
    with Image.open(drawn[0]) as picture:
        assert picture.size == (64, 64)
    jobs = {job["task"]: job for job in plug.get("/v1/jobs")["jobs"]}
    comparison = jobs["detector.convert"]["result"]["comparison"]
    assert comparison["boxes"] > 0
    assert comparison["max_confidence_difference"] < comparison["tolerance_confidence"]
    refused_and_still_ready(plug)


def stored(server: S3Server, prefix: str) -> list[str]:
    """Return the keys below a prefix of the bucket, as another client sees them."""
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY, "region_name": "us-east-1"}
    listed = boto3.client("s3", endpoint_url=server.endpoint, **keys).list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return [one["Key"] for one in listed["Contents"]]


def refused_and_still_ready(plug: System) -> None:
    """Send what no detector can do anything with; each ends in words, and the next job runs as if nothing had been."""
    image, weights = "artifact:datasets/shapes/images/val/0000.png", "artifact:models/shapes/best.safetensors"
    text = "artifact:datasets/shapes/data.yaml"
    pickled = plug.http.put("/v1/artifacts/best.pt", content=pickle.dumps({"weights": 1})).json()["uri"]
    wrong = {
        "images.0: data.yaml: not a picture": {"model_path": weights, "images": [text]},
        "model_path: a pickle may run code": {"model_path": pickled, "images": [image]},
        "model_path: neither weights that detector.train writes nor an ONNX file": {
            "model_path": text,
            "images": [image],
        },
        "inside a private network": {"model_path": weights, "images": [f"{plug.url}/v1/models"]},
    }
    for said, asked in wrong.items():
        job = plug.wait_done(plug.submit("detector.infer", **asked))
        assert (job["state"], job["attempt"]) == ("failed", 1), job
        assert said in job["error"]["message"]
    good = plug.wait_done(plug.submit("detector.infer", model_path=weights, images=[image], params={"conf": 0.0001}))
    assert good["state"] == "completed", good["error"]
    assert good["result"]["runtime"] == "libreyolo"
