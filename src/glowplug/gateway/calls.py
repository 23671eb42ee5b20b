"""Calls of tasks on behalf of other protocols' routes: values in and out, whatever the way to the worker is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from glowplug.errors import (
    Conflict,
    DeadlineExceeded,
    Draining,
    GlowplugError,
    InvalidInput,
    JobFailed,
    TaskFailed,
    Unreachable,
    error_classes,
)
from glowplug.gateway.catalog import model_of
from glowplug.gateway.direct import PassedOn, Reply
from glowplug.gateway.offers import Offers
from glowplug.gateway.schemas import Submit
from glowplug.gateway.service import Gateway
from glowplug.gateway.subjects import Subject
from glowplug.job import Job, JobState
from glowplug.problem import told_error, told_fields
from glowplug.store import TaskInfo

AT_ONCE = 64
BYTES_AT_ONCE = 64 * 1024 * 1024
_json = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


class Values(AsyncIterator[Any]):
    """The values of a call as its task yields them; of a task that returns, the one. `aclose` stops the call."""

    def __init__(self, reply: Reply) -> None:
        self._stream = reply.stream
        self._values = _streamed(reply.stream) if reply.stream else _single(reply)

    async def __anext__(self) -> Any:
        return await anext(self._values)

    async def aclose(self) -> None:
        """Let go of the worker."""
        if self._stream is not None:
            await self._stream.aclose()


class Calls:
    """Calls tasks for a subject; input that names somebody else's artifacts is refused."""

    def __init__(self, gateway: Gateway, offers: Offers) -> None:
        self._gateway = gateway
        self.offers = offers

    @classmethod
    def of(cls, gateway: Gateway) -> Calls:
        """Return the calls of all that a gateway offers."""
        return cls(gateway, Offers(gateway.catalog, gateway.registry, gateway.desk.want_loaded))

    async def value(self, task: TaskInfo, given: Mapping[str, Any], subject: Subject) -> Any:
        """Call a task directly and return what it returns. Raises what went wrong there, as an error of ours."""
        values = await self.values(task, given, subject)
        try:
            return [value async for value in values] if task.streams else await anext(values)
        finally:
            await values.aclose()

    async def values(self, task: TaskInfo, given: Mapping[str, Any], subject: Subject) -> Values:
        """Call a task directly; return once its first value is there."""
        self.offers.check_ready(model_of(task.name))
        if not subject.sees_all:
            # Else the worker, who sees everything, would open another's files for this one.
            await self._gateway.jobs.check_references(given, task.input_schema, subject)
        reply = await self._gateway.direct.run(task.name, _encoder.encode(given))
        if reply.status >= 400:
            raise told_error({"status": reply.status, **_problem(reply)})
        return Values(reply)

    async def all(self, task: TaskInfo, inputs: Sequence[Mapping[str, Any]], subject: Subject) -> list[Any]:
        """Call a task with each of the inputs, several at once; the first error ends them all."""

        async def one(given: Mapping[str, Any]) -> Any:
            async with room:
                return await self.value(task, given, subject)

        if len(inputs) == 1:
            return [await self.value(task, inputs[0], subject)]
        room = asyncio.Semaphore(_at_once(inputs))
        calls = [asyncio.ensure_future(one(given)) for given in inputs]
        try:
            return await asyncio.gather(*calls)
        finally:
            for call in calls:
                call.cancel()

    async def submit(self, task: TaskInfo, given: Mapping[str, Any], subject: Subject) -> Job:
        """Queue a job of a task whose model is ready. Raises what `Jobs.submit` raises, and `NotReady`."""
        self.offers.check_ready(model_of(task.name))
        self._gateway.jobs.check_size(_encoder.encode(given))
        return (await self._gateway.jobs.submit([Submit(task=task.name, input=dict(given))], subject=subject))[0].job

    async def completed(self, job: Job) -> Job:
        """Wait until a job is completed; whoever stops waiting cancels it.

        Raises:
            DeadlineExceeded: it took too long, and is canceled.
            Draining: the gateway is leaving; the job is canceled, so that it can be asked for again.
            JobFailed: somebody canceled it; and whatever else a failed job ended with.
        """
        clock, limit = self._gateway.parts.clock, self._gateway.policy.limits.call_seconds
        until = clock.monotonic() + limit
        try:
            job = await self._gateway.feed.done(job.id, timeout_seconds=limit)
        finally:
            if not job.done:
                await self._cancel(job)
        if not job.done and clock.monotonic() < until:
            raise Draining("the gateway is leaving; ask again", retry_after=1)
        if not job.done:
            raise DeadlineExceeded(f"{job.task} did not end in {limit:g} s and was canceled; use POST /v1/jobs")
        if job.state is not JobState.COMPLETED:
            raise failure_of(job)
        return job

    async def _cancel(self, job: Job) -> None:
        # It may have ended a moment ago.
        with suppress(Conflict):
            await asyncio.shield(asyncio.ensure_future(self._gateway.ledger.cancel(job.id)))


