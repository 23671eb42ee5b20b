"""Seats and the split of jobs over wants, without a gateway."""

from __future__ import annotations

from dataclasses import replace

from glowplug.clock import ManualClock
from glowplug.gateway.seats import Seat, fitting, slots_by_model
from glowplug.job import Job, JobRequest, submitted
from glowplug.link import Order, OrderKind
from glowplug.store import Want

DRAIN = Order(OrderKind.DRAIN)


def job(task: str) -> Job:
    return submitted(JobRequest(task=task, input={}), ManualClock().now())[0]


def test_opening_a_turn_ends_the_one_before() -> None:
    seat = Seat()
    older = seat.open_turn()
    newer = seat.open_turn()
    assert (older.is_over(), newer.is_over()) == (True, False)
    assert older.bell.is_set()


def test_only_the_newest_turn_closes_the_seat() -> None:
    seat = Seat()
    older, newer = seat.open_turn(), seat.open_turn()
    seat.close_turn(older)
    assert not seat.is_empty
    seat.close_turn(newer)
    assert seat.is_empty


def test_a_closed_seat_offers_no_slots() -> None:
    seat = Seat()
    turn = seat.open_turn()
    seat.offer((Want(("a.b",), 2),))
    assert seat.free_slots("a.b") == 2
    seat.close_turn(turn)
    assert seat.free_slots("a.b") == 0


def test_each_change_of_what_a_seat_offers_is_heard() -> None:
    heard: list[tuple[object, object]] = []
    seat = Seat(lambda before, after: heard.append((before, after)))
    turn, wants = seat.open_turn(), (Want(("a.b",), 2),)
    seat.offer(wants)
    seat.close_turn(turn)
    assert heard == [((), wants), (wants, ())]


def test_slots_are_counted_for_each_model() -> None:
    wants = (Want(("a.x", "a.y"), 2), Want(("a.z",), 1), Want(("b.x", "c.x"), 4))
    assert slots_by_model(wants) == {"a": 3, "b": 4, "c": 4}


def test_waking_an_empty_seat_is_nothing() -> None:
    seat = Seat()
    seat.wake()
    seat.dismiss()


def test_orders_are_handed_out_once_and_each_once() -> None:
    seat = Seat()
    seat.order((DRAIN, DRAIN, Order(OrderKind.LOAD, "m")))
    assert seat.take_orders() == (DRAIN, Order(OrderKind.LOAD, "m"))
    assert seat.take_orders() == ()


def test_an_order_rings_the_bell_of_the_waiting_turn() -> None:
    seat = Seat()
    turn = seat.open_turn()
    seat.order((DRAIN,))
    assert turn.bell.is_set()
    assert not turn.is_over()


def test_jobs_fill_the_wants_in_order() -> None:
    jobs = [job("a.x"), job("b.y"), job("a.x"), job("a.x")]
    fit, rest = fitting(jobs, [Want(("a.x",), 2), Want(("b.y",), 1)])
    assert (fit, rest) == (jobs[:3], jobs[3:])


def test_a_job_of_a_task_that_nobody_wants_does_not_fit() -> None:
    jobs = [job("a.x")]
    assert fitting(jobs, [Want(("b.y",), 5)]) == ([], jobs)


def test_no_want_takes_more_than_its_slots_even_when_two_share_a_task() -> None:
    jobs = [job("a.x") for _ in range(3)]
    fit, rest = fitting(jobs, [Want(("a.x",), 1), Want(("a.x", "b.y"), 1)])
    assert (len(fit), len(rest)) == (2, 1)


def test_fitting_leaves_what_it_was_given_alone() -> None:
    jobs = [job("a.x")]
    before = [replace(one) for one in jobs]
    fitting(jobs, [])
    assert jobs == before
