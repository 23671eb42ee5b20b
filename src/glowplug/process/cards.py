"""The memory of a machine's cards, and whose turn it is there: pure decisions from what every model has written down.

Every process decides from the same pages for itself alone, so nobody commands and nobody waits for an answer: a model
that is to be let in lets itself in, one that is to make room leaves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

CPU = "cpu"
SILENT_SECONDS = 2.0
"""Whoever has not said for so long whether it is busy is passed over, and not waited for."""


@dataclass(frozen=True, slots=True)
class Card:
    """A device that a model may go to: `device` is what libraries call it, `identity` what all processes call it.

    `total_bytes` is None where memory is not bounded, `used_bytes` where nobody can say what all programs hold there.
    """

    device: str
    identity: str
    total_bytes: int | None = None
    used_bytes: int | None = None


class Stand(StrEnum):
    """Where a model is, seen from its card."""

    OUTSIDE = "outside"
    LOADING = "loading"
    AWAKE = "awake"
    LEAVING = "leaving"
    ASLEEP = "asleep"


@dataclass(frozen=True, slots=True)
class Wish:
    """Room that a model waits for: so many bytes on one of `rooms`, which is what there is by the card's identity.

    `urgent` says that work waits for the model: only then do others make room. `since` is the moment of asking.
    """

    bytes: int
    rooms: Mapping[str, int]
    urgent: bool
    since: float


@dataclass(frozen=True, slots=True)
class Tenant:
    """A model's page: what it holds on its card, and what it wants there. Moments are monotonic, of this machine.

    `since` is when it came to its stand, `used_at` when it last had a call, `heard` when it last said whether it is
    `busy`. `served` says whether what woke it has been done, or nothing had.
    """

    id: str
    name: str
    stand: Stand = Stand.OUTSIDE
    card: str | None = None
    held_bytes: int = 0
    since: float = 0.0
    used_at: float = 0.0
    heard: float = 0.0
    busy: bool = False
    served: bool = True
    wish: Wish | None = None


@dataclass(frozen=True, slots=True)
class Turns:
    """How long a model may stay while others wait: `idle_seconds` after its last call, else `turn_seconds` in all."""

    idle_seconds: float = 1.0
    turn_seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CardSpec:
    """Where the models of a machine tell each other what they hold, and the bounds.

    `limit_bytes` bounds what all of them hold on one card, None leaving it to the card; the memory of the machine
    itself, as the device cpu, is counted only with such a bound.
    """

    folder: Path
    limit_bytes: int | None = None
    turns: Turns = field(default_factory=Turns)


@dataclass(frozen=True, slots=True)
class Decision:
    """Who is let in to which card, and who makes room for whom, by their ids."""

    admitted: Mapping[str, str] = field(default_factory=dict)
    leaving: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to come to room on `card`: `away` are told to leave now. What disturbs least sorts first."""

    card: str
    away: tuple[Tenant, ...]

    @property
    def cost(self) -> tuple[int, int]:
        return sum(one.busy for one in self.away), sum(one.held_bytes for one in self.away)


def decide(tenants: Sequence[Tenant], now: float, turns: Turns) -> Decision:
    """Say who is let in and who makes room: those for whom work waits first, in the order of asking.

    A card for which somebody waits with others leaving it is closed to those who asked later. A wish that nothing can
    fulfil yet holds nobody up for a turn; after that the card that can fulfil it soonest is kept for it.
    """
    # Everybody has to see the same one in front, whose page comes last for itself.
    tenants = sorted(tenants, key=lambda one: one.id)
    admitted: dict[str, str] = {}
    leaving: dict[str, str] = {}
    promised: Counter[str] = Counter()
    closed: set[str] = set()
    for tenant in sorted((one for one in tenants if one.wish), key=_order):
        wish = tenant.wish
        assert wish is not None
        free = {
            card: room - held_on(tenants, card) - promised[card]
            for card, room in wish.rooms.items()
            if card not in closed
        }
        card = max(free, key=lambda one: free[one], default=None)
        if card is not None and free[card] >= wish.bytes:
            admitted[tenant.id] = card
            promised[card] += wish.bytes
        elif wish.urgent:
            ways = [_way(tenant, card, spare, tenants, now, turns) for card, spare in free.items()]
            if way := min((way for way in ways if way is not None), key=lambda way: way.cost, default=None):
                leaving |= dict.fromkeys((one.id for one in way.away), tenant.name)
                closed.add(way.card)
            elif now - wish.since >= turns.turn_seconds:
                # Small ones that change places would else never stand still together for a large one.
                closed.update(_kept(tenant, free, tenants))
    return Decision(admitted, leaving)


def settled(mine: Tenant, others: Sequence[Tenant], now: float, turns: Turns) -> tuple[Tenant, str]:
    """Return `mine` after what is decided for it, and for whom it makes room if it does."""
    decision = decide([*others, mine], now, turns)
    if (card := decision.admitted.get(mine.id)) is not None and mine.wish is not None:
        held = mine.held_bytes + mine.wish.bytes
        loading = replace(mine, stand=Stand.LOADING, card=card, held_bytes=held, since=now, wish=None)
        return replace(loading, served=not mine.wish.urgent, used_at=now), ""
    if whom := decision.leaving.get(mine.id, ""):
        return replace(mine, stand=Stand.LEAVING, since=now), whom
    return mine, ""


