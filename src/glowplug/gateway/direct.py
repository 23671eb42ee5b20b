"""Direct calls: passed on to the ready worker with the fewest of them, unread in both directions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import msgspec
from fastapi.sse import format_sse_event

from glowplug.clock import Clock
from glowplug.errors import GlowplugError, NotReady
from glowplug.events import emit
from glowplug.gateway import pictures
from glowplug.gateway.caller import Caller, NoConnection
from glowplug.gateway.catalog import Catalog, model_of
from glowplug.gateway.registry import Entry, Registry
from glowplug.problem import LONGEST_RETRY_AFTER_SECONDS, problem_body

PASSED_HEADERS = ("content-type", "retry-after", "cache-control")
EVENT_STREAM = "text/event-stream"
TIMEOUT_MARGIN_SECONDS = 10.0
ATTEMPTS = 2


class _Problem(msgspec.Struct, frozen=True):
    code: str | None = None


_problem = msgspec.json.Decoder(_Problem)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a worker answered: a whole body, or a stream that must be read to its end or closed."""

    status: int
    headers: dict[str, str]
    body: bytes
    stream: PassedOn | None = None

    @property
    def code(self) -> str | None:
        """Return what a problem is called; None for what is none."""
        try:
            return _problem.decode(self.body).code
        except msgspec.DecodeError:
            return None


class PassedOn:
    """A worker's stream on its way to the caller; `aclose` lets go of the worker, which stops the call."""

    def __init__(self, answer: aiohttp.ClientResponse, held: AsyncExitStack) -> None:
        self._answer = answer
        self._held = held

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async with self._held:
                async for chunk in self._answer.content.iter_any():
                    yield chunk
        except GlowplugError as error:
            # The status has been sent long ago: the error can only be the stream's last event.
            yield format_sse_event(data_str=msgspec.json.encode(problem_body(error)).decode(), event="error")

    async def aclose(self) -> None:
        """Close the connection to the worker if it is still open."""
        await self._held.aclose()


class DirectCalls:
    """Sends direct calls to workers.

    `wanted` hears of each model that was called while none of it was ready, and `refused` of each worker and model that
    were thought to be, and are not: one that has just fallen asleep looks awake from here for a moment.
    """

    def __init__(self, registry: Registry, catalog: Catalog, caller: Caller, clock: Clock) -> None:
        self._registry = registry
        self._catalog = catalog
        self._caller = caller
        self._clock = clock
        self.wanted: Callable[[str], None] = lambda model: None
        self.refused: Callable[[str, str], None] = lambda instance_id, model: None

    async def run(self, task: str, body: bytes) -> Reply:
        """Run `task` on a ready worker and return its answer, whatever it is.

        A worker that cannot be connected to, or says that it is not ready after all, is passed over once.

        Raises:
            UnknownTask: no model here has the task.
            NotReady: no worker is ready for it; `data["retry_after"]` says when to ask again.
            Unreachable: the worker went away in the middle.
            DeadlineExceeded: no answer in time.
        """
        self._catalog.task(task)
        began, status = self._clock.monotonic(), 500
        try:
            reply = await self._run(task, body)
            status = reply.status
        except GlowplugError as error:
            status = error.status
            raise
        finally:
            emit("call.done", task=task, status=status, seconds=self._clock.monotonic() - began)
        return reply

    async def _run(self, task: str, body: bytes) -> Reply:
        model, tried = model_of(task), list[str]()
        refused: Reply | NoConnection | None = None
        while len(tried) < ATTEMPTS:
            entry = self._registry.pick(model, without=tried)
            if entry is None:
                break
            tried.append(entry.record.instance_id)
            try:
                reply = await self._send(entry, task, body)
            # Nothing was sent, so nothing can run twice; any later failure is the caller's to judge.
            except NoConnection as error:
                await self._registry.probed(entry.record.instance_id, None)
                refused = error
                continue
            if reply.status != NotReady.status:
                return reply
            refused = reply
            if reply.code == NotReady.code:
                self.refused(entry.record.instance_id, model)
        if isinstance(refused, Reply):
            return refused
        self.wanted(model)
        raise refused or self._none_ready(model)

    async def _send(self, entry: Entry, task: str, body: bytes) -> Reply:
        url = entry.record.url or ""
        async with AsyncExitStack() as held:
            entry.outstanding += 1
            held.callback(_one_less, entry)
            answer = await held.enter_async_context(self._caller.call(url, task, body, seconds=self._seconds(task)))
            headers = {name: answer.headers[name] for name in PASSED_HEADERS if name in answer.headers}
            if not headers.get("content-type", "").startswith(EVENT_STREAM):
                return Reply(answer.status, headers, await answer.read())
            return Reply(answer.status, headers, b"", PassedOn(answer, held.pop_all()))

    def _seconds(self, task: str) -> float | None:
        info = self._catalog.tasks.get(task)
        limit = info.timeout_seconds if info is not None else None
        return None if limit is None else limit + TIMEOUT_MARGIN_SECONDS

    def _none_ready(self, model: str) -> NotReady:
        picture = self._registry.board.snapshot()
        found = picture.find(model)
        if found is not None and found.status.can_serve:
            return NotReady(f"no worker of {model} takes direct calls; queue a job with POST /v1/jobs", model=model)
        error = pictures.refusal(picture, model)
        if not error.retryable:
            # Promised for every call that finds nobody ready; an operator may have mended it by then.
            error.data["retry_after"] = LONGEST_RETRY_AFTER_SECONDS
            return error
        return type(error)(f"{error.message}; or send Prefer: respond-async to queue a job", **error.data)


def _one_less(entry: Entry) -> None:
    entry.outstanding -= 1
