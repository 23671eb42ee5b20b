"""A large upload outlives whoever carries it: client or gateway is killed, and what has arrived is not sent twice."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.journeys.system import System, until

from glowplug.testing.artifacts import pattern

PART_BYTES = 8 << 20
DATA = pattern(3 * PART_BYTES + 12_345)
SHA256 = hashlib.sha256(DATA).hexdigest()
# One part after the other, and slowly, so that there is a middle to be killed in.
SLOWLY = """
import sys, time
from glowplug import Client
from glowplug.client import parted_upload
real = parted_upload._bytes_of
async def slowly(path, part):
    async for piece in real(path, part):
        time.sleep(0.01)
        yield piece
parted_upload._bytes_of = slowly
parted_upload.PARTS_AT_ONCE = 1
with Client(sys.argv[1]) as client:
    print(client.upload(sys.argv[2]).sha256)
"""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    (tmp_path / "large.bin").write_bytes(DATA)
    return tmp_path / "large.bin"


@contextmanager
def uploading(plug: System, large: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SLOWLY, plug.url, str(large)]
    process = subprocess.Popen(command, env=plug.environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def parts(plug: System) -> dict[str, float]:
    """Return the parts that have arrived, and when."""
    found = (plug.folder / "data" / "artifacts" / "uploads").glob("*/part-*")
    return {path.name: path.stat().st_mtime for path in found}


def test_an_upload_goes_on_past_a_client_and_a_gateway_that_are_killed(plug: System, large: Path) -> None:
    gateway = plug.gateway()
    plug.wait_ready()
    with uploading(plug, large) as first:
        until(lambda: len(parts(plug)) == 1, "a part arrives", log=plug.log)
        first.send_signal(signal.SIGKILL)
        first.wait()
    had = parts(plug)
    with uploading(plug, large) as second:
        until(lambda: len(parts(plug)) > len(had), "the next part arrives", log=plug.log)
        gateway.send_signal(signal.SIGKILL)
        gateway.wait()
        assert had.items() <= parts(plug).items()
        had = parts(plug)
        plug.gateway()
        until(lambda: len(parts(plug)) > len(had), "one more part arrives", log=plug.log)
        # By name: a part whose answer died with the gateway may be sent once more.
        assert had.keys() <= parts(plug).keys()
        out, _ = second.communicate(timeout=60)
    assert (second.returncode, out.strip()) == (0, SHA256)
    assert parts(plug) == {}
