"""The blocking client: the asynchronous one behind a door, on an event loop in a thread of its own.

There is nothing to keep in step: each method here is made from its counterpart, with its signature and its promise.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from glowplug.client.async_client import AsyncClient
from glowplug.client.problems import RetryPolicy

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(method: Callable[Concatenate[AsyncClient, P], Awaitable[T]]) -> Callable[Concatenate[Any, P], T]:
    @functools.wraps(method)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.wait_for(functools.partial(method, self.asynchronous, *args, **kwargs))

    return call


def _iterating(
    method: Callable[Concatenate[AsyncClient, P], AsyncIterator[T]],
) -> Callable[Concatenate[Any, P], Iterator[T]]:
    @functools.wraps(method)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        items = method(self.asynchronous, *args, **kwargs)
        try:
            while True:
                try:
                    item = self.wait_for(functools.partial(anext, items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self.wait_for(items.aclose)  # type: ignore[attr-defined]

    return call


class Client:
    """Does what `AsyncClient` does, and returns when it is done. Use it in a `with` block, or `close` it."""

    def __init__(
        self,
        url: str | Callable[[], str] | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        retry: RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.asynchronous = AsyncClient(url, token, timeout=timeout, retry=retry, transport=transport)
        self._opening = threading.Lock()
        self._thread: AbstractContextManager[BlockingPortal] | None = None
        self._portal: BlockingPortal | None = None

    run = _blocking(AsyncClient.run)
    stream = _iterating(AsyncClient.stream)
    submit = _blocking(AsyncClient.submit)
    submit_batch = _blocking(AsyncClient.submit_batch)
    batch = _blocking(AsyncClient.batch)
    job = _blocking(AsyncClient.job)
    jobs = _blocking(AsyncClient.jobs)
    wait = _blocking(AsyncClient.wait)
    result = _blocking(AsyncClient.result)
    subscribe = _iterating(AsyncClient.subscribe)
    logs = _blocking(AsyncClient.logs)
    cancel = _blocking(AsyncClient.cancel)
    retry = _blocking(AsyncClient.retry)
    redrive = _blocking(AsyncClient.redrive)
    deliveries = _blocking(AsyncClient.deliveries)
    tell_again = _blocking(AsyncClient.tell_again)
    models = _blocking(AsyncClient.models)
    model = _blocking(AsyncClient.model)
    load = _blocking(AsyncClient.load)
    retry_load = _blocking(AsyncClient.retry_load)
    warm_up = _blocking(AsyncClient.warm_up)
    tasks = _blocking(AsyncClient.tasks)
    task = _blocking(AsyncClient.task)
    workers = _blocking(AsyncClient.workers)
    readiness = _blocking(AsyncClient.readiness)
    wait_until_ready = _blocking(AsyncClient.wait_until_ready)
    upload = _blocking(AsyncClient.upload)
    download = _blocking(AsyncClient.download)
    save = _blocking(AsyncClient.save)

    def close(self) -> None:
        """Close the connections and end the thread; a later call opens both again."""
        with self._opening:
            thread, portal = self._thread, self._portal
            self._thread = self._portal = None
        if thread is None or portal is None:
            return
        try:
            portal.call(self.asynchronous.close)
        finally:
            thread.__exit__(None, None, None)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_for(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run an asynchronous call on the client's event loop; Ctrl-C cancels it there."""
        future = self._open().start_task_soon(call)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _open(self) -> BlockingPortal:
        with self._opening:
            if self._portal is None:
                self._thread = start_blocking_portal("asyncio", name="glowplug-client")
                self._portal = self._thread.__enter__()
            return self._portal
