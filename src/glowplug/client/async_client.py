"""The asynchronous client: all that the gateway offers, as methods."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from glowplug.artifact import references
from glowplug.client.exchange import Ask, Exchange
from glowplug.client.files import Files, Source
from glowplug.client.problems import RetryPolicy
from glowplug.client.views import (
    ArtifactView,
    BatchView,
    DeliveryList,
    DeliveryView,
    EventView,
    JobPage,
    JobTimes,
    JobView,
    JobWebhook,
    ModelPage,
    ModelView,
    ReadyView,
    RedrivenView,
    Result,
    RetriedView,
    TaskPage,
    TaskView,
    WarmedView,
    WarmUpView,
    WorkerPage,
)
from glowplug.errors import DeadlineExceeded, GlowplugError, JobFailed, NotReady, Unreachable
from glowplug.problem import told_error

FIRST_WAIT_SECONDS = 20
POLL_SECONDS = 0.25
# Longer than a gateway waits for its workers.
WARM_UP_SECONDS = 300.0

JobRef = str | JobView


@dataclass
class _Cursor:
    """How far a subscription has come, and when it may connect again."""

    after: int
    failures: int = 0
    pause_seconds: float = 0.0
    ended: bool = False


class AsyncClient:
    """Talks to a gateway at `url`, by default the one that `GLOWPLUG_URL` names or that runs on this machine.

    A function for `url` is asked at the first request.

    `timeout` bounds each request, in seconds. A `pathlib.Path` or an open binary file anywhere in an input is
    uploaded, and its reference sent. Errors are those of `glowplug.errors`. What is safe to repeat is repeated while
    the gateway cannot be reached or is not ready; a submission carries an idempotency key, so it is safe too.
    """

    def __init__(
        self,
        url: str | Callable[[], str] | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        retry: RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout = timeout
        self._retry = retry or RetryPolicy()
        self._exchange = Exchange(url, token, timeout_seconds=timeout, retry=self._retry, transport=transport)
        self._files = Files(self._exchange)

    async def close(self) -> None:
        """Close the connections."""
        await self._exchange.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def run(
        self,
        task: str,
        given: Mapping[str, Any] | None = None,
        /,
        *,
        direct: bool = False,
        timeout: float | None = None,
        **parameters: Any,
    ) -> Result:
        """Run `task` and return its result; parameters are keywords, or a mapping where a name is taken.

        It is queued as a job, which survives restarts. With `direct` it goes to a ready worker at once, or fails.

        Raises:
            JobFailed: it ended as failed or canceled; `data["job"]` is its last view.
            DeadlineExceeded: it is not done after `timeout` seconds; `data["job_id"]` goes on.
        """
        said = {**(given or {}), **parameters}
        if direct:
            value = await self._exchange.read(await self._call(task, said, timeout), object)
            files = (ArtifactView(uri=f"artifact:{key}", name=key.rpartition("/")[2]) for key in references(value))
            return Result(value, tuple(files))
        job = await self._submit(task, said, wait_seconds=FIRST_WAIT_SECONDS if timeout is None else timeout)
        return await self.result(job, timeout=timeout)

    async def stream(
        self, task: str, given: Mapping[str, Any] | None = None, /, **parameters: Any
    ) -> AsyncIterator[Any]:
        """Yield what a generator task yields, as it comes, from a ready worker."""
        ask = await self._call(task, {**(given or {}), **parameters}, None)
        async with aclosing(self._exchange.events(ask)) as events:
            async for kind, data in events:
                if kind == "error":
                    raise told_error(msgspec.json.decode(data, type=dict[str, Any]))
                if kind == "done":
                    return
                yield msgspec.json.decode(data)
        raise Unreachable(f"the stream of {task} broke off before its end")

    async def submit(
        self,
        task: str,
        given: Mapping[str, Any] | None = None,
        /,
        *,
        key: str | None = None,
        priority: int = 0,
        run_at: datetime | JobTimes | None = None,
        webhook: str | JobWebhook | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> JobView:
        """Queue a job. `key` makes a repeat return the same job; a fresh one is made if none is given."""
        when = run_at if isinstance(run_at, JobTimes) else JobTimes(run_at)
        times = {"run_at": _text(when.run_at), "expires_at": _text(when.expires_at)}
        options = {"priority": priority or None, "metadata": metadata, **times, **_told(webhook)}
        return await self._submit(task, given or {}, key=key, options=options)

    async def submit_batch(self, jobs: Sequence[Mapping[str, Any]], *, key: str | None = None) -> BatchView:
        """Queue jobs together, all or none; each is a mapping with `task`, `input` and what else `submit` takes."""
        bodies = [{**job, "input": await self._files.uploaded(job.get("input", {}))} for job in jobs]
        ask = Ask("POST", "/v1/batches", json={"jobs": bodies}, headers=_idempotent(key))
        return await self._exchange.read(ask, BatchView)

    async def batch(self, batch_id: str) -> BatchView:
        """Return the jobs of a batch."""
        return await self._exchange.read(Ask("GET", f"/v1/batches/{quote(batch_id, safe='')}"), BatchView)

    async def job(self, job: JobRef) -> JobView:
        """Return a job as it stands."""
        return await self._exchange.read(Ask("GET", _path(job)), JobView)

    async def jobs(
        self,
        *,
        state: str | None = None,
        task: str | None = None,
        batch: str | None = None,
        owner: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> JobPage:
        """List jobs, newest first; `owner` is for operators, others see their own anyway."""
        where = {"state": state, "task": task, "batch": batch, "owner": owner}
        params = {**where, "limit": limit, "cursor": cursor}
        return await self._exchange.read(Ask("GET", "/v1/jobs", params=params), JobPage)

    async def wait(
        self, job: JobRef, *, timeout: float | None = None, on_event: Callable[[EventView], None] | None = None
    ) -> JobView:
        """Wait for the end of a job, good or bad, and return it; `on_event` hears of what happens meanwhile.

        Raises:
            DeadlineExceeded: it is not done after `timeout` seconds; `data["job_id"]` goes on.
        """
        if isinstance(job, JobView) and job.done:
            return job
        try:
            async with asyncio.timeout(timeout):
                return await self._followed(job, on_event)
        except TimeoutError as error:
            job_id = _id(job)
            message = f"job {job_id} is not done after {timeout:g} s; it goes on, ask for it later"
            raise DeadlineExceeded(message, job_id=job_id) from error

    async def result(
        self, job: JobRef, *, timeout: float | None = None, on_event: Callable[[EventView], None] | None = None
    ) -> Result:
        """Wait for a job as `wait` does and return its result. Raises `JobFailed`, `DeadlineExceeded`."""
        ended = await self.wait(job, timeout=timeout, on_event=on_event)
        if not ended.succeeded:
            why = (ended.error or {}).get("message") or f"it was {ended.state}"
            raise JobFailed(f"job {ended.id} ({ended.task}): {why}", job=msgspec.to_builtins(ended))
        return Result(ended.result, ended.artifacts, ended)

    async def subscribe(self, job: JobRef, *, after: int = 0) -> AsyncIterator[EventView]:
        """Yield the job's events with a `seq` above `after`, past and to come, up to its end.

        A connection that breaks is taken up where it broke, without gap or repeat.
        """
        cursor = _Cursor(after)
        while not await self._over(job, cursor):
            async with aclosing(self._events(job, cursor)) as events:
                async for event in events:
                    yield event

    async def logs(self, job: JobRef) -> str:
        """Return what the job has printed."""
        return (await self._exchange.send(Ask("GET", f"{_path(job)}/logs"))).text

    async def cancel(self, job: JobRef) -> JobView:
        """Ask a job to stop. Raises `Conflict` if it has ended."""
        return await self._exchange.read(Ask("POST", f"{_path(job)}/cancel"), JobView)

    async def retry(self, job: JobRef) -> JobView:
        """Queue a failed or canceled job again. Raises `Conflict` for any other."""
        return await self._exchange.read(Ask("POST", f"{_path(job)}/retry", repeatable=False), JobView)

    async def redrive(
        self,
        *,
        task: str | None = None,
        error_code: str | None = None,
        failed_after: datetime | None = None,
        failed_before: datetime | None = None,
        limit: int = 100,
    ) -> RedrivenView:
        """Queue failed jobs again, the newest `limit` that match."""
        times = {"failed_after": _text(failed_after), "failed_before": _text(failed_before)}
        said = {"task": task, "error_code": error_code, **times, "limit": limit}
        body = {name: value for name, value in said.items() if value is not None}
        return await self._exchange.read(Ask("POST", "/v1/jobs/redrive", json=body, repeatable=False), RedrivenView)

    async def deliveries(self, job: JobRef) -> tuple[DeliveryView, ...]:
        """Say how far webhooks and other doors were told of a job."""
        return (await self._exchange.read(Ask("GET", f"{_path(job)}/deliveries"), DeliveryList)).deliveries

    async def tell_again(self, job: JobRef, door: str = "webhook") -> DeliveryView:
        """Have a door told at once what it has not taken, also after it was given up; else the last event again."""
        path = f"{_path(job)}/deliveries/{quote(door, safe='')}/retry"
        return await self._exchange.read(Ask("POST", path), DeliveryView)

    async def models(self) -> tuple[ModelView, ...]:
        """List the models over all workers."""
        return (await self._exchange.read(Ask("GET", "/v1/models"), ModelPage)).models

    async def model(self, name: str) -> ModelView:
        """Return one model. Raises `NotFound`."""
        return await self._exchange.read(Ask("GET", f"/v1/models/{quote(name, safe='')}"), ModelView)

    async def load(self, name: str) -> None:
        """Have a sleeping model loaded. Raises `NotFound`, `Conflict`."""
        await self._exchange.send(Ask("POST", f"/v1/models/{quote(name, safe='')}/load"))

    async def retry_load(self, name: str | None = None) -> tuple[str, ...]:
        """Have a failed model loaded again, or all that failed; return their names, once the loads have begun.

        Raises `NotFound`, `Conflict` when nothing has failed, and `RateLimited` when it was asked a moment ago.
        """
        path = "/api/ready/retry" if name is None else f"/api/ready/retry/{quote(name, safe='')}"
        return (await self._exchange.read(Ask("POST", path, repeatable=False), RetriedView)).retried

    async def warm_up(self) -> dict[str, WarmUpView]:
        """Have every ready model warmed up again; return what each took, the slowest of its workers.

        Raises `Conflict` when no model is ready, or when somebody else is at it.
        """
        ask = Ask("POST", "/api/warmup", repeatable=False, timeout_seconds=WARM_UP_SECONDS)
        return (await self._exchange.read(ask, WarmedView)).services

    async def tasks(self) -> tuple[TaskView, ...]:
        """List the tasks with their schemas."""
        return (await self._exchange.read(Ask("GET", "/v1/tasks"), TaskPage)).tasks

    async def task(self, name: str) -> TaskView:
        """Return one task. Raises `UnknownTask`."""
        return await self._exchange.read(Ask("GET", f"/v1/tasks/{quote(name, safe='')}"), TaskView)

    async def workers(self) -> tuple[dict[str, Any], ...]:
        """List the workers as the gateway's registry knows them."""
        return (await self._exchange.read(Ask("GET", "/v1/workers"), WorkerPage)).workers

    async def readiness(self) -> ReadyView:
        """Return how ready the gateway's models are; answered before they are, too."""
        return await self._exchange.read(Ask("GET", "/api/ready"), ReadyView)

    async def wait_until_ready(
        self,
        model: str | None = None,
        *,
        timeout: float | None = None,
        on_change: Callable[[ReadyView], None] | None = None,
    ) -> None:
        """Wait until `model`, or every model, is ready; a gateway that does not answer yet is waited for as well.

        `on_change` gets each picture that differs from the one before.

        Raises:
            LoadFailed: a load ended in an error.
            DeadlineExceeded: not ready after `timeout` seconds.
        """
        began = time.monotonic()
        last: ReadyView | None = None
        while True:
            try:
                view: ReadyView | None = await self.readiness()
                missing = f"{view.message or view.state}" if view is not None else ""
            except (Unreachable, NotReady) as error:
                view, missing = None, error.message
            if view is not None and view != last and on_change is not None:
                on_change(view)
            last = view or last
            if view is not None and view.serves(model):
                return
            if timeout is not None and time.monotonic() - began >= timeout:
                raise DeadlineExceeded(f"not ready after {timeout:g} s: {missing}")
            await asyncio.sleep(POLL_SECONDS)

    async def upload(self, file: Source, *, name: str | None = None) -> ArtifactView:
        """Upload a file, by its path or opened in binary mode; return the reference that inputs carry."""
        return await self._files.upload(file, name)

    async def download(self, artifact: str | ArtifactView, to: str | os.PathLike[str]) -> Path:
        """Save an artifact into the folder `to`, or as the file `to`, whole or not at all; return the path.

        Raises:
            NotFound, Corrupt, DiskFull: it is not there, arrived damaged, or there is no room.
        """
        view = artifact if isinstance(artifact, ArtifactView) else ArtifactView(uri=artifact)
        return await self._files.download(view, Path(to))

    async def save(self, result: Result | JobView, to: str | os.PathLike[str]) -> list[Path]:
        """Save every file of a result into the folder `to`; a name that is taken gets a number."""
        return await self._files.save(result, Path(to))

    async def _events(self, job: JobRef, cursor: _Cursor) -> AsyncGenerator[EventView, None]:
        """Yield the events that one connection brings; an error that may pass only sets when to ask again."""
        ask = Ask("GET", f"{_path(job)}/events", headers={"Last-Event-ID": str(cursor.after)})
        try:
            async with aclosing(self._exchange.events(ask)) as events:
                async for _, data in events:
                    event = msgspec.json.decode(data, type=EventView)
                    cursor.after, cursor.failures = event.seq, 0
                    yield event
            cursor.ended = True
        except DeadlineExceeded as error:
            # A stream that lives has a heartbeat: silence is a connection that broke without telling.
            cursor.pause_seconds = self._pause(cursor, Unreachable(error.message))
        except GlowplugError as error:
            cursor.pause_seconds = self._pause(cursor, error)

    def _pause(self, cursor: _Cursor, error: GlowplugError) -> float:
        cursor.failures += 1
        pause = self._retry.pause_seconds(error, cursor.failures)
        if pause is None:
            raise error
        return pause

    async def _over(self, job: JobRef, cursor: _Cursor) -> bool:
        """Say whether there is nothing more to come; where there may be, return when it is time to connect again."""
        if cursor.ended and (await self.job(job)).done:
            return True
        cursor.ended = False
        await asyncio.sleep(cursor.pause_seconds)
        cursor.pause_seconds = POLL_SECONDS
        return False

    async def _followed(self, job: JobRef, on_event: Callable[[EventView], None] | None) -> JobView:
        async for event in self.subscribe(job):
            if on_event is not None:
                on_event(event)
        return await self.job(job)

    async def _submit(
        self,
        task: str,
        given: Mapping[str, Any],
        *,
        key: str | None = None,
        options: Mapping[str, Any] | None = None,
        wait_seconds: float = 0,
    ) -> JobView:
        said = {name: value for name, value in (options or {}).items() if value is not None}
        wait = min(int(wait_seconds), FIRST_WAIT_SECONDS)
        ask = Ask(
            "POST",
            "/v1/jobs",
            json={"task": task, "input": await self._files.uploaded(given), **said},
            headers={**_idempotent(key), **({"Prefer": f"wait={wait}"} if wait > 0 else {})},
            timeout_seconds=self._timeout + wait,
        )
        return await self._exchange.read(ask, JobView)

    async def _call(self, task: str, given: Mapping[str, Any], timeout: float | None) -> Ask:
        body = await self._files.uploaded(given)
        path = f"/v1/run/{quote(task, safe='')}"
        return Ask("POST", path, json=body, repeatable=False, timeout_seconds=timeout or 900.0)


def _id(job: JobRef) -> str:
    return job.id if isinstance(job, JobView) else job


def _path(job: JobRef) -> str:
    return f"/v1/jobs/{quote(_id(job), safe='')}"


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None


def _told(webhook: str | JobWebhook | None) -> dict[str, Any]:
    if webhook is None:
        return {}
    hook = JobWebhook(webhook) if isinstance(webhook, str) else webhook
    return {"webhook": hook.url, "webhook_events": list(hook.events) or None}


def _idempotent(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key or str(uuid.uuid4())}
