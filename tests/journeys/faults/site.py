"""A Glowplug on a ground: a gateway and workers that a test may kill, and that are whole again for the next one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from tests.journeys.faults.grounds import Ground
from tests.journeys.system import MODELS, System, end, free_port, until

TARGET = MODELS / "epochs.py"
LEASE_SECONDS = 3
FIRST = "first"
PACE = {"GLOWPLUG_LEASE_SECONDS": str(LEASE_SECONDS), "GLOWPLUG_REDISPATCH_SECONDS": "2"}


@dataclass
class Site:
    """The gateway of the ground and its workers, by name."""

    plug: System
    ground: Ground
    first: str = FIRST
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _gateway: subprocess.Popen[bytes] | None = None
    _log_before: int = 0

    def heal(self) -> None:
        """Bring everything to how a test expects it: servers up, a gateway, one worker whose model is ready."""
        self.ground.mend()
        for name in [name for name in self.workers if name != self.first]:
            self.end_worker(name)
        if self._gateway is None or self._gateway.poll() is not None:
            self.start_gateway()
        if self.first not in self.workers or self.workers[self.first].poll() is not None:
            self.start_worker(self.first)
        self.wait_worker_ready(self.first)
        self.plug.wait_ready("epochs")

    def start_gateway(self, **environment: str) -> None:
        """Start the gateway, and wait until it is ready."""
        self._log_before = len(self._whole_log())
        self._gateway = self.plug.start("gateway", "--port", str(self.plug.port), environment=environment)
        self.wait_gateway()

    def wait_gateway(self) -> None:
        """Wait until the gateway is ready."""

        def ready() -> bool:
            assert self._gateway is None or self._gateway.poll() is None, f"the gateway ended\n{self.plug.log()}"
            return self.plug.answers("/readyz")

        until(ready, "the gateway is ready", log=self.plug.log)

    def has_led(self, duty: str, gateway: str) -> bool:
        """Say whether the gateway of that name is the one that runs here now."""
        return f"event=duty.led duty={duty} gateway={gateway}" in self._whole_log()[self._log_before :]

    def _whole_log(self) -> str:
        log = self.plug.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def kill_gateway(self) -> None:
        """End the gateway without a word."""
        assert self._gateway is not None
        self._kill(self._gateway)

    def start_worker(self, name: str, **environment: str) -> None:
        """Start a worker; it may still be loading when this returns."""
        self.workers[name] = self.plug.worker(TARGET, GLOWPLUG_WORKER_INSTANCE_ID=name, **environment)

    def kill_worker(self, name: str = FIRST) -> None:
        """End a worker's supervisor without a word; its model dies with it."""
        self._kill(self.workers.pop(name))

    def end_worker(self, name: str = FIRST) -> None:
        """Tell a worker to leave, and wait until it has."""
        worker = self.workers.pop(name)
        end(worker)
        self.plug.programs.remove(worker)

    def pause_worker(self, name: str) -> None:
        """Freeze a worker and its model."""
        for process in _family(self.workers[name]):
            process.suspend()

    def resume_worker(self, name: str) -> None:
        """Let a frozen worker go on."""
        for process in _family(self.workers[name]):
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def children(self, name: str = FIRST) -> list[int]:
        """Return the processes of a worker's models."""
        found = _family(self.workers[name])
        return [process.pid for process in found if any("glowplug.process.child" in word for word in _words(process))]

    def kill_child(self, name: str = FIRST) -> None:
        """End a worker's model process without a word."""
        until(lambda: self.children(name), "the worker has a model process", log=self.plug.log)
        for pid in self.children(name):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait_worker_ready(self, name: str) -> None:
        """Wait until a worker is ready in the eyes of the gateway."""

        def ready() -> bool:
            found = self.plug.get("/v1/workers")["workers"]
            return any(one["instance_id"] == name and one["status"] == "ready" for one in found)

        until(ready, f"worker {name} is ready", log=self.plug.log)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        self.plug.programs.remove(process)

    def submit(self, task: str, /, *, limit: float = 30.0, key: str | None = None, **values: Any) -> str:
        """Queue a job as a careful caller does: under a key, and again until there is an answer."""
        accepted = self._post("/v1/jobs", {"task": f"epochs.{task}", "input": values}, key=key, limit=limit)
        return str(accepted["id"])

    def submit_together(self, task: str, inputs: Sequence[Mapping[str, Any]]) -> list[str]:
        """Queue up to a thousand jobs at once."""
        jobs = [{"task": f"epochs.{task}", "input": values} for values in inputs]
        return [str(job["id"]) for job in self._post("/v1/batches", {"jobs": jobs})["jobs"]]

    def _post(self, path: str, body: Any, *, key: str | None = None, limit: float = 30.0) -> Any:
        headers = {"Idempotency-Key": key or os.urandom(8).hex()}
        taken: list[Any] = []

        def accepted() -> bool:
            try:
                answer = self.plug.http.post(path, json=body, headers=headers, timeout=10)
            except httpx.TransportError:
                return False
            if answer.status_code == 202:
                taken.append(answer.json())
            else:
                assert answer.status_code in (502, 503, 504, 507), answer.text
            return bool(taken)

        until(accepted, f"{path} takes it", limit=limit, log=self.plug.log)
        return taken[0]

    def wait_works(self, job: str, attempt: int = 1) -> None:
        """Wait until an attempt of the job has told something of its work."""

        def works() -> bool:
            events = self.plug.events_so_far(job)
            started = [event["seq"] for event in events if event["type"] == "started"]
            return len(started) >= attempt and any(
                event["type"] == "metrics" and event["seq"] > started[attempt - 1] for event in events
            )

        until(works, f"attempt {attempt} of {job} works", log=self.plug.log)


@contextmanager
def site_on(
    ground: Ground, folder: Path, environment: Mapping[str, str] | None = None, *, worker: str = FIRST
) -> Iterator[Site]:
    """Yield a site whose own worker has that name, and end all of it."""
    plug = System(folder, free_port(), {**PACE, **ground.environment, **(environment or {})})
    try:
        yield Site(plug, ground, worker)
    finally:
        plug.stop()
        ground.mend()


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        root = psutil.Process(process.pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
