"""A large upload outlives whoever carries it: client or gateway is killed, and what has arrived is not sent twice."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.journeys.system import System, until

from glowplug import Client
from glowplug.testing.artifacts import pattern

PART_BYTES = 8 << 20
DATA = pattern(3 * PART_BYTES + 12_345)
SHA256 = hashlib.sha256(DATA).hexdigest()
# One part after the other, and slowly, so that there is a middle to be killed in.
SLOWLY = """
import sys, time
from glowplug.client import parted_upload
from glowplug import Client
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


@pytest.fixture
def uploader(plug: System, large: Path) -> Iterator[subprocess.Popen[str]]:
    plug.gateway()
    plug.wait_ready()
    command = [sys.executable, "-c", SLOWLY, plug.url, str(large)]
    process = subprocess.Popen(command, env=plug.environment, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def parts(plug: System) -> dict[str, float]:
    """Return the parts that have arrived, and when."""
    found = (plug.folder / "data" / "artifacts" / "uploads").glob("*/part-*")
    return {path.name: path.stat().st_mtime for path in found}


def test_a_client_that_is_killed_is_gone_on_for_by_the_next(
    plug: System, large: Path, uploader: subprocess.Popen[str]
) -> None:
    until(lambda: len(parts(plug)) == 2, "two parts arrive", log=plug.log)
    os.kill(uploader.pid, signal.SIGKILL)
    uploader.wait()
    had = parts(plug)
    with Client(plug.url) as client:
        view = client.upload(large)
        assert (view.sha256, view.size_bytes) == (SHA256, len(DATA))
        assert len(had) == 2
        assert hashlib.sha256(client.download(view, plug.folder / "back").read_bytes()).hexdigest() == SHA256
    assert parts(plug) == {}


def test_a_gateway_that_is_killed_is_waited_for_and_keeps_what_arrived(
    plug: System, uploader: subprocess.Popen[str]
) -> None:
    until(lambda: len(parts(plug)) == 1, "a part arrives", log=plug.log)
    os.kill(plug.programs[0].pid, signal.SIGKILL)
    plug.programs[0].wait()
    had = parts(plug)
    plug.gateway()
    until(lambda: len(parts(plug)) > len(had), "the next part arrives", log=plug.log)
    assert had.items() <= parts(plug).items()
    out, _ = uploader.communicate(timeout=60)
    assert (uploader.returncode, out.strip()) == (0, SHA256)
