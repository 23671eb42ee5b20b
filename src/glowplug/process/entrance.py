"""Where calls wait for a place; one that waits can be stopped there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from glowplug.errors import NotReady
from glowplug.job import OutcomeKind
from glowplug.process.call import Call, CallEnd
from glowplug.process.slots import Slots, Waiter


@dataclass(slots=True)
class Party:
    """Calls that wait together for one place; `stopped` are those that will not go in."""

    calls: Sequence[Call]
    waiter: Waiter
    stopped: dict[str, CallEnd] = field(default_factory=dict)


class Entrance:
    """The way to the places of `slots`."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._waiting: dict[str, Party] = {}

    async def pass_through(self, calls: Sequence[Call]) -> dict[str, CallEnd]:
        """Take a place for `calls` together, waiting for one.

        Returns the ends of those that will not go in: stopped meanwhile, or not ready any more. If that is all of
        them, no place is taken.
        """
        waiter = self._slots.enter()
        return {} if waiter is None else await self._wait(Party(calls, waiter))

    def stop(self, call_id: str, kind: OutcomeKind) -> None:
        """Stop a call that waits; any other is let be."""
        party = self._waiting.get(call_id)
        if party is None:
            return
        party.stopped[call_id] = CallEnd(kind)
        if len(party.stopped) == len(party.calls):
            party.waiter.cancel()

    async def _wait(self, party: Party) -> dict[str, CallEnd]:
        mine = {call.id: party for call in party.calls}
        self._waiting.update(mine)
        try:
            await party.waiter
        except NotReady as error:
            return {call.id: CallEnd(OutcomeKind.FAILED, error=error) for call in party.calls} | party.stopped
        except asyncio.CancelledError:
            self._slots.give_up(party.waiter)
            if len(party.stopped) < len(party.calls):
                raise
        else:
            # Stopped in the very moment in which the place came: nobody else would give it back.
            if len(party.stopped) == len(party.calls):
                self._slots.leave(ended_well=0)
        finally:
            for call_id in mine:
                self._waiting.pop(call_id, None)
        return party.stopped
