"""A backend that trains, converts and uses a detector by messages alone: RabbitMQ, a bucket, and nothing of Glowplug.

    python backend.py DATASET [--epochs 20] [--imgsz 160] [--model small] [--bucket artifacts]

DATASET is a folder in YOLO's format; it is uploaded first. Environment: RABBITMQ_URL (amqp://guest:guest@localhost/),
and what boto3 reads, such as AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pika

UPLOADS_AT_ONCE = 8
PICTURES_LOOKED_AT = 4
BAR = 24


class Conversation:
    """One connection: requests go out, and what is heard of them comes back."""

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._heard: list[dict[str, Any]] = []
        for kind in ("train", "convert", "infer"):
            for end in ("request", "update", "result"):
                self._channel.queue_declare(f"{kind}_{end}_q", durable=True)
            for end in ("update", "result"):
                self._channel.basic_consume(f"{kind}_{end}_q", self._hear)

    def ask(self, kind: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a request and yield every message about it, the last one being its end."""
        persistent = pika.BasicProperties(delivery_mode=2, content_type="application/json")
        self._channel.basic_publish("", f"{kind}_request_q", json.dumps(body), persistent)
        while True:
            self._connection.process_data_events(time_limit=1)
            # Updates and results are two queues, so the last epoch may come after the end.
            heard, self._heard = self._heard, []
            for message in sorted(heard, key=lambda one: one["status"] != "running"):
                if message["job_id"] == body["job_id"]:
                    yield message
                    if message["status"] != "running":
                        return

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _hear(self, channel: Any, method: Any, properties: Any, raw: bytes) -> None:
        del properties
        self._heard.append(json.loads(raw))
        channel.basic_ack(method.delivery_tag)


def main() -> int:
    """Train, convert, infer; return the exit code."""
    asked = arguments()
    bucket = boto3.resource("s3").Bucket(asked.bucket)
    conversation = Conversation(os.environ.get("RABBITMQ_URL", "amqp://guest:guest@localhost/"))
    name, run = asked.dataset.resolve().name, uuid.uuid4().hex[:8]
    try:
        count = upload(bucket, asked.dataset, f"datasets/{name}")
        print(f"dataset    {count} files of {asked.dataset} are in s3://{asked.bucket}/datasets/{name}/")
        hyperparams = {"model": asked.model, "epochs": asked.epochs, "batch": asked.batch, "imgsz": asked.imgsz}
        trained = train(conversation, run, name, hyperparams)
        converted = convert(conversation, run, name, trained["model_path"])
        pictures = sorted(key.key for key in bucket.objects.filter(Prefix=f"datasets/{name}/images/val/"))
        found = infer(conversation, run, converted["model_path"], pictures[:PICTURES_LOOKED_AT])
        fetch(bucket, [one["output"] for one in found["results"]], asked.found)
    except Failed as error:
        print(f"failed     {error}", file=sys.stderr)
        return 1
    finally:
        conversation.close()
    return 0


class Failed(Exception):
    """A request ended as failed; the message says why."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train, convert and use a detector by messages alone.")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--bucket", default="artifacts")
    parser.add_argument("--model", default="small")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--found", type=Path, default=Path("found"), help="the folder for the drawn pictures")
    return parser.parse_args()


def upload(bucket: Any, folder: Path, prefix: str) -> int:
    """Put every file of a folder below `prefix`; return how many there are."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as threads:
        list(threads.map(lambda path: bucket.upload_file(str(path), f"{prefix}/{path.relative_to(folder)}"), files))
    return len(files)


def train(conversation: Conversation, run: str, name: str, hyperparams: dict[str, Any]) -> dict[str, Any]:
    """Train on what was uploaded, and print each epoch as it ends."""
    request = {
        "job_id": f"train-{run}",
        "dataset": {"s3_prefix": f"datasets/{name}/", "name": name},
        "output": {"prefix": f"models/{name}", "model_name": "best.safetensors"},
        "hyperparams": hyperparams,
    }
    for message in conversation.ask("train", request):
        if message["type"] == "epoch_update":
            show_epoch(message)
    final = ended(message)["final_metrics"]
    print(
        f"trained    {message['model_path']} in {message['training_time']:.0f} s, "
        f"mAP50 {final['final_mAP50']:.3f} after {final['training_epochs']} epochs"
    )
    return message


def show_epoch(message: dict[str, Any]) -> None:
    """Print a line for an epoch."""
    done, metrics = round(BAR * message["progress"] / 100), message["metrics"]
    losses = "  ".join(
        f"{name.removesuffix('_loss')} {metrics[name]:.3f}" for name in ("box_loss", "cls_loss", "dfl_loss")
    )
    print(
        f"epoch {message['current_epoch']:>4}/{message['total_epochs']} {'█' * done}{'·' * (BAR - done)} "
        f"loss {metrics['train_loss']:.3f} ({losses})  mAP50 {metrics['mAP50']:.3f}",
        flush=True,
    )


def convert(conversation: Conversation, run: str, name: str, model_path: str) -> dict[str, Any]:
    """Have the trained model written as ONNX."""
    output = {"prefix": f"models/{name}", "model_name": "best.onnx"}
    request = {"job_id": f"convert-{run}", "model_path": model_path, "output": output}
    *_, end = conversation.ask("convert", request)
    print(f"converted  {ended(end)['model_path']} in {end['conversion_time']:.1f} s")
    return end


def infer(conversation: Conversation, run: str, model_path: str, pictures: list[str]) -> dict[str, Any]:
    """Look for things in pictures, and print what is found."""
    request = {
        "job_id": f"infer-{run}",
        "model_path": model_path,
        "images": pictures,
        "params": {"conf": 0.25},
        "output": {"prefix": f"found/{run}"},
    }
    *_, end = conversation.ask("infer", request)
    for one in ended(end)["results"]:
        things = ", ".join(f"{found['label']} {found['confidence']:.2f}" for found in one["detections"])
        print(f"found      {one['image']}: {things or 'nothing'}")
    return end


def ended(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message of a good end. Raises `Failed`."""
    if message["status"] != "completed":
        raise Failed(f"{message['job_id']}: {message['error_message']}")
    return message


def fetch(bucket: Any, keys: list[str], folder: Path) -> None:
    """Bring the drawn pictures here."""
    folder.mkdir(parents=True, exist_ok=True)
    for key in keys:
        bucket.download_file(key, str(folder / key.rpartition("/")[2]))
    print(f"drawn      {len(keys)} pictures are in {folder}/")


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"{'done' if code == 0 else 'stopped':<10} after {time.monotonic() - began:.0f} s")
    sys.exit(code)
