"""Calls on behalf of other protocols: values in and out, and the errors on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.gateway.house import ECHO_OF_FILES, House, house, policy

from glowplug.errors import (
    GlowplugError,
    InvalidInput,
    JobFailed,
    NotReady,
    OutOfMemory,
    RemoteError,
    TaskFailed,
    Unreachable,
)
from glowplug.gateway.calls import AT_ONCE, Calls, Values, failure_of, renamed
from glowplug.gateway.direct import Reply
from glowplug.gateway.policy import User
from glowplug.gateway.subjects import Subject
from glowplug.job import Failure, Job, JobState
from glowplug.store import TaskInfo

OPERATOR = Subject("local", sees_all=True)
SAY = TaskInfo("echo.say")
COUNT = TaskInfo("echo.say", streams=True)


class Stream:
    """A worker's stream as it comes over a socket: in pieces of any size."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = [data[at : at + size] for at in range(0, len(data), size)]
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        self.closed = True


def streamed(*events: tuple[str, Any], size: int = 7) -> Reply:
    data = "".join(f"event: {name}\ndata: {json.dumps(value)}\n\n".removeprefix("event: \n") for name, value in events)
    return Reply(200, {}, b"", Stream(data.encode(), size))  # type: ignore[arg-type]


async def all_of(reply: Reply) -> list[Any]:
    return [value async for value in Values(reply)]


class TestValues:
    @pytest.mark.parametrize("size", [1, 3, 1000])
    async def test_of_a_stream_each_as_it_comes(self, size: int) -> None:
        reply = streamed(("", {"text": "a\n\nb"}), ("", [1]), ("done", {}), size=size)
        assert await all_of(reply) == [{"text": "a\n\nb"}, [1]]

    async def test_of_a_result_the_one(self) -> None:
        assert await all_of(Reply(200, {}, b'{"a": 1}')) == [{"a": 1}]

    async def test_an_error_in_the_stream_is_raised_as_it_was(self) -> None:
        problem = {"code": "out_of_memory", "detail": "no room", "status": 500}
        values = Values(streamed(("", 1), ("error", problem)))
        assert await anext(values) == 1
        with pytest.raises(OutOfMemory, match="no room"):
            await anext(values)

    async def test_a_stream_that_breaks_off_is_no_end(self) -> None:
        with pytest.raises(Unreachable, match="in the middle"):
            await all_of(streamed(("", 1)))

    async def test_comments_and_other_lines_are_passed_over(self) -> None:
        data = b": ping\n\nretry: 3\n\ndata: 1\n\nevent: done\ndata: {}\n\n"
        assert await all_of(Reply(200, {}, b"", Stream(data, 5))) == [1]  # type: ignore[arg-type]

    async def test_closing_lets_go_of_the_worker(self) -> None:
        reply = streamed(("", 1))
        await Values(reply).aclose()
        assert isinstance(reply.stream, Stream)
        assert reply.stream.closed
        await Values(Reply(200, {}, b"1")).aclose()


