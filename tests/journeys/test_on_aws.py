"""A whole Glowplug on SQS and S3: hints through the one, bytes through the other, and neither of them loses a job."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.journeys.system import MODELS, System, assert_told_once, system, until
from tests.servers.moto import MotoServer, aws_keys, running_moto
from tests.servers.seaweed import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, s3

from glowplug import Client
from glowplug.testing.artifacts import pattern

__all__ = ["aws_keys", "s3"]
pytestmark = pytest.mark.usefixtures("aws_keys")
TOKEN = "a-token-for-callers"


@pytest.fixture
def queues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    with running_moto(tmp_path_factory.mktemp("sqs")) as server:
        yield server


@pytest.fixture
def plug(tmp_path: Path, aws_keys: None, queues: MotoServer) -> Iterator[System]:
    with system(tmp_path, GLOWPLUG_BROKER=queues.queues_url(), GLOWPLUG_REDISPATCH_SECONDS="1") as made:
        yield made


@pytest.mark.chaos
def test_hints_go_through_sqs_and_bytes_past_the_gateway(plug: System, s3: S3Server, queues: MotoServer) -> None:
    plug.environment |= {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_ENDPOINT": s3.endpoint,
        "AWS_REGION": "us-east-1",
        "GLOWPLUG_ARTIFACTS": f"s3://{BUCKET}/{plug.folder.name}",
        "GLOWPLUG_DIRECT_LINKS": "true",
        "GLOWPLUG_TOKEN": TOKEN,
    }
    plug.http.headers["authorization"] = f"Bearer {TOKEN}"
    plug.up(MODELS / "artist.py")
    plug.wait_ready("artist")
    (plug.folder / "large.bin").write_bytes(data := pattern(20 << 20))
    with Client(plug.url, token=TOKEN) as client:
        sent = client.upload(plug.folder / "large.bin")
        assert sent.sha256 == hashlib.sha256(data).hexdigest()
        assert client.run("artist.length", file=sent.uri).output == len(data)
        done = client.run("artist.paint").job
    assert done is not None
    url = done.artifacts[0].url
    # A browser has the link alone, and is led to the store.
    with httpx.Client(base_url=plug.url, follow_redirects=True) as browser:
        answer = browser.get(url or "")
    assert (answer.content, str(answer.url).startswith(s3.endpoint)) == (b"paint", True)
    assert len(queues.client().list_queues()["QueueUrls"]) == 2
    assert s3.open_uploads() == []


def test_a_queue_that_forgets_everything_loses_no_job(plug: System, queues: MotoServer) -> None:
    plug.up(MODELS / "echo.py")
    plug.wait_ready("echo")
    jobs = [plug.submit("echo.say", text=str(number)) for number in range(10)]
    queues.kill9()
    jobs += [plug.submit("echo.say", text=str(number)) for number in range(10, 30)]
    queues.start()
    until(lambda: all(plug.job(job)["done"] for job in jobs), "all jobs end", log=plug.log)
    for job in jobs:
        assert (plug.job(job)["state"], plug.job(job)["attempt"]) == ("completed", 1)
        assert_told_once(plug.events(job))
    assert "broker.lost" in (plug.folder / "log").read_text()
