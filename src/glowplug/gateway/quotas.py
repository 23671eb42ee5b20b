"""Quotas: how many jobs an owner may submit in a minute, counted in the store that all gateways share."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from glowplug.clock import Clock
from glowplug.errors import RateLimited
from glowplug.gateway.policy import GatewayPolicy
from glowplug.job import STRIDE, JobRequest
from glowplug.store import JobFilter, Store

MINUTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `limit` jobs of `owner` in any minute, of `task` or of all."""

    owner: str
    limit: int
    task: str | None = None

    @property
    def words(self) -> str:
        """Return the limit as people say it."""
        jobs = "1 job" if self.limit == 1 else f"{self.limit} jobs"
        return f"{self.owner} may submit {jobs} a minute{f' of {self.task}' if self.task else ''}"


class Quotas:
    """Lets an owner's requests in while there is room for them in the minute.

    Those of one owner wait for each other here; two gateways may let one request each in at the same moment.
    """

    def __init__(self, store: Store, clock: Clock, policy: GatewayPolicy) -> None:
        self._store = store
        self._clock = clock
        self._access = policy.access
        self._rates = policy.rates
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def stride(self, owner: str) -> int:
        """Return what a turn costs the owner."""
        user = self._access.user(owner)
        return STRIDE if user is None else max(1, round(STRIDE / user.weight))

    @asynccontextmanager
    async def admitted(self, requests: Sequence[JobRequest]) -> AsyncIterator[None]:
        """Queue the requests, which are of one owner, in this block. Raises `RateLimited`."""
        owner = requests[0].owner if requests else ""
        tasks = Counter(request.task for request in requests)
        quotas = list(self._quotas(owner, tasks))
        if not quotas:
            yield
            return
        lock = self._locks.setdefault(owner, asyncio.Lock())
        async with lock:
            await self._check(requests, quotas)
            yield

    def _quotas(self, owner: str, tasks: Counter[str]) -> Iterator[Quota]:
        user = self._access.user(owner)
        limit = (user.jobs_per_minute if user else None) or self._rates.jobs_per_minute
        if limit is not None:
            yield Quota(owner, limit)
        for task in tasks:
            if task in self._rates.tasks:
                yield Quota(owner, self._rates.tasks[task], task)

    async def _check(self, requests: Sequence[JobRequest], quotas: Sequence[Quota]) -> None:
        tasks = Counter(request.task for request in requests)
        if await self._first_full(quotas, tasks) is None:
            return
        # What is there under its key already is answered, not made: it counts nothing.
        new = Counter(request.task for request in await self._new(requests))
        full = await self._first_full(quotas, new)
        if full is not None:
            raise full

    async def _first_full(self, quotas: Sequence[Quota], tasks: Counter[str]) -> RateLimited | None:
        for quota in quotas:
            full = await self._full(quota, tasks.total() if quota.task is None else tasks[quota.task])
            if full is not None:
                return full
        return None

    async def _full(self, quota: Quota, count: int) -> RateLimited | None:
        if count == 0:
            return None
        if count > quota.limit:
            said = f"{quota.words}, and these are {count} at once: send them in smaller batches"
            return RateLimited(said, retry_after=MINUTE_SECONDS, limit=quota.limit)
        oldest = await self._store.nth_newest(quota.owner, quota.limit - count + 1, task=quota.task)
        if oldest is None:
            return None
        left = MINUTE_SECONDS - (self._clock.now() - oldest).total_seconds()
        if left <= 0:
            return None
        seconds = math.ceil(min(left, MINUTE_SECONDS))
        return RateLimited(f"{quota.words}; there is room again in {seconds} s", retry_after=seconds, limit=quota.limit)

    async def _new(self, requests: Sequence[JobRequest]) -> list[JobRequest]:
        return [request for request in requests if not await self._is_known(request)]

    async def _is_known(self, request: JobRequest) -> bool:
        if request.key is None:
            return False
        where = JobFilter(owner=request.owner, key=request.key)
        return bool((await self._store.jobs(where, limit=1)).jobs)
