"""A whole Glowplug on loopback for a test: real processes, a data folder of its own, ended with all it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from tests.servers.ports import free_port

MODELS = Path(__file__).parents[1] / "models"
COMMAND = [sys.executable, "-m", "glowplug"]
PATIENCE_SECONDS = 60.0
TERMINAL = {"completed", "failed", "canceled"}


@dataclass
class System:
    """Programs under test and the HTTP client that asks them; `environment` goes to every program."""

    folder: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        own = {"GLOWPLUG_DATA": str(self.folder / "data"), "GLOWPLUG_CACHE": str(self.folder / "cache")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GLOWPLUG_", "PYTHONDONT"))}
        self.environment = {**kept, **own, **self.environment}
        self.http = httpx.Client(base_url=self.url, timeout=30)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def worker_token_file(self) -> Path:
        return self.folder / "data" / "tokens" / "worker"

    def up(self, *targets: str | Path, options: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        return self.start("up", *map(str, targets), "--port", str(self.port), *options)

    def gateway(self) -> subprocess.Popen[bytes]:
        return self.start("gateway", "--port", str(self.port))

    def worker(self, target: str | Path, **environment: str) -> subprocess.Popen[bytes]:
        until(self.worker_token_file.exists, "the gateway writes the worker token")
        more = {"GLOWPLUG_WORKER_TOKEN_FILE": str(self.worker_token_file), **environment}
        return self.start("worker", str(target), "--gateway", self.url, environment=more)

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        return self.launch([*COMMAND, *arguments], environment)

    def app(self, script: Path, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Run a program of somebody else's, which is told its port first."""
        return self.launch([sys.executable, str(script), str(self.port), *arguments], stdin=stdin)

    def launch(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                list(command),
                env={**self.environment, **(environment or {})},
                stdout=log,
                stderr=log,
                stdin=stdin,
                start_new_session=True,
            )
        self.programs.append(process)
        return process

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command of the CLI to its end."""
        environment = {**self.environment, "GLOWPLUG_URL": self.url}
        return subprocess.run(
            [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def stop(self) -> None:
        self.http.close()
        for process in self.programs:
            if process.stdin is not None:
                process.stdin.close()
            end(process)

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace")[-8000:] if path.exists() else ""

    def get(self, path: str) -> Any:
        return self.http.get(path).raise_for_status().json()

    def answers(self, path: str) -> bool:
        try:
            return self.http.get(path, timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def wait_ready(self, *models: str, limit: float = PATIENCE_SECONDS) -> None:
        def ready() -> bool:
            dead = [process.args for process in self.programs[-1:] if process.poll() is not None]
            assert not dead, f"{dead} ended\n{self.log()}"
            if not self.answers("/readyz"):
                return False
            states = {model["name"]: model["ready"] for model in self.get("/v1/models")["models"]}
            return all(states.get(name) for name in models)

        until(ready, f"{', '.join(models)} become ready", limit=limit, log=self.log)

    def submit(self, task: str, /, **values: Any) -> str:
        answer = self.http.post("/v1/jobs", json={"task": task, "input": values})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.get(f"/v1/jobs/{job_id}")
        return job

    def wait_done(self, job_id: str, limit: float = PATIENCE_SECONDS) -> dict[str, Any]:
        until(lambda: self.job(job_id)["done"], f"job {job_id} ends", limit=limit, log=self.log)
        return self.job(job_id)

    def wait_event(self, job_id: str, kind: str, *, after: int = 0) -> dict[str, Any]:
        """Follow the job's stream until an event of `kind`."""
        for event in self.follow(job_id, after=after):
            if event["type"] == kind:
                return event
        raise AssertionError(f"job {job_id} ended without an event {kind!r}: {self.job(job_id)}")

    def follow(self, job_id: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
        timeout = httpx.Timeout(10, read=PATIENCE_SECONDS)
        with self.http.stream("GET", f"/v1/jobs/{job_id}/events?after={after}", timeout=timeout) as answer:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[5:])

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Return the whole log of an ended job."""
        return list(self.follow(job_id))

    def events_so_far(self, job_id: str, *, after: int = 0) -> list[dict[str, Any]]:
        """Return the log as it is now, without waiting for the end."""
        path = f"/v1/jobs/{job_id}/events?after={after}"
        events: list[dict[str, Any]] = self.http.get(path, headers={"accept": "application/json"}).json()["events"]
        return events

    def worker_pids(self) -> list[int]:
        return [process.pid for process in self._processes() if " worker " in _words(process)]

    def child_pids(self) -> list[int]:
        return [process.pid for process in self._processes() if "glowplug.process.child" in _words(process)]

    def _processes(self) -> Iterator[psutil.Process]:
        for program in self.programs:
            if program.poll() is not None:
                continue
            root = psutil.Process(program.pid)
            yield from (root, *root.children(recursive=True))


@contextmanager
def system(folder: Path, **environment: str) -> Iterator[System]:
    """Yield a system on a free port; whatever it started is ended on the way out."""
    made = System(folder, free_port(), dict(environment))
    try:
        yield made
    finally:
        made.stop()


def until(
    holds: Callable[[], object],
    what: str,
    *,
    limit: float = PATIENCE_SECONDS,
    log: Callable[[], str] = lambda: "",
) -> None:
    """Wait for a fact about other processes, of which no event reaches this one."""
    end_at = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end_at, f"waited {limit} s in vain until {what}\n{log()}"
        time.sleep(0.02)


def end(process: subprocess.Popen[bytes], limit: float = 15) -> int:
    """End a program and its group: asked first, then by force."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(limit)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait(limit)


def assert_told_once(events: Sequence[Mapping[str, Any]]) -> None:
    """The log of an ended job has no gap, and exactly one end."""
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events if event["type"] in TERMINAL] == [events[-1]["type"]]


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
