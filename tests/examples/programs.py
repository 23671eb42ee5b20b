"""The example programs as real processes: started by uvicorn, watched over HTTP, ended with the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.journeys.system import end, free_port, until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PATIENCE_SECONDS = 60.0


@dataclass
class Program:
    """A running example, and the client that asks it."""

    process: subprocess.Popen[bytes]
    http: httpx.Client
    port: int
    log_path: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def websocket_url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")[-4000:]

    def answers(self) -> bool:
        """Say whether anything at all answers."""
        assert self.process.poll() is None, f"the program ended\n{self.log()}"
        try:
            self.http.get("/livez")
        except httpx.TransportError:
            return False
        return True

    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/api/ready").raise_for_status().json()
        return found

    def service(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.body()["services"][name]
        return found

    def wait_answering(self) -> None:
        until(self.answers, "the port answers", log=self.log)

    def wait_ready(self) -> None:
        self.wait_answering()
        until(lambda: self.body()["ready"], "it is ready", limit=PATIENCE_SECONDS, log=self.log)

    def follow(self) -> list[dict[str, Any]]:
        """Read the stream of readiness from now to its end."""
        timeout = httpx.Timeout(10, read=PATIENCE_SECONDS)
        with self.http.stream("GET", "/api/ready/stream", timeout=timeout) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            return [json.loads(line[5:]) for line in answer.iter_lines() if line.startswith("data:")]


@contextmanager
def served(
    folder: Path,
    example: str,
    target: str,
    *,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Iterator[Program]:
    """Run `uvicorn target` from the folder of `example`; the test's `folder` holds its cache and log."""
    app_dir = str(EXAMPLES / example)
    command = [sys.executable, "-m", "uvicorn", "--app-dir", app_dir, target, "--port", "{port}", *options]
    with running(folder, command, environment or {}) as program:
        yield program


@contextmanager
def running(folder: Path, command: Sequence[str], environment: Mapping[str, str], port: int = 0) -> Iterator[Program]:
    """Run a command that listens on `{port}`, and end it."""
    port = port or free_port()
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("GLOWPLUG_", "OLLAMA_", "VOICE_"))
    }
    own = {"GLOWPLUG_CACHE": str(folder / "cache"), "GLOWPLUG_DATA": str(folder / "data")}
    log_path = folder / f"{port}.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [word.replace("{port}", str(port)) for word in command],
            env={**kept, **own, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        try:
            yield Program(process, http, port, log_path)
        finally:
            end(process)
