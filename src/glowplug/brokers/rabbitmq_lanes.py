"""Which consumers a model needs: each has a prefetch of one, and so stands for one slot. Pure.

A message is acknowledged once its job is claimed. But an acknowledgement makes the server hand out the next message at
once, and for an hour nobody here may have a slot for it. So it is held back a moment, the linger: short jobs free
their slot within it, and then it is sent and the next message flows over the same consumer, without a round trip.
Where the moment passes, the consumer is canceled first, and acknowledged then.
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
    """One consumer. `said` is how often the wish had been said when its message was taken."""

    tag: str
    stage: Stage = Stage.OPEN
    message: Message | None = None
    since: float = 0.0
    said: int = 0


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


def plan(lanes: Iterable[Lane], wanted: int, now: float, *, excess_since: float | None, open_from: float) -> Plan:
    """Decide, so that as many lanes as wanted can get or hold a message.

    `excess_since` is when there began to be more of them than that; `open_from` is when new ones may be opened.
    """
    by_stage: dict[Stage, list[Lane]] = {stage: [] for stage in Stage}
    for lane in lanes:
        by_stage[lane.stage].append(lane)
    ready = by_stage[Stage.OPEN] + by_stage[Stage.HELD] + by_stage[Stage.SPOILED]
    done = sorted(by_stage[Stage.DONE], key=lambda lane: lane.since)
    need = max(0, wanted - len(ready))
    go_on, rest = done[:need], done[need:]
    over = [lane for lane in rest if now >= lane.since + LINGER_SECONDS]
    looks = [lane.since + LINGER_SECONDS for lane in rest if lane not in over]
    surplus: list[Lane] = []
    if len(ready) > wanted and excess_since is not None:
        if now >= excess_since + LINGER_SECONDS:
            # The idle ones first, then those that arrived last.
            order = by_stage[Stage.OPEN] + sorted(by_stage[Stage.HELD], key=lambda lane: -lane.since)
            surplus = order[: len(ready) - wanted]
        else:
            looks.append(excess_since + LINGER_SECONDS)
    fresh = need - len(go_on)
    if fresh and now < open_from:
        looks.append(open_from)
        fresh = 0
    close = (*by_stage[Stage.RELEASED], *over, *surplus)
    return Plan(tuple(go_on), close, fresh, min(looks, default=None))


def batches(numbers: Iterable[int], unacknowledged: Iterable[int]) -> tuple[int | None, list[int]]:
    """Split `numbers` to acknowledge into one that stands for itself and all below it, and single ones."""
    ours, upto = set(numbers), None
    for number in sorted(unacknowledged):
        if number not in ours:
            break
        upto = number
        ours.discard(number)
    return upto, sorted(ours)
