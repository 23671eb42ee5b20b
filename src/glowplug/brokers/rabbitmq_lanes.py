"""Which consumers a model needs: each has a prefetch of one, and so stands for one slot. Pure.

A message is acknowledged once its job is claimed, and an acknowledgement makes the server hand out the next message at
once. While as many are still wanted, that is what should happen: no round trip lies between one short job and the
next. Otherwise nobody here may have a slot for an hour. Then the acknowledgement is held back a moment, the linger, in
which short jobs free their slots; where it passes, the consumer is canceled first, and acknowledged then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from glowplug.broker import Hint

LINGER_SECONDS = 0.2


class Stage(Enum):
    """Where a lane stands."""

    OPEN = auto()
    HELD = auto()
    TAKEN = auto()
    DONE = auto()
    RELEASED = auto()
    SPOILED = auto()
    CLOSING = auto()


@dataclass(eq=False, slots=True)
class Message:
    """What the server handed to a lane: its number on the channel, the hint, or what is wrong with it."""

    number: int
    hint: Hint | None
    body: bytes = b""
    fault: str = ""


@dataclass(eq=False, slots=True)
class Lane:
    """One consumer; `since` is when its message came, or was done with."""

    tag: str
    stage: Stage = Stage.OPEN
    message: Message | None = None
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and when to look again without being told (None: not at all)."""

    acknowledge: tuple[Lane, ...] = ()
    close: tuple[Lane, ...] = ()
    open: int = 0
    again_at: float | None = None

    @property
    def idle(self) -> bool:
        """Say whether there is nothing to do now."""
        return not (self.acknowledge or self.close or self.open)


def plan(lanes: Iterable[Lane], wanted: int, now: float, *, open_from: float) -> Plan:
    """Decide, so that as many lanes as wanted can get or hold a message. New ones may be opened from `open_from` on."""
    by_stage: dict[Stage, list[Lane]] = {stage: [] for stage in Stage}
    for lane in lanes:
        by_stage[lane.stage].append(lane)
    # The idle ones are closed first, then those whose message came last; what was taken is in somebody's hands.
    spare = by_stage[Stage.OPEN] + sorted(by_stage[Stage.HELD], key=lambda lane: -lane.since)
    counted = len(spare) + len(by_stage[Stage.TAKEN]) + len(by_stage[Stage.SPOILED])
    need = max(0, wanted - counted)
    done = sorted(by_stage[Stage.DONE], key=lambda lane: lane.since)
    go_on, rest = done[:need], done[need:]
    over = [lane for lane in rest if now >= lane.since + LINGER_SECONDS]
    looks = [lane.since + LINGER_SECONDS for lane in rest if lane not in over]
    surplus = spare[: max(0, counted - wanted)]
    fresh = need - len(go_on)
    if fresh and now < open_from:
        looks.append(open_from)
        fresh = 0
    return Plan(tuple(go_on), (*by_stage[Stage.RELEASED], *over, *surplus), fresh, min(looks, default=None))


def batches(numbers: Iterable[int], unacknowledged: Iterable[int]) -> tuple[int | None, list[int]]:
    """Split `numbers` to acknowledge into one that stands for itself and all below it, and single ones."""
    ours, upto = set(numbers), None
    for number in sorted(unacknowledged):
        if number not in ours:
            break
        upto = number
        ours.discard(number)
    return upto, sorted(ours)
