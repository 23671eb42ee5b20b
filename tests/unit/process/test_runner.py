"""Calls in the model's process: every one ends exactly once, whatever the task does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from glowplug import Batch, Model, RunContext, task
from glowplug.errors import BugError, Canceled, Interrupted, InvalidInput, TaskFailed
from glowplug.job import OutcomeKind
from glowplug.process.contexts import ProcessRunContext
from glowplug.process.protocol import Ended, Item, Logged, ToHost, Yielded
from glowplug.process.runner import Runner
from glowplug.process.schema import task_schemas


class Workhorse(Model):
    closed = False

    @task
    def double(self, ctx: RunContext, number: int) -> int:
        return number * 2

    @task
    def obey(self, ctx: RunContext) -> str:
        ctx.check()
        return "went on"

    @task
    def obey_politely(self, ctx: RunContext) -> str:
        try:
            ctx.check()
        except (Canceled, Interrupted):
            return "what there was"
        return "all"

    @task
    def obey_clumsily(self, ctx: RunContext) -> None:
        try:
            ctx.check()
        finally:
            raise ZeroDivisionError

    @task
    def swallow(self, ctx: RunContext) -> str:
        try:
            ctx.check()
        except Exception:  # noqa: BLE001 - as careless tasks do
            return "never"
        return "went on"

    @task
    def refuse(self, ctx: RunContext, said: str, fields: list[Any] | None = None) -> None:
        raise InvalidInput(said, fields=fields)

    @task
    def stray(self, ctx: RunContext) -> None:
        raise Canceled

    @task
    def count(self, ctx: RunContext, to: int) -> Iterator[int]:
        try:
            yield from range(to)
        finally:
            Workhorse.closed = True

    @task
    def stumble(self, ctx: RunContext) -> Iterator[Any]:
        yield 1
        yield object()

    @task(batch=4)
    def together(self, ctx: RunContext, word: Batch[str], count: int | None = None) -> Any:
        if "raise" in word:
            raise ValueError("a bad word")
        if "odd" in word:
            return [object() if one == "odd" else one for one in word]
        ctx.check()
        if count == 0:
            return None
        return [f"{one}{len(word)}" for one in word][:count]


class Bench:
    """A runner, and what it told."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.told: list[ToHost] = []
        self.runner = Runner(Workhorse(), task_schemas(Workhorse), lambda context, end: self.told.append(end))

    def context(self, values: dict[str, Any], name: str = "1") -> ProcessRunContext:
        def send(message: ToHost) -> None:
            self.told.append(message)
            made.reports.credited(1)

        made = ProcessRunContext(Item(name, json.dumps(values).encode(), str(self.tmp_path / name)), send)
        return made

    def run(self, name: str, *contexts: ProcessRunContext, **values: Any) -> list[Ended]:
        self.runner.run(f"workhorse.{name}", contexts or [self.context(values)])
        return [message for message in self.told if isinstance(message, Ended)]

    def one(self, name: str, *contexts: ProcessRunContext, **values: Any) -> Ended:
        [end] = self.run(name, *contexts, **values)
        return end

    def stopped(self, *, interrupted: bool = False, **values: Any) -> ProcessRunContext:
        context = self.context(values)
        context.stop.ask(interrupted=interrupted)
        return context


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("said", "fields", "told"),
    [
        ("said: too rude", ["said"], [{"path": "said", "message": "too rude"}]),
        ("said: too rude", None, [{"path": "said", "message": "too rude"}]),
        ("it is rude", [{"loc": "said", "msg": "rude"}], [{"path": "said", "message": "rude"}]),
        ("tone: too rude", None, None),
        ("it is rude", None, None),
    ],
)
def test_what_a_task_refuses_names_its_fields_in_one_way(bench: Bench, said: str, fields: Any, told: Any) -> None:
    error = bench.one("refuse", said=said, fields=fields).error
    assert error is not None
    assert (error.code, error.message, error.data["fields"]) == ("invalid_input", said, told)


CHECKS_BEFORE_A_TASK = 2


class AskedLater(ProcessRunContext):
    """Is asked to stop when its task runs already."""

    def check(self) -> None:
        self.checks += 1
        if self.checks == CHECKS_BEFORE_A_TASK + 1:
            self.stop.ask(interrupted=self.interrupted)
        super().check()

    checks = 0
    interrupted = False


def later(bench: Bench, *, interrupted: bool = False) -> AskedLater:
    context = AskedLater(Item("1", b"{}", str(bench.tmp_path)), bench.told.append)
    context.interrupted = interrupted
    return context


def test_a_call_completes_with_its_result(bench: Bench) -> None:
    assert bench.one("double", number=4) == Ended("1", OutcomeKind.COMPLETED, b"8")


def test_a_wrong_input_never_reaches_the_task(bench: Bench) -> None:
    end = bench.one("double", number="x")
    assert end.error is not None
    assert end.error.code == InvalidInput.code


def test_a_call_that_was_stopped_before_it_began_is_not_run(bench: Bench) -> None:
    assert bench.one("double", bench.stopped(number=1)).kind is OutcomeKind.CANCELED


