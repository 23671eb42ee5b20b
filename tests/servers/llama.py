"""A real OpenAI-compatible server: llama.cpp's, with a tiny model, in a process that can be killed and come back."""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.ports import free_ports

MODEL = "tiny"
START_SECONDS = 30.0
ROOT = Path(__file__).parents[2]
PR_SET_PDEATHSIG = 1


class LlamaServer:
    """The server of one GGUF file, at the same address over all its lives."""

    def __init__(self, gguf: Path, *, key: str = "") -> None:
        self._gguf = gguf
        self._key = key
        self._port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return where it answers."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", __name__, str(self._gguf), str(self._port), self._key]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._get("/health")
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError("the chat server did not come up")

    def kill(self) -> None:
        """Kill it as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self, *, for_now: bool) -> None:
        """Let it stand still, or go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if for_now else signal.SIGCONT)

    def replying(self) -> int:
        """Return how many replies it is working on."""
        return sum(slot["is_processing"] for slot in self._get("/slots"))

    def _get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)


@contextmanager
def running_llama(gguf: Path, *, key: str = "") -> Iterator[LlamaServer]:
    """Run the server until the block ends."""
    server = LlamaServer(gguf, key=key)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _serve(gguf: str, port: str, key: str) -> None:
    import xllamacpp

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = gguf
    parameters.model_alias = {MODEL}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = int(port)
    parameters.n_parallel = 2
    parameters.kv_unified = True
    parameters.ui = False
    parameters.cpuparams.n_threads = 1
    parameters.api_keys = [key] if key else []
    server = xllamacpp.Server(parameters)
    signal.pause()
    del server


if __name__ == "__main__":
    _serve(*sys.argv[1:])
