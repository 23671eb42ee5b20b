"""What callers with permission may start: a retry of what failed, and a warm-up of what is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from glowplug.clock import Clock
from glowplug.errors import Conflict, RateLimited
from glowplug.readiness import Status
from glowplug.readiness.warm_up import WarmUp
from glowplug.readiness.wire import present
from glowplug.web.answers import plain
from glowplug.web.parts import Actions, ReadinessParts

RETRY_SECONDS = 5.0
EVERYTHING = ""


class Doors:
    """The endpoints of the actions; a component is retried once in `RETRY_SECONDS`, however many ask for it."""

    def __init__(self, parts: ReadinessParts, actions: Actions) -> None:
        self._parts = parts
        self._actions = actions
        self._limit = _Limit(parts.clock)
        self._warming = False

    async def retry(self, request: Request) -> Response:
        """Load everything that failed again; the answer does not wait for the loads."""
        self._parts.permit(request)
        components = self._parts.told.snapshot().components
        failed = [one.name for one in components if one.status is Status.ERROR]
        # None to be seen is not none: a gateway's picture hides a worker's failure behind another worker's success.
        return await self._retried([name for name in failed if not self._limit.seconds_left(name)] or failed[:1])

    async def retry_one(self, request: Request) -> Response:
        """Load one failed component again; the answer does not wait for the load."""
        self._parts.permit(request)
        return await self._retried([request.path_params["component"]])

    async def warm_up(self, request: Request) -> Response:
        """Warm everything that is loaded again, while it stays ready; answers with the timings."""
        self._parts.permit(request)
        if self._warming:
            raise Conflict("a warm-up is running already")
        self._warming = True
        try:
            done = await self._actions.warm_up()
        finally:
            self._warming = False
        return plain(HTTPStatus.OK, {"services": {one.component: _timing(one) for one in done}})

    async def _retried(self, names: Sequence[str]) -> Response:
        with self._limit.taken(names or [EVERYTHING]):
            retried = await self._actions.retry(names)
        return plain(HTTPStatus.ACCEPTED, {"retried": list(retried)})


class _Limit:
    """When each component was last retried."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: dict[str, float] = {}

    def seconds_left(self, name: str) -> float:
        since = self._last.get(name)
        return 0.0 if since is None else max(0.0, since + RETRY_SECONDS - self._clock.monotonic())

    @contextmanager
    def taken(self, names: Sequence[str]) -> Iterator[None]:
        """Count a retry of `names` unless it fails. Raises `RateLimited`."""
        for name in names:
            if left := self.seconds_left(name):
                raise RateLimited(f"{name} was retried a moment ago; give it time to load", retry_after=left)
        self._last.update(dict.fromkeys(names, self._clock.monotonic()))
        try:
            yield
        except BaseException:
            for name in names:
                del self._last[name]
            raise


def _timing(one: WarmUp) -> dict[str, object]:
    milliseconds = None if one.seconds is None else round(one.seconds * 1000, 1)
    return present(error=one.error, warmup_time_ms=milliseconds if one.error is None else None)