@pytest.mark.parametrize("name", ["obey", "obey_politely", "obey_clumsily", "swallow"])
@pytest.mark.parametrize(("interrupted", "kind"), [(False, OutcomeKind.CANCELED), (True, OutcomeKind.INTERRUPTED)])
def test_a_task_that_was_told_to_stop_ends_as_stopped_whatever_it_makes_of_it(
    bench: Bench, name: str, interrupted: bool, kind: OutcomeKind
) -> None:
    end = bench.one(name, later(bench, interrupted=interrupted))
    assert (end.kind, end.error) == (kind, None)


def test_a_task_that_stops_without_being_asked_has_failed(bench: Bench) -> None:
    end = bench.one("stray")
    assert end.kind is OutcomeKind.FAILED
    assert end.error is not None
    assert end.error.message == "the task ended with Canceled"


def test_a_stream_is_told_value_by_value(bench: Bench) -> None:
    end = bench.one("count", to=3)
    assert [message for message in bench.told if isinstance(message, Yielded)] == [
        Yielded("1", b"0"),
        Yielded("1", b"1"),
        Yielded("1", b"2"),
    ]
    assert end == Ended("1", OutcomeKind.COMPLETED)


def test_a_stream_that_is_stopped_may_tidy_up(bench: Bench) -> None:
    Workhorse.closed = False
    context = bench.context({"to": 1000})
    send = context.reports.send

    def stop_at_the_third(message: ToHost) -> None:
        send(message)
        if len(bench.told) == 3:
            context.stop.ask(interrupted=False)

    context.reports.send = stop_at_the_third
    assert bench.run("count", context)[-1].kind is OutcomeKind.CANCELED
    assert len(bench.told) == 4
    assert Workhorse.closed


def test_a_stream_fails_at_the_value_that_is_no_json(bench: Bench) -> None:
    end = bench.one("stumble")
    assert end.error is not None
    assert end.error.code == TaskFailed.code
    assert [message for message in bench.told if isinstance(message, Yielded)] == [Yielded("1", b"1")]


def words(bench: Bench, *words: Any, **values: Any) -> list[ProcessRunContext]:
    return [bench.context({"word": word, **values}, str(number)) for number, word in enumerate(words)]


def outputs(ends: Sequence[Ended]) -> dict[str, Any]:
    return {end.id: json.loads(end.output_json) if end.error is None else end.error.code for end in ends}


def test_a_batch_is_one_call_of_the_task(bench: Bench) -> None:
    assert outputs(bench.run("together", *words(bench, "a", "b"))) == {"0": "a2", "1": "b2"}


def test_a_lone_call_of_a_batched_task_is_a_batch_of_one(bench: Bench) -> None:
    assert outputs(bench.run("together", *words(bench, "a"))) == {"0": "a1"}


def test_a_wrong_input_leaves_its_batch(bench: Bench) -> None:
    found = outputs(bench.run("together", *words(bench, "a", 5, "c")))
    assert found == {"0": "a2", "1": "invalid_input", "2": "c2"}


@pytest.mark.parametrize("bad", ["raise", "odd"])
def test_a_batch_that_fails_is_run_one_by_one(bench: Bench, bad: str) -> None:
    found = outputs(bench.run("together", *words(bench, "a", bad, "c")))
    assert found == {"0": "a1", "1": "task_failed", "2": "c1"}
    assert any(isinstance(message, Logged) and "one by one" in message.text for message in bench.told)


@pytest.mark.parametrize("count", [0, 1])
def test_a_batch_must_have_a_result_for_each_call(bench: Bench, count: int) -> None:
    ends = bench.run("together", *words(bench, "a", "b", count=count))
    expected = {0: {"0": "task_failed", "1": "task_failed"}, 1: {"0": "a1", "1": "b1"}}
    assert outputs(ends) == expected[count]


def test_a_batch_that_is_stopped_ends_as_stopped(bench: Bench) -> None:
    members = words(bench, "a", "b")
    together = bench.runner._methods["workhorse.together"]

    def asked_meanwhile(ctx: RunContext, **values: Any) -> Any:
        for member in members:
            member.stop.ask(interrupted=True)
        return together(ctx, **values)

    bench.runner._methods["workhorse.together"] = asked_meanwhile
    ends = bench.run("together", *members)
    assert [end.kind for end in ends] == [OutcomeKind.INTERRUPTED] * 2


def test_a_rehearsal_lets_errors_through(bench: Bench) -> None:
    bench.runner.rehearse("workhorse.double", bench.context({"number": 1}))
    with pytest.raises(InvalidInput):
        bench.runner.rehearse("workhorse.double", bench.context({"number": "x"}))
    with pytest.raises(TaskFailed):
        bench.runner.rehearse("workhorse.stumble", bench.context({}))
    assert not any(isinstance(message, Ended) for message in bench.told)


def test_errors_of_ours_are_told_as_they_are(bench: Bench) -> None:
    bench.runner._methods["workhorse.double"] = raising(BugError("ours", a=1))
    end = bench.one("double", number=1)
    assert end.error is not None
    assert (end.error.code, end.error.message, end.error.data) == ("bug", "ours", {"a": 1})
    assert not any(isinstance(message, Logged) for message in bench.told)


def raising(error: Exception) -> Any:
    def method(ctx: RunContext, **values: Any) -> None:
        raise error

    return method
