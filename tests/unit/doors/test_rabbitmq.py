"""The message door where no broker is needed to see what it does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.house import Told as Heard

from glowplug.clock import ManualClock
from glowplug.doors.message_intake import KindOptions
from glowplug.doors.message_requests import Kind
from glowplug.doors.rabbitmq import LARGEST_BYTES, RabbitDoor, RabbitDoorOptions
from glowplug.drivers.amqp import AmqpAddress
from glowplug.errors import BugError, SettingsError
from glowplug.job import JobEvent, JobRequest, submitted
from glowplug.store import Submission, WorkerRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = AmqpAddress(host="127.0.0.1", port=1, user="door", password="known")
METADATA = {"job_id": "abc", "kind": "train"}


class EmptyReception:
    """A gateway that knows nothing and has nothing."""

    def __init__(self) -> None:
        self.listeners: list[Any] = []

    def knows(self, task: str) -> bool:
        return False

    async def submit(self, wish: Any) -> Submission:
        raise AssertionError(wish)

    async def job(self, job_id: str) -> Any:
        raise AssertionError(job_id)

    async def events(self, job_id: str, *, after: int = 0) -> list[JobEvent]:
        return []

    async def cancel(self, job_id: str) -> Any:
        raise AssertionError(job_id)

    async def place(self, key: str, target: str) -> None: ...

    async def tell_again(self, job_id: str, door: str) -> None:
        raise AssertionError(job_id)

    def workers(self) -> list[WorkerRecord]:
        return []

    def follow_workers(self, listener: Any) -> None:
        self.listeners.append(listener)


def options(**more: Any) -> RabbitDoorOptions:
    return RabbitDoorOptions(**{"address": NOBODY, **more})


def door(**more: Any) -> RabbitDoor:
    made = RabbitDoor(options(**more), clock=ManualClock())
    made.welcome(EmptyReception())
    return made


def request(owner: str = "rabbitmq", **metadata: Any) -> JobRequest:
    return JobRequest(task="detector.train", input={}, owner=owner, metadata=metadata)


def test_queues_and_tasks_have_the_names_of_the_contract() -> None:
    train = options().kinds[Kind.TRAIN]
    assert (train.request_queue, train.update_queue, train.result_queue) == (
        "train_request_q",
        "train_update_q",
        "train_result_q",
    )
    assert [one.task for one in options().kinds.values()] == ["detector.train", "detector.convert", "detector.infer"]
    assert options().infer.result_queue == "infer_result_q"


@pytest.mark.parametrize(
    "more",
    [
        {"convert": replace(KindOptions.of(Kind.CONVERT), request_queue="train_request_q")},
        {"train": replace(KindOptions.of(Kind.TRAIN), result_queue="train_request_q")},
        {"infer": replace(KindOptions.of(Kind.INFER), update_queue="convert_request_q")},
    ],
    ids=["asked twice", "answers itself", "answers another"],
)
async def test_a_queue_with_two_uses_is_refused_with_the_fix(more: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"has two uses.*TRAIN_REQUEST_QUEUE"):
        options(**more).check()
    with pytest.raises(SettingsError):
        await door(**more).start()


def test_results_of_all_kinds_may_share_a_queue() -> None:
    shared = {kind.value: replace(KindOptions.of(kind), result_queue="results") for kind in Kind}
    options(**shared).check()


@pytest.mark.parametrize("host", ["rabbit.example.com", "10.0.0.7", "localhost.example.com"])
def test_production_refuses_the_default_login_on_another_machine(host: str) -> None:
    address = AmqpAddress(host=host, port=5672)
    with pytest.raises(SettingsError, match="set RABBITMQ_USER and RABBITMQ_PASSWORD"):
        options(address=address, production=True).check()
    options(address=address).check()
    options(address=replace(address, password="other"), production=True).check()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_production_lets_the_default_login_pass_on_this_machine(host: str) -> None:
    options(address=AmqpAddress(host=host, port=5672), production=True).check()


async def test_the_default_login_is_warned_of_and_no_other(told: Heard) -> None:
    async with door(address=AmqpAddress(host="127.0.0.1", port=1)):
        assert len(told.of("messages.insecure")) == 1
    async with door():
        assert len(told.of("messages.insecure")) == 1


def test_only_jobs_that_came_by_message_are_followed() -> None:
    here = door()
    found = here.follower(request(**METADATA))
    assert found is not None
    assert found.door == "rabbitmq"
    assert all(found.wants(type_) for type_ in ("metrics", "progress", "completed", "failed", "canceled"))
    assert not any(found.wants(type_) for type_ in ("queued", "started", "log", "checkpoint"))
    assert here.follower(request("local", **METADATA)) is None
    assert here.follower(request(kind="train")) is None
    assert here.follower(request(job_id="x", kind="dance")) is None
    assert here.follower(request(job_id=7, kind="train")) is None
    assert here.follower(request(job_id="x", kind=["train"])) is None


async def test_what_cannot_be_sent_is_told_as_not_taken() -> None:
    job, events = submitted(request(**METADATA), NOW)
    ended = JobEvent(job.id, 2, "completed", NOW, {"result": None})
    here = door()
    quiet = await here.tell(job, [*events, ended])
    assert (quiet.seq, quiet.gone) == (1, False)
    assert "has not answered yet" in quiet.error
    assert "known" not in quiet.error


async def test_a_result_that_no_message_can_carry_is_given_up_with_the_reason() -> None:
    job, _ = submitted(request(job_id="abc", kind="infer"), NOW)
    result = [{"detections": [{"label": "x" * LARGEST_BYTES}]}]
    said = await door().tell(job, [JobEvent(job.id, 2, "completed", NOW, {"result": result})])
    assert (said.seq, said.gone) == (1, True)
    assert "ctx.save" in said.error


async def test_a_job_that_did_not_come_by_message_is_not_told() -> None:
    job, events = submitted(request("local"), NOW)
    assert (await door().tell(job, events)).gone


async def test_a_door_can_be_started_stopped_and_started_without_a_broker(told: Heard) -> None:
    made = door()
    for _ in range(2):
        await made.start()
        await made.stop()
    assert made.started is False
    assert told.of("messages.connected") == []


async def test_a_door_that_nobody_welcomed_does_not_open() -> None:
    with pytest.raises(BugError):
        await RabbitDoor(options(), clock=ManualClock()).start()


async def test_a_ca_file_that_is_not_there_is_a_setting_to_be_mended(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CA file"):
        await door(address=replace(NOBODY, ssl=True, ca_file=tmp_path / "none.pem")).start()
