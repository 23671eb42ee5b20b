"""The ends of attempts on their way to the gateway, in batches: while one call is under way the next ones gather."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, replace

from glowplug.errors import GlowplugError
from glowplug.job import Failure, OutcomeKind
from glowplug.link import Finish
from glowplug.runtime.bell import Bell
from glowplug.runtime.station import Station
from glowplug.runtime.uplink import AWAY, is_refusal
from glowplug.store import Settlement


@dataclass(frozen=True, slots=True)
class _Letter:
    settlement: Settlement
    answer: asyncio.Future[bool]


class Outbox:
    """Sends settlements until they are accepted or refused; sending one twice is harmless."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._bell = Bell(station.clock)
        self._waiting: deque[_Letter] = deque()

    async def settle(self, settlement: Settlement) -> bool:
        """Deliver a settlement; False if it was refused, so that somebody else owns the job."""
        letter = _Letter(settlement, asyncio.get_running_loop().create_future())
        self._waiting.append(letter)
        self._bell.ring()
        return await letter.answer

    async def run(self) -> None:
        """Deliver, until canceled."""
        failures = 0
        while True:
            if not self._waiting:
                await self._bell.wait()
                continue
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._limit))]
            try:
                await self._deliver(batch)
                failures = 0
            except GlowplugError:
                # In front, and in their order: the ends of attempts are told as they happened.
                self._waiting.extendleft(reversed([letter for letter in batch if not letter.answer.done()]))
                failures += 1
                await self._station.clock.sleep(self._station.backoff.delay_seconds(failures))

    @property
    def _limit(self) -> int:
        return self._station.policy.settlements_per_call

    async def _deliver(self, batch: list[_Letter]) -> None:
        message = Finish(self._station.identity.instance_id, tuple(letter.settlement for letter in batch))
        try:
            accepted = (await self._station.link.finish(message)).accepted
        except AWAY:
            raise
        except GlowplugError as error:
            await (self._deliver_apart(batch) if len(batch) > 1 else self._mend(batch[0], error))
            return
        for letter, taken in zip(batch, accepted, strict=True):
            _answer(letter, taken)

    async def _deliver_apart(self, batch: list[_Letter]) -> None:
        """Find the settlement that the gateway stumbles over, so that it holds back no other."""
        fault: GlowplugError | None = None
        for letter in batch:
            try:
                await self._deliver([letter])
            except AWAY:
                raise
            except GlowplugError as error:
                fault = error
        if fault is not None:
            raise fault

    async def _mend(self, letter: _Letter, error: GlowplugError) -> None:
        """Deal with a settlement that is not taken: a result that is refused for ever makes a failed job."""
        if not is_refusal(error):
            raise error
        outcome = letter.settlement.outcome
        if outcome.kind is not OutcomeKind.COMPLETED:
            _answer(letter, taken=False)
            return
        failure = Failure("result_refused", f"the gateway did not take the result: {error.message}", retryable=False)
        failed = replace(outcome, kind=OutcomeKind.FAILED, result=None, failure=failure, artifacts=())
        await self._deliver([_Letter(replace(letter.settlement, outcome=failed), letter.answer)])


def _answer(letter: _Letter, taken: bool) -> None:
    if not letter.answer.done():
        letter.answer.set_result(taken)