class Direct:
    """Answers direct calls in place of the workers."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.running = self.most = 0
        self.canceled = 0

    async def run(self, task: str, body: bytes) -> Reply:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            reply = self._answer(json.loads(body))
            return await reply if asyncio.iscoroutine(reply) else reply
        except asyncio.CancelledError:
            self.canceled += 1
            raise
        finally:
            self.running -= 1


def calls(home: House, answer: Any) -> tuple[Calls, Direct]:
    direct = Direct(answer)
    home.gateway.direct = direct  # type: ignore[assignment]
    return Calls.of(home.gateway), direct


def echo(given: Any) -> Reply:
    return Reply(200, {}, json.dumps(given).encode())


def failing(status: int, body: bytes) -> Any:
    return lambda given: Reply(status, {}, body)


class TestDirectCalls:
    async def test_a_result_and_a_stream_are_values(self, home: House) -> None:
        await home.ready_worker()
        made, _ = calls(home, echo)
        assert await made.value(SAY, {"text": "a"}, OPERATOR) == {"text": "a"}
        made, _ = calls(home, lambda given: streamed(("", 1), ("", 2), ("done", {})))
        assert await made.value(COUNT, {}, OPERATOR) == [1, 2]

    @pytest.mark.parametrize(
        ("status", "body", "kind"),
        [
            (422, b'{"code": "invalid_input", "detail": "no", "fields": [{"loc": "text"}]}', InvalidInput),
            (503, b'{"code": "not_ready", "detail": "no"}', NotReady),
            (503, b"<html>", NotReady),
            (500, b'{"code": "task_failed", "detail": "no"}', TaskFailed),
            (502, b"[]", RemoteError),
        ],
    )
    async def test_a_workers_error_is_raised_as_it_was(
        self, home: House, status: int, body: bytes, kind: type[GlowplugError]
    ) -> None:
        await home.ready_worker()
        made, _ = calls(home, failing(status, body))
        with pytest.raises(kind):
            await made.value(SAY, {}, OPERATOR)

    async def test_nobody_is_asked_while_the_model_is_not_ready(self, home: House) -> None:
        made, direct = calls(home, echo)
        with pytest.raises(NotReady):
            await made.value(SAY, {}, OPERATOR)
        assert direct.most == 0

    async def test_a_user_cannot_name_the_files_of_another(self, tmp_path: Any) -> None:
        access = {"api_token": "o", "users": (User(name="ann", token="a"),)}
        async with house(tmp_path, chosen=policy(access=access)) as home:
            await home.ready_worker()
            made, direct = calls(home, echo)
            (task,) = ECHO_OF_FILES.tasks
            with pytest.raises(InvalidInput, match="no artifact"):
                await made.value(task, {"file": "artifact:jobs/1/1/secret.png"}, Subject("ann"))
            assert direct.most == 0
            text = {"text": "artifact:jobs/1/1/secret.png"}
            assert await made.value(task, text, Subject("ann")) == text

    async def test_several_calls_are_made_at_once_and_answered_in_order(self, home: House) -> None:
        await home.ready_worker()
        made, direct = calls(home, echo)
        inputs = [{"n": number} for number in range(AT_ONCE * 3)]
        assert await made.all(SAY, inputs, OPERATOR) == inputs
        assert 1 < direct.most <= AT_ONCE

    async def test_of_large_calls_few_go_at_once(self, home: House, monkeypatch: pytest.MonkeyPatch) -> None:
        await home.ready_worker()
        monkeypatch.setattr("glowplug.gateway.calls.BYTES_AT_ONCE", 3000)
        made, direct = calls(home, echo)
        inputs = [{"n": number, "same": "x" * 1000} for number in range(9)]
        assert await made.all(SAY, inputs, OPERATOR) == inputs
        assert direct.most <= 2

    async def test_the_first_error_ends_the_others(self, home: House) -> None:
        await home.ready_worker()

        async def forever() -> Reply:
            return await asyncio.Event().wait() or echo({})

        def answer(given: Any) -> Any:
            return Reply(500, {}, b'{"code": "task_failed"}') if given["n"] == 3 else forever()

        made, direct = calls(home, answer)
        async with asyncio.timeout(10):
            with pytest.raises(TaskFailed):
                await made.all(SAY, [{"n": number} for number in range(8)], OPERATOR)
            while direct.running:
                await asyncio.sleep(0)
        assert direct.canceled == 7


class TestNames:
    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ([{"path": "count"}], ["n"]),
            ([{"loc": "count", "msg": "x"}], ["n"]),
            ([{"path": "count.0"}, {"path": "prompt"}], ["n.0", "prompt"]),
            (["count", "odd"], ["n", "odd"]),
        ],
    )
    def test_a_wrong_value_is_told_by_the_callers_own_name(self, fields: Any, expected: list[str]) -> None:
        with pytest.raises(InvalidInput) as raised, renamed({"count": "n"}):
            raise InvalidInput("x", fields=fields, task="m.t")
        assert raised.value.data == {"fields": [{"path": name, "message": "x"} for name in expected], "task": "m.t"}

    @pytest.mark.parametrize(
        ("message", "fields", "told"),
        [
            ("text: too long", ["text"], "input: too long"),
            ("tts.speak: text: too long", ["text"], "tts.speak: input: too long"),
            ("m.t: count: 9 is too much; text: empty", ["count", "text"], "m.t: n: 9 is too much; input: empty"),
            ("m.t: text.0: empty", ["text.0"], "m.t: input.0: empty"),
            ("the text: it is empty", ["text"], "the text: it is empty"),
            ("context: too long", ["context"], "context: too long"),
            ("width=63: no multiple of 8", ["width"], "width=63: no multiple of 8"),
        ],
    )
    def test_in_the_message_too(self, message: str, fields: list[str], told: str) -> None:
        with pytest.raises(InvalidInput) as raised, renamed({"count": "n", "text": "input", "width": "size"}):
            raise InvalidInput(message, fields=fields)
        assert raised.value.message == str(raised.value) == told

    def test_a_field_that_only_the_message_names_is_one(self) -> None:
        with pytest.raises(InvalidInput) as raised, renamed({"audio": "file"}):
            raise InvalidInput("audio: the file is empty")
        assert raised.value.message == "file: the file is empty"
        assert raised.value.data["fields"] == [{"path": "file", "message": "the file is empty"}]

    def test_where_nobody_names_a_field_there_is_none(self) -> None:
        with pytest.raises(InvalidInput, match="it is wrong") as raised, renamed({"audio": "file"}):
            raise InvalidInput("it is wrong")
        assert raised.value.data == {}

    def test_other_errors_pass(self) -> None:
        with pytest.raises(TaskFailed), renamed({"count": "n"}):
            raise TaskFailed("x")


class TestFailures:
    @pytest.fixture
    async def job(self, home: House) -> Job:
        await home.ready_worker()
        made = await home.submit()
        return await home.store.job(made["id"])

    @pytest.mark.parametrize(
        ("failure", "kind", "message"),
        [
            (Failure("invalid_input", "n is wrong", details={"fields": [{"path": "n"}]}), InvalidInput, "n is wrong"),
            (Failure("out_of_memory", "no room"), OutOfMemory, "no room"),
            (Failure("ValueError", "it broke"), TaskFailed, "ValueError: it broke"),
            (None, JobFailed, "the job was canceled"),
        ],
    )
    async def test_a_job_that_failed_raises_what_it_ended_with(
        self, job: Job, failure: Failure | None, kind: type[GlowplugError], message: str
    ) -> None:
        error = failure_of(replace(job, state=JobState.CANCELED, failure=failure))
        assert (type(error), error.message, error.data["job_id"]) == (kind, message, job.id)
