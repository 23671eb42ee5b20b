"""Which consumers a model needs, decided without a server."""

from __future__ import annotations

import pytest

from glowplug.brokers.rabbitmq_lanes import LINGER_SECONDS, Lane, Plan, Stage, batches, plan


def lanes(*stages: Stage, since: float = 0.0) -> list[Lane]:
    return [Lane(f"m.{number}", stage, since=since + number) for number, stage in enumerate(stages)]


def decided(made: list[Lane], wanted: int, *, now: float = 100.0, open_from: float = 0.0) -> Plan:
    return plan(made, wanted, now, open_from=open_from)


def test_a_wish_opens_a_lane_for_each_slot() -> None:
    assert decided([], 3) == Plan(open=3)


def test_nothing_is_done_when_there_is_what_is_wanted() -> None:
    assert decided(lanes(Stage.OPEN, Stage.HELD, Stage.TAKEN, Stage.SPOILED), 4).idle


def test_what_is_taken_counts_until_it_is_done_with() -> None:
    made = lanes(Stage.TAKEN, Stage.OPEN)
    assert decided(made, 2).idle
    made[0].stage = Stage.DONE
    assert decided(made, 2).acknowledge == (made[0],)


def test_lanes_that_are_done_go_on_before_new_ones_are_opened() -> None:
    made = lanes(Stage.DONE, Stage.DONE)
    assert decided(made, 3) == Plan(acknowledge=tuple(made), open=1)


def test_the_one_that_is_done_longest_goes_on_first() -> None:
    made = lanes(Stage.DONE, Stage.DONE, since=99.9)[::-1]
    assert decided(made, 1, now=101.0).acknowledge == (made[1],)


def test_one_that_is_done_and_not_wanted_lingers_and_is_closed_then() -> None:
    [lane] = lanes(Stage.DONE, since=100.0)
    assert decided([lane], 0, now=100.0) == Plan(again_at=100.0 + LINGER_SECONDS)
    assert decided([lane], 0, now=100.0 + LINGER_SECONDS) == Plan(close=(lane,))
    assert decided([lane], 1, now=100.1) == Plan(acknowledge=(lane,))


def test_less_closes_the_idle_lanes_first_and_then_the_newest_arrivals() -> None:
    made = lanes(Stage.HELD, Stage.HELD, Stage.OPEN)
    assert decided(made, 2).close == (made[2],)
    assert decided(made, 1).close == (made[2], made[1])
    assert decided(made, 0).close == (made[2], made[1], made[0])


def test_what_is_in_somebody_s_hands_is_never_closed() -> None:
    assert decided(lanes(Stage.TAKEN, Stage.TAKEN, Stage.SPOILED, Stage.CLOSING), 0).idle


def test_what_is_released_is_closed_whatever_is_wanted() -> None:
    made = lanes(Stage.RELEASED)
    assert decided(made, 1, open_from=200.0) == Plan(close=tuple(made), again_at=200.0)
    assert decided(made, 0).close == tuple(made)


def test_new_lanes_wait_for_the_pause_but_done_ones_do_not() -> None:
    made = lanes(Stage.DONE)
    assert decided(made, 2, open_from=150.0) == Plan(acknowledge=tuple(made), again_at=150.0)
    assert decided(made, 2, open_from=100.0) == Plan(acknowledge=tuple(made), open=1)


def test_the_next_look_is_the_earliest_one() -> None:
    made = lanes(Stage.DONE, Stage.DONE, since=99.95)
    assert decided(made, 0, now=100.0).again_at == 99.95 + LINGER_SECONDS


@pytest.mark.parametrize(
    ("numbers", "unacknowledged", "expected"),
    [
        ([], [], (None, [])),
        ([], [1, 2], (None, [])),
        ([3], [3], (3, [])),
        ([1, 2, 3], [1, 2, 3], (3, [])),
        ([3, 1, 2], [4, 2, 3, 1], (3, [])),
        ([2, 3], [1, 2, 3], (None, [2, 3])),
        ([1, 3, 5], [1, 2, 3, 4, 5], (1, [3, 5])),
    ],
)
def test_acknowledgements_are_put_together_as_far_as_nothing_lies_between(
    numbers: list[int], unacknowledged: list[int], expected: tuple[int | None, list[int]]
) -> None:
    assert batches(numbers, unacknowledged) == expected
