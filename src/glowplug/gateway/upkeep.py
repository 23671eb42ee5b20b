"""Upkeep of the models over all workers: failed ones are loaded again, ready ones warmed up again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from glowplug.clock import Clock
from glowplug.errors import Conflict, GlowplugError, NotFound
from glowplug.gateway import pictures
from glowplug.gateway.caller import Caller, Timing
from glowplug.gateway.catalog import Catalog
from glowplug.gateway.desk import Desk
from glowplug.gateway.registry import Entry, Registry
from glowplug.gateway.waits import first_of
from glowplug.readiness.warm_up import WarmUp

BEGIN_SECONDS = 2.0
ANEW = "one that is started anew loads it again: glowplug worker TARGET"


class Upkeep:
    """What an operator asks of workers, wherever the model lives."""

    def __init__(self, registry: Registry, desk: Desk, catalog: Catalog, caller: Caller, clock: Clock) -> None:
        self._registry = registry
        self._desk = desk
        self._catalog = catalog
        self._caller = caller
        self._clock = clock

    async def retry(self, names: Sequence[str]) -> tuple[str, ...]:
        """Order failed models to be loaded again, those named or all; return which, once their workers have begun.

        A worker that does not answer the order soon is not waited for.

        Raises:
            NotFound: there is no such model.
            Conflict: none of them has failed on a worker that could be ordered.
        """
        known = self._catalog.models.keys() | self._registry.unfinished_models()
        for name in names:
            if name not in known:
                raise NotFound(f"no model {name[:80]!r}; there are: {', '.join(sorted(known)) or 'none yet'}")
        marks = self._marks()
        wanted = names or sorted({model for _, model in marks})
        retried = tuple(dict.fromkeys(model for model in wanted if self._desk.retry(model)))
        if not retried:
            raise Conflict(self._why_not(names))
        begun = {place: attempt for place, attempt in marks.items() if place[1] in retried}
        await first_of(self._left_behind(begun), self._clock.sleep(BEGIN_SECONDS))
        return retried

    async def warm_up(self) -> tuple[WarmUp, ...]:
        """Let every ready worker warm its models up again, all at the same time; return what each model took.

        Raises:
            Conflict: no model is ready.
        """
        able = [entry for entry in self._registry if entry.ready_models]
        if not able:
            raise Conflict("no model is ready: there is nothing to warm up")
        return merged(await asyncio.gather(*(self._warm(entry) for entry in able)))

    def _marks(self) -> dict[tuple[str, str], int]:
        """Return the number of the attempt that failed, by worker and model."""
        return {
            (entry.record.instance_id, one.name): one.attempt
            for entry in self._registry
            if entry.takes_orders
            for one in entry.picture.components
            if one.status.is_failed
        }

    async def _left_behind(self, marks: Mapping[tuple[str, str], int]) -> None:
        # Else whoever looks right after the answer would still see the old failure, and take it for the new one.
        async with self._registry.board.subscribe() as news:
            async for _ in news:
                now = self._marks()
                if not any(now.get(place) == attempt for place, attempt in marks.items()):
                    return

    def _why_not(self, names: Sequence[str]) -> str:
        if not names:
            left = [entry for entry in self._registry if not entry.online]
            hint = f"; of workers that have left, {ANEW}" if left else ""
            return f"no model has failed on a worker that is here: there is nothing to retry{hint}"
        return "; ".join(self._state_of(name) for name in names)

    def _state_of(self, name: str) -> str:
        here = [entry for entry in self._registry if entry.online and name in entry.models]
        if not any(entry.takes_orders and entry.record.status != "draining" for entry in here):
            failed = [entry for entry in here if name in pictures.failed_models(entry.picture)]
            what = "takes no orders from here" if failed else "has left, so there is nobody to order"
            return f"the worker of {name} {what}; {ANEW}"
        found = self._registry.board.snapshot().find(name)
        return f"{name} is {found.status if found else 'not begun'}: there is nothing to retry"

    async def _warm(self, entry: Entry) -> tuple[WarmUp, ...]:
        worker, url = entry.record.instance_id, entry.record.url
        if url is None:
            return _all_failed(entry, f"{worker}: it has no address to be asked at")
        try:
            timings = await self._caller.warm_up(url)
        except GlowplugError as error:
            return _all_failed(entry, f"{worker}: {error.message}")
        return tuple(_told(worker, name, timing) for name, timing in timings.items())


def merged(answers: Iterable[Iterable[WarmUp]]) -> tuple[WarmUp, ...]:
    """Join what several workers answered: by model the slowest, and every error."""
    found: dict[str, list[WarmUp]] = {}
    for answer in answers:
        for one in answer:
            found.setdefault(one.component, []).append(one)
    return tuple(_joined(name, found[name]) for name in sorted(found))


def _joined(name: str, parts: Sequence[WarmUp]) -> WarmUp:
    seconds = [one.seconds for one in parts if one.seconds is not None]
    errors = [one.error for one in parts if one.error]
    return WarmUp(name, max(seconds, default=None), "; ".join(errors) or None)


def _told(worker: str, name: str, timing: Timing) -> WarmUp:
    spent = timing.warmup_time_ms
    return WarmUp(name, None if spent is None else spent / 1000, timing.error and f"{worker}: {timing.error}")


def _all_failed(entry: Entry, why: str) -> tuple[WarmUp, ...]:
    return tuple(WarmUp(name, None, why) for name in sorted(entry.ready_models))