def _at_once(inputs: Sequence[Mapping[str, Any]]) -> int:
    # What is the same for all, such as a long list, is written into each call anew: of large ones few go at once.
    size = len(_encoder.encode(inputs[0])) if inputs else 1
    return max(1, min(AT_ONCE, BYTES_AT_ONCE // size))


@contextmanager
def renamed(names: Mapping[str, str]) -> Iterator[None]:
    """Let an `InvalidInput` name the caller's own parameters instead of the task's."""
    try:
        yield
    except InvalidInput as error:
        raise _renamed(error, names) from error


def failure_of(job: Job) -> GlowplugError:
    """Return the error that a job ended with."""
    failure = job.failure
    if failure is None:
        return JobFailed(f"the job was {job.state.value}", job_id=job.id)
    kind = error_classes().get(failure.code)
    if kind is None:
        return TaskFailed(f"{failure.code}: {failure.message}", job_id=job.id)
    error = kind(failure.message)
    error.data.update(failure.details, job_id=job.id)
    return error


def _renamed(error: InvalidInput, names: Mapping[str, str]) -> InvalidInput:
    message, fields = error.message, []
    for field in told_fields(error, names):
        first, dot, rest = field["path"].partition(".")
        path = names.get(first, first) + dot + rest
        message = _relabelled(message, field["path"], path)
        fields.append({**field, "path": path})
    told = type(error)(message)
    told.data.update(error.data, **({"fields": fields} if fields else {}))
    return told


def _relabelled(message: str, old: str, new: str) -> str:
    """Return a message with the name of a field replaced where it stands as one: first, after the task's, or last."""
    found = re.search(rf"(?:^|[:;] ){re.escape(old)}(?=: )", message) if new != old else None
    return message if found is None else message[: found.end() - len(old)] + new + message[found.end() :]


async def _single(reply: Reply) -> AsyncIterator[Any]:
    yield _json.decode(reply.body)


async def _streamed(stream: PassedOn) -> AsyncIterator[Any]:
    async for event, data in _events(stream):
        if event == b"error":
            raise told_error(_json.decode(data))
        if event == b"done":
            return
        yield _json.decode(data)
    raise Unreachable("the worker's answer ended in the middle")


async def _events(stream: PassedOn) -> AsyncIterator[tuple[bytes, bytes]]:
    """Yield name and data of each event; workers of ours write one line of data, and the name before it."""
    rest = b""
    async for chunk in stream:
        *whole, rest = (rest + chunk).split(b"\n\n")
        for event in whole:
            lines = [line.partition(b": ") for line in event.splitlines()]
            said = {word: value for word, _, value in lines}
            if b"data" in said:
                yield said.get(b"event", b""), said[b"data"]


def _problem(reply: Reply) -> Mapping[str, Any]:
    try:
        problem = _json.decode(reply.body)
    except msgspec.DecodeError:
        problem = None
    return problem if isinstance(problem, dict) else {"detail": f"the worker answered {reply.status}"}
