"""Whose turn it is on a card: decided from pages alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.process.cards import (
    SILENT_SECONDS,
    Card,
    Decision,
    Stand,
    Tenant,
    Turns,
    Wish,
    decide,
    gigabytes,
    held_on,
    reason,
    rooms,
    settled,
    too_large,
)

NOW = 1000.0
TURNS = Turns(idle_seconds=1.0, turn_seconds=30.0)
CARD = Card("cuda:0", "GPU-a", 24)


def awake(
    name: str, held: int, *, card: str = "GPU-a", used: float = 500.0, since: float = 100.0, **more: object
) -> Tenant:
    page = Tenant(name, name, Stand.AWAKE, card, held, since, used, heard=NOW)
    return replace(page, **more)  # type: ignore[arg-type]


def waiting(
    name: str, wanted: int, *, urgent: bool = True, since: float = 900.0, there: dict[str, int] | None = None
) -> Tenant:
    return Tenant(name, name, wish=Wish(wanted, there or {"GPU-a": 24}, urgent, since))


def decided(*tenants: Tenant) -> Decision:
    return decide(tenants, NOW, TURNS)


def test_what_fits_is_let_in() -> None:
    assert decided(awake("a", 10), waiting("b", 14)) == Decision({"b": "GPU-a"}, {})


def test_the_card_with_the_most_room_is_taken() -> None:
    there = {"GPU-a": 24, "GPU-b": 24, "GPU-c": 24}
    tenants = awake("a", 10), awake("c", 12, card="GPU-c")
    assert decided(*tenants, waiting("b", 5, there=there)).admitted == {"b": "GPU-b"}


def test_two_at_once_do_not_get_the_same_room() -> None:
    found = decided(awake("a", 10), waiting("b", 8, since=901), waiting("c", 8, since=900))
    assert found.admitted == {"c": "GPU-a"}


def test_work_makes_the_least_recently_used_leave_and_no_more_than_needed() -> None:
    tenants = awake("a", 8, used=300), awake("b", 8, used=200), awake("c", 8, used=400)
    assert decided(*tenants, waiting("d", 8)).leaving == {"b": "d"}
    assert decided(*tenants, waiting("d", 9)).leaving == {"b": "d", "a": "d"}


def test_without_work_nobody_leaves() -> None:
    assert decided(awake("a", 20), waiting("b", 10, urgent=False)) == Decision()


def test_work_goes_before_hope_whoever_came_first() -> None:
    found = decided(waiting("hopes", 20, urgent=False, since=1), waiting("works", 20, since=900))
    assert found.admitted == {"works": "GPU-a"}


def test_the_idle_go_before_the_busy_and_the_busy_only_after_their_turn() -> None:
    idle, busy = awake("idle", 10), awake("busy", 14, busy=True)
    assert decided(idle, busy, waiting("c", 10)).leaving == {"idle": "c"}
    assert decided(replace(idle, busy=True, since=NOW - 1), busy, waiting("c", 10)).leaving == {"busy": "c"}
    assert decided(replace(busy, held_bytes=24, since=NOW - 29), waiting("c", 10)) == Decision()


def test_while_one_finishes_its_calls_the_idle_serve_on() -> None:
    idle, busy, wish = awake("idle", 10), awake("busy", 14, busy=True), waiting("c", 24)
    assert decided(idle, busy, wish).leaving == {"busy": "c"}
    leaving = replace(busy, stand=Stand.LEAVING)
    assert decided(idle, leaving, wish) == Decision()
    assert decided(idle, replace(leaving, busy=False), wish).leaving == {"idle": "c"}
    assert decided(idle, wish).leaving == {"idle": "c"}


def test_what_was_woken_for_work_gets_the_time_to_be_given_it() -> None:
    woken = awake("a", 20, served=False, since=NOW - 5, used=NOW - 5)
    assert decided(woken, waiting("b", 20)) == Decision()
    assert decided(replace(woken, since=NOW - 31), waiting("b", 20)).leaving == {"a": "b"}
    assert decided(replace(woken, served=True), waiting("b", 20)).leaving == {"a": "b"}


def test_what_a_sleeper_left_on_the_card_goes_too_if_that_is_what_it_takes() -> None:
    sleeper = Tenant("a", "a", Stand.ASLEEP, "GPU-a", 2)
    assert decided(sleeper, waiting("b", 24)).leaving == {"a": "b"}
    assert decided(sleeper, waiting("b", 22)).admitted == {"b": "GPU-a"}


def test_a_sleeper_that_wants_to_wake_keeps_what_it_has() -> None:
    sleeper = Tenant("a", "a", Stand.ASLEEP, "GPU-a", 2, wish=Wish(18, {"GPU-a": 24}, urgent=True, since=900.0))
    assert decided(sleeper).admitted == {"a": "GPU-a"}
    woken, _ = settled(sleeper, [], NOW, TURNS)
    assert (woken.stand, woken.held_bytes, woken.wish, woken.served) == (Stand.LOADING, 20, None, False)


def test_nobody_leaves_in_vain() -> None:
    loading = Tenant("a", "a", Stand.LOADING, "GPU-a", 20)
    assert decided(loading, awake("b", 4), waiting("c", 10)) == Decision()


def test_who_asked_later_does_not_slip_into_the_room_that_is_being_made() -> None:
    found = decided(awake("a", 12), waiting("large", 20, since=900), waiting("small", 5, since=950))
    assert found == Decision({}, {"a": "large"})


def test_a_wish_that_nothing_can_fulfil_yet_holds_nobody_up_for_a_turn() -> None:
    loading = Tenant("a", "a", Stand.LOADING, "GPU-a", 12)
    assert decided(loading, waiting("large", 20, since=980), waiting("small", 5, since=990)).admitted == {
        "small": "GPU-a"
    }


def test_the_card_is_chosen_where_the_fewest_are_disturbed() -> None:
    there = {"GPU-a": 24, "GPU-b": 24}
    tenants = awake("a", 24, busy=True), awake("b", 24, card="GPU-b")
    assert decided(*tenants, waiting("c", 20, there=there)).leaving == {"b": "c"}


def test_whoever_has_not_said_whether_it_is_busy_is_waited_for_but_not_long() -> None:
    silent, heard, wish = awake("a", 12, used=1.0, heard=1.0), awake("b", 12), waiting("c", 10, since=NOW - 0.5)
    assert decided(silent, heard, wish) == Decision()
    late = waiting("c", 10, since=NOW - SILENT_SECONDS)
    assert decided(silent, heard, late).leaving == {"b": "c"}


def test_for_whom_it_leaves_is_told_with_its_own_page() -> None:
    mine, whom = settled(awake("a", 20), [waiting("b", 20)], NOW, TURNS)
    assert (mine.stand, mine.since, whom) == (Stand.LEAVING, NOW, "b")
    assert settled(awake("a", 2), [waiting("b", 20)], NOW, TURNS) == (awake("a", 2), "")


@pytest.mark.parametrize(
    ("card", "limit", "held", "expected"),
    [
        (CARD, None, 5, {"GPU-a": 24}),
        (CARD, 10, 5, {"GPU-a": 10}),
        (replace(CARD, used_bytes=5), None, 5, {"GPU-a": 24}),
        (replace(CARD, used_bytes=9), None, 5, {"GPU-a": 20}),
        (replace(CARD, used_bytes=30), None, 0, {"GPU-a": 0}),
        (replace(CARD, used_bytes=9), 10, 5, {"GPU-a": 10}),
        (Card("cpu", "cpu"), 10, 5, {"cpu": 10}),
        (Card("cpu", "cpu"), None, 5, {}),
    ],
)
def test_there_is_as_much_room_as_others_leave(
    card: Card, limit: int | None, held: int, expected: dict[str, int]
) -> None:
    assert rooms([card], limit, [awake("a", held)]) == expected


def test_what_is_too_large_is_told_with_the_figures() -> None:
    large = Card("cuda:1", "GPU-b", 48 * 10**9)
    small = Card("cuda:0", "GPU-a", 24 * 10**9, 20 * 10**9)
    assert too_large(40 * 10**9, [small, large], None) == ""
    assert too_large(22 * 10**9, [small], None) == "", "what others hold now may be free tomorrow"
    assert "takes 60.0 GB, and cuda:1 has 48.0 GB" in too_large(60 * 10**9, [small, large], None)
    assert "cuda:1 has 30.0 GB" in too_large(40 * 10**9, [large], 30 * 10**9)
    assert too_large(10**12, [Card("cpu", "cpu")], None) == ""


def test_the_reason_names_the_card_the_figures_and_who_is_there() -> None:
    mine = waiting("b", 12 * 10**9, there={"GPU-a": 24 * 10**9})
    said = reason(mine, [awake("images", 18 * 10**9)], [CARD])
    assert said == "waits for room on cuda:0: 18.0 GB of 24.0 GB taken by images, 12.0 GB needed"


def test_bytes_are_written_for_people() -> None:
    assert (gigabytes(1_500_000_000), gigabytes(300_000)) == ("1.5 GB", "0.3 MB")


stands = st.sampled_from([Stand.LOADING, Stand.AWAKE, Stand.LEAVING, Stand.ASLEEP])
cards = st.sampled_from(["GPU-a", "GPU-b"])
ROOM = {"GPU-a": 24, "GPU-b": 16}


@st.composite
def houses(draw: st.DrawFn) -> list[Tenant]:
    """Draw pages that do not hold more than there is, and wishes."""
    tenants: list[Tenant] = []
    for number in range(draw(st.integers(0, 6))):
        card, held = draw(cards), draw(st.integers(0, 12))
        if held_on(tenants, card) + held <= ROOM[card]:
            moments = [draw(st.integers(0, 1000)) for _ in range(3)]
            page = Tenant(f"t{number}", f"t{number}", draw(stands), card, held, *map(float, moments))
            tenants.append(replace(page, busy=draw(st.booleans()), served=draw(st.booleans())))
    for number in range(draw(st.integers(1, 4))):
        there = {card: ROOM[card] for card in draw(st.sets(cards, min_size=1))}
        wish = Wish(draw(st.integers(1, 24)), there, draw(st.booleans()), float(draw(st.integers(0, 1000))))
        tenants.append(Tenant(f"w{number}", f"w{number}", wish=wish))
    return tenants


@given(houses())
def test_whatever_is_decided_no_card_holds_more_than_it_has(tenants: list[Tenant]) -> None:
    found = decide(tenants, NOW, TURNS)
    known = {one.id: one for one in tenants}
    for card, room in ROOM.items():
        wishes = [known[one].wish for one, there in found.admitted.items() if there == card]
        assert held_on(tenants, card) + sum(wish.bytes for wish in wishes if wish) <= room
    for one in found.leaving:
        assert known[one].stand in (Stand.AWAKE, Stand.ASLEEP)
    assert decide(list(reversed(tenants)), NOW, TURNS).admitted == found.admitted


@given(houses())
def test_whoever_works_is_let_in_sooner_or_later_where_calls_end(tenants: list[Tenant]) -> None:
    tenants = [replace(one, stand=Stand.AWAKE) if one.stand is Stand.LOADING else one for one in tenants]
    urgent = {
        one.id for one in tenants if one.wish and one.wish.urgent and one.wish.bytes <= max(one.wish.rooms.values())
    }
    now, let_in = NOW, set[str]()
    for _ in range(60):
        now += 40.0
        tenants = [replace(one, heard=now, busy=False) for one in tenants]
        found = decide(tenants, now, TURNS)
        let_in |= set(found.admitted)
        tenants = [_moved(one, found, now) for one in tenants]
    assert urgent <= let_in


def _moved(one: Tenant, found: Decision, now: float) -> Tenant:
    """Let a page follow a decision: who is let in is awake at once, who leaves is gone at once."""
    if one.id in found.admitted and one.wish:
        held = one.held_bytes + one.wish.bytes
        return replace(one, stand=Stand.AWAKE, card=found.admitted[one.id], held_bytes=held, since=now, wish=None)
    if one.id in found.leaving or one.stand is Stand.LEAVING:
        return replace(one, stand=Stand.OUTSIDE, card=None, held_bytes=0)
    return one


def test_all_see_the_same_one_in_front_also_of_two_that_came_at_once() -> None:
    late = [awake(name, 10, busy=True, used=NOW, since=100.0) for name in ("a", "b")]
    page = waiting("c", 10)
    assert decided(*late, page) == decided(*reversed(late), page) == decided(page, *late)


def test_a_large_one_gets_its_room_from_small_ones_that_change_places() -> None:
    """Three that fill the card by twos, each busy for its turn, and one that needs the place of two."""
    pages = {name: Tenant(name, name) for name in ("a", "b", "c", "large")}
    begins = {"a": 0, "b": 17, "c": 20, "large": 50}
    asked = let_in = 0.0
    for now in (float(second) for second in range(200)):
        for name, begin in begins.items():
            if now >= begin and not let_in:
                others = [page for page in pages.values() if page.name != name]
                page = _driven(pages[name], 15 if name == "large" else 9, now)
                pages[name] = settled(page, others, now, TURNS)[0]
                let_in = now if name == "large" and pages[name].stand is Stand.LOADING else 0.0
                asked = asked or (now if name == "large" else 0.0)
    assert 0 < let_in - asked <= 3 * TURNS.turn_seconds


def _driven(page: Tenant, wanted: int, now: float) -> Tenant:
    """Let a page follow its life: always wanted, awake as soon as it is in, gone as soon as it is to leave."""
    if page.stand is Stand.LEAVING:
        page = Tenant(page.id, page.name)
    if page.stand is Stand.LOADING:
        page = replace(page, stand=Stand.AWAKE, since=now, served=True)
    if page.stand is Stand.AWAKE:
        return replace(page, busy=True, heard=now, used_at=now)
    return replace(page, wish=page.wish or Wish(wanted, {"GPU-a": 20}, True, now))


def test_no_card_is_kept_for_one_that_it_cannot_hold_or_that_waits_for_one_who_is_silent() -> None:
    silent = awake("silent", 14, heard=800.0)
    large, small = waiting("large", 20, since=900.0), waiting("small", 5, since=990.0)
    assert decided(silent, large, small).admitted == {"small": "GPU-a"}
    assert decided(awake("busy", 14, busy=True, used=NOW, since=NOW), replace(large), small).admitted == {}
    huge = waiting("huge", 30, since=900.0)
    assert decided(awake("busy", 14, busy=True, used=NOW, since=NOW), huge, small).admitted == {"small": "GPU-a"}


def test_one_for_whom_there_is_room_is_told_that_another_was_before_it() -> None:
    said = reason(waiting("b", 5), [awake("a", 10)], [CARD])
    assert said == "waits for its turn on cuda:0: another asked before it"