def rooms(cards: Iterable[Card], limit_bytes: int | None, tenants: Sequence[Tenant]) -> dict[str, int]:
    """Return the bytes there are for our models on each card whose memory is bounded.

    What programs hold that are none of ours is taken off where it is known.
    """
    found = {}
    for card in cards:
        bounds = [bound for bound in (card.total_bytes, limit_bytes) if bound is not None]
        if bounds:
            foreign = 0 if card.used_bytes is None else max(0, card.used_bytes - held_on(tenants, card.identity))
            spare = bounds[0] if card.total_bytes is None else card.total_bytes - foreign
            found[card.identity] = max(0, min([*bounds, spare]))
    return found


def held_on(tenants: Iterable[Tenant], card: str) -> int:
    """Return what our models hold on a card."""
    return sum(one.held_bytes for one in tenants if one.card == card)


def reason(mine: Tenant, others: Sequence[Tenant], cards: Sequence[Card]) -> str:
    """Say for people what `mine` waits for: "waits for room on cuda:0: 18.0 GB of 24.0 GB taken by images"."""
    assert mine.wish is not None, "only who waits has a reason to"
    known = {card.identity: card.device for card in cards}
    best = max(mine.wish.rooms, key=lambda card: mine.wish.rooms[card] - held_on(others, card))  # type: ignore[union-attr]
    if mine.wish.rooms[best] - held_on([*others, mine], best) >= mine.wish.bytes:
        return f"waits for its turn on {known.get(best, best)}: another asked before it"
    there = [one for one in others if one.card == best and one.held_bytes]
    by = f" taken by {', '.join(sorted(one.name for one in there))}" if there else " taken"
    room = mine.wish.rooms[best]
    figures = f"{gigabytes(held_on(others, best))} of {gigabytes(room)}{by}, {gigabytes(mine.wish.bytes)} needed"
    return f"waits for room on {known.get(best, best)}: {figures}"


def too_large(wanted_bytes: int, cards: Sequence[Card], limit_bytes: int | None) -> str:
    """Say for people why no card is large enough, nothing if one is."""
    whole = rooms([replace(card, used_bytes=None) for card in cards], limit_bytes, ())
    if len(whole) < len(cards) or any(room >= wanted_bytes for room in whole.values()):
        return ""
    largest = max(cards, key=lambda card: whole[card.identity])
    has = f"{largest.device} has {gigabytes(whole[largest.identity])} in all"
    return (
        f"Out of memory: it takes {gigabytes(wanted_bytes)}, and {has}; "
        "choose a smaller model, a smaller type of numbers, or a larger card"
    )


def gigabytes(count: int) -> str:
    """Return bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1_000_000_000 else f"{count / 1e6:.1f} MB"


def _order(tenant: Tenant) -> tuple[bool, float, str]:
    assert tenant.wish is not None
    return not tenant.wish.urgent, tenant.wish.since, tenant.id


def _kept(tenant: Tenant, free: Mapping[str, int], tenants: Sequence[Tenant]) -> list[str]:
    """Return the card that will have room for `tenant` once those there that are heard of have left, if any."""
    wish = tenant.wish
    assert wish is not None
    lack = {}
    for card, spare in free.items():
        there = [one for one in tenants if one.card == card and one.id != tenant.id]
        deaf = [one for one in there if one.stand is Stand.AWAKE and one.heard < wish.since]
        if wish.bytes - spare <= sum(one.held_bytes for one in there if one not in deaf):
            lack[card] = wish.bytes - spare
    return sorted(lack, key=lambda card: lack[card])[:1]


def _way(
    tenant: Tenant, card: str, free_bytes: int, tenants: Sequence[Tenant], now: float, turns: Turns
) -> _Way | None:
    """Return how `tenant` comes to its room on `card`, None if nothing can be done at the moment."""
    wish = tenant.wish
    assert wish is not None
    there = [one for one in tenants if one.card == card and one.id != tenant.id]
    leaving = [one for one in there if one.stand is Stand.LEAVING]
    needed = wish.bytes - free_bytes - sum(one.held_bytes for one in leaving)
    # While one finishes its calls, which may be long, the idle ones serve on.
    if needed <= 0 or any(one.busy for one in leaving):
        return _Way(card, ()) if leaving else None
    awake = [one for one in there if one.stand is Stand.AWAKE]
    unheard = [one for one in awake if one.heard < wish.since]
    if unheard and now - wish.since < SILENT_SECONDS:
        return None
    away = _enough(_candidates(there, unheard, now, turns), needed)
    if away is None:
        return None
    busy = tuple(one for one in away if one.busy)
    return _Way(card, busy or away)


def _candidates(there: Sequence[Tenant], unheard: Sequence[Tenant], now: float, turns: Turns) -> list[Tenant]:
    """Return who could make room, who should go first in front."""
    awake = [one for one in there if one.stand is Stand.AWAKE and one not in unheard]
    idle = sorted((one for one in awake if _is_idle(one, now, turns)), key=lambda one: one.used_at)
    asleep = sorted((one for one in there if one.stand is Stand.ASLEEP and one.held_bytes), key=lambda one: one.since)
    late = [one for one in awake if one not in idle and now - one.since >= turns.turn_seconds]
    return [*idle, *asleep, *sorted(late, key=lambda one: one.since)]


def _is_idle(one: Tenant, now: float, turns: Turns) -> bool:
    # What was woken for work gets the time to be given it, or two models could wake each other for ever.
    return not one.busy and one.served and now - one.used_at >= turns.idle_seconds


def _enough(candidates: Iterable[Tenant], needed: int) -> tuple[Tenant, ...] | None:
    away: list[Tenant] = []
    for one in candidates:
        if needed <= 0:
            break
        away.append(one)
        needed -= one.held_bytes
    return tuple(away) if needed <= 0 else None
