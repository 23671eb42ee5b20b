"""Whole conversations by message: a backend, a real RabbitMQ, a real gateway, and a worker played by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar, cast

import aio_pika
import aiormq
import pytest
from aio_pika.abc import AbstractChannel
from tests.journeys.system import free_port
from tests.servers.rabbitmq import RabbitServer, rabbitmq, vhost
from tests.unit.doors.message_house import TRAIN, MessageHouse, epoch, message_house, piece, step
from tests.unit.gateway.house import Told

from glowplug.artifact import Artifact
from glowplug.clock import SystemClock
from glowplug.doors.message_intake import Intake, IntakeParts, KindOptions
from glowplug.doors.message_requests import Kind
from glowplug.errors import DiskFull, Unreachable
from glowplug.stores.sql import SqlStore

__all__ = ["rabbitmq", "vhost"]


@pytest.fixture
async def open_house(tmp_path: Path, rabbitmq: RabbitServer, vhost: str, told: Told) -> AsyncIterator[MessageHouse]:
    async with message_house(tmp_path, rabbitmq.url(vhost), told) as made:
        yield made


async def waiting(url: str, queue: str) -> int:
    """Return how many messages of a queue are with nobody."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        found = await channel.declare_queue(queue, passive=True)
        return int(found.declaration_result.message_count or 0)


async def until_waiting(url: str, queue: str, count: int) -> None:
    async with asyncio.timeout(20):
        while await waiting(url, queue) != count:
            await asyncio.sleep(0.05)


async def bytes_of(house: MessageHouse, key: str) -> bytes:
    return b"".join([chunk async for chunk in house.home.artifacts.read(key)])


async def stored(house: MessageHouse, key: str) -> Artifact:
    """Return what a worker has stored under a key."""
    return await house.home.artifacts.put(key, piece(b"weights"))


async def test_a_training_by_message_from_the_request_to_the_result(open_house: MessageHouse) -> None:
    backend, worker = open_house.backend, await open_house.worker()
    await backend.ask("train", TRAIN)
    grant = await open_house.claimed(worker)
    assert grant.task == "detector.train"
    assert grant.input["hyperparams"] == {"model": "small", "epochs": 2, "batch": 16, "imgsz": 640}
    await worker.note(grant, step(0.0, "reading"), epoch(1), epoch(2))
    assert (await backend.heard("train_update_q"))["message"] == "reading"
    first, second = await backend.message("train_update_q"), await backend.message("train_update_q")
    assert [json.loads(one.body)["current_epoch"] for one in (first, second)] == [1, 2]
    assert grant.input["dataset"]["s3_prefix"] == "artifact:datasets/my-dataset/"
    model = await stored(open_house, f"jobs/{grant.hold.job_id}/{grant.hold.token}/best.safetensors")
    assert await worker.finish(grant, {"model_path": model.uri}, (model,))
    message = await backend.message("train_result_q")
    body = json.loads(message.body)
    assert body["type"] == "training_completed"
    assert body["job_id"] == "abc12345"
    # Where the request wants it, and there it is.
    assert body["model_path"] == "models/yolov8n/my-dataset.pt"
    assert await bytes_of(open_house, "models/yolov8n/my-dataset.pt") == b"weights"
    assert body["final_metrics"] == {"final_mAP50": 0.5, "final_loss": 0.5, "training_epochs": 2}
    assert message.message_id is not None
    assert message.message_id.startswith(f"{grant.hold.job_id}:")
    assert (message.content_type, message.delivery_mode) == ("application/json", aio_pika.DeliveryMode.PERSISTENT)
    assert (message.correlation_id, message.type) == ("abc12345", "training_completed")
    (job,) = await open_house.jobs()
    assert (job["owner"], job["metadata"]) == ("rabbitmq", {"job_id": "abc12345", "kind": "train"})


async def test_conversion_and_inference_by_message(open_house: MessageHouse) -> None:
    backend, worker = open_house.backend, await open_house.worker()
    await backend.ask(
        "convert", {"job_id": "c1", "model_path": "m.pt", "output": {"prefix": "m", "model_name": "m.onnx"}}
    )
    grant = await open_house.claimed(worker)
    assert (grant.task, grant.input["format"]) == ("detector.convert", "onnx")
    await worker.finish(grant, {"model_path": "m/m.onnx"})
    assert (await backend.result("convert"))["model_path"] == "m/m.onnx"
    await backend.ask("infer", {"job_id": "c1", "model_path": "m.onnx", "images": ["a.png"], "output": {"prefix": "o"}})
    grant = await open_house.claimed(worker)
    assert grant.task == "detector.infer"
    drawn = await stored(open_house, f"jobs/{grant.hold.job_id}/{grant.hold.token}/1-a.png")
    detections = [{"label": "cat", "confidence": 1.0, "box": [0, 0, 1, 1]}]
    await worker.finish(grant, [{"detections": detections, "output": drawn.uri}], (drawn,))
    body = await backend.result("infer")
    assert body["type"] == "inference_completed"
    assert body["results"] == [{"image": "a.png", "detections": detections, "output": "o/1-a.png"}]
    assert await bytes_of(open_house, "o/1-a.png") == b"weights"


async def test_a_repeat_does_not_write_over_what_is_newer(open_house: MessageHouse) -> None:
    backend, worker = open_house.backend, await open_house.worker()
    await backend.ask("train", TRAIN)
    grant = await open_house.claimed(worker)
    model = await stored(open_house, f"jobs/{grant.hold.job_id}/{grant.hold.token}/best.safetensors")
    assert await worker.finish(grant, {"model_path": model.uri}, (model,))
    first = await backend.result("train")
    await open_house.home.artifacts.put(first["model_path"], piece(b"of a later training"))
    await backend.ask("train", TRAIN)
    assert await backend.result("train") == first
    assert await bytes_of(open_house, first["model_path"]) == b"of a later training"


async def test_a_result_that_cannot_be_laid_where_it_was_asked_for_stays_where_it_is(open_house: MessageHouse) -> None:
    backend, worker = open_house.backend, await open_house.worker()
    # A file where a folder would have to be.
    await backend.ask("train", {**TRAIN, "output": {"prefix": "m.pt", "model_name": "best"}})
    grant = await open_house.claimed(worker)
    model = await stored(open_house, f"jobs/{grant.hold.job_id}/{grant.hold.token}/best.safetensors")
    assert await worker.finish(grant, {"model_path": model.uri}, (model,))
    assert (await backend.result("train"))["model_path"] == model.key
    left = await open_house.saying("messages.left")
    assert left["message"].startswith(f"[Handler] train abc12345: {model.key} stays where it is: ")


async def test_a_failed_training_tells_what_it_came_to_even_after_a_restart_of_the_gateway(
    tmp_path: Path, rabbitmq: RabbitServer, vhost: str, told: Told
) -> None:
    url, database = rabbitmq.url(vhost), f"sqlite:///{tmp_path / 'jobs.db'}"
    async with message_house(tmp_path, url, told, store=SqlStore(database, clock=SystemClock())) as before:
        worker = await before.worker()
        await before.backend.ask("train", TRAIN)
        grant = await before.claimed(worker)
        await worker.note(grant, epoch(1, mAP50=0.4))
        await before.backend.heard("train_update_q")
    async with message_house(tmp_path, url, told, store=SqlStore(database, clock=SystemClock())) as after:
        worker = after.home.worker()
        await worker.fail(grant)
        body = await after.backend.result("train")
    assert body["type"] == "training_failed"
    assert body["error_message"] == "it did not work"
    assert (body["current_epoch"], body["partial_metrics"]) == (1, {"last_loss": 1.0, "last_mAP50": 0.4})


async def test_a_job_that_somebody_cancels_is_told_as_failed(open_house: MessageHouse) -> None:
    await open_house.worker()
    await open_house.backend.ask("train", TRAIN)
    job = await open_house.saying("messages.taken")
    await open_house.home.client.post(f"/v1/jobs/{job['job']}/cancel")
    body = await open_house.backend.result("train")
    assert (body["type"], body["error_message"]) == ("training_failed", "canceled")


async def test_a_request_is_acknowledged_once_its_job_is_there_and_long_before_it_runs(
    tmp_path: Path, rabbitmq: RabbitServer, vhost: str, told: Told
) -> None:
    url = rabbitmq.url(vhost)
    async with message_house(tmp_path, url, told) as house:
        worker = await house.worker()
        await house.backend.ask("train", TRAIN)
        await house.claimed(worker)
    assert await waiting(url, "train_request_q") == 0


async def test_a_repeat_runs_nothing_and_gets_the_result_again(open_house: MessageHouse) -> None:
    backend, worker = open_house.backend, await open_house.worker()
    await backend.ask("train", TRAIN)
    await backend.ask("train", {**TRAIN, "sent": 2})
    await open_house.saying("messages.repeated")
    await worker.finish(await open_house.claimed(worker), {"model_path": "m.pt"})
    first = await backend.result("train")
    await backend.ask("train", TRAIN)
    assert await backend.result("train") == first
    assert len(await open_house.jobs()) == 1


async def test_the_same_job_id_is_another_job_in_another_kind(open_house: MessageHouse) -> None:
    await open_house.worker()
    await open_house.backend.ask("train", TRAIN)
    body = {"job_id": "abc12345", "model_path": "m.pt", "output": {"prefix": "m", "model_name": "m.onnx"}}
    await open_house.backend.ask("convert", body)
    await open_house.saying("messages.taken", 2)
    assert len(await open_house.jobs()) == 2


async def test_the_same_job_id_with_another_body_is_a_dead_letter(open_house: MessageHouse) -> None:
    backend = open_house.backend
    await open_house.worker()
    await backend.listen("train_request_q.dlq")
    await backend.ask("train", TRAIN)
    await backend.ask("train", {**TRAIN, "hyperparams": {"epochs": 3}})
    dead = await backend.message("train_request_q.dlq")
    assert json.loads(dead.body)["hyperparams"] == {"epochs": 3}
    assert "key" in str(dead.headers["x-reason"])
    assert len(await open_house.jobs()) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not json", "not JSON"),
        (b"[1]", "not an object"),
        ({"job_id": "x"}, "required field"),
        ({**TRAIN, "hyperparams": {"epochs": "ten"}}, "hyperparams.epochs"),
        (b" " * 2000, "2000 bytes"),
    ],
    ids=["nonsense", "list", "missing", "wrong", "oversize"],
)
async def test_a_bad_message_is_put_aside_with_the_reason_and_the_next_one_is_taken(
    tmp_path: Path, rabbitmq: RabbitServer, vhost: str, told: Told, body: Any, reason: str
) -> None:
    url = rabbitmq.url(vhost)
    async with message_house(tmp_path, url, told, largest_request_bytes=1000) as house:
        await house.worker()
        await house.backend.listen("train_request_q.dlq")
        await house.backend.ask(
            "train", body, headers={"trace": "t1"}, correlation_id="c1", user_id="guest", expiration=600, priority=3
        )
        await house.backend.ask("train", TRAIN)
        dead = await house.backend.message("train_request_q.dlq")
        assert reason in str(dead.headers["x-reason"])
        assert dead.headers["x-original-queue"] == "train_request_q"
        assert dead.headers["x-original-user-id"] == "guest"
        assert (dead.headers["trace"], dead.correlation_id, dead.priority) == ("t1", "c1", 3)
        assert dead.expiration is None
        assert dead.body == (body if isinstance(body, bytes) else json.dumps(body).encode())
        await house.saying("messages.taken")
        refused = await house.saying("messages.refused")
        assert refused["message"].startswith("[Handler] a message of train_request_q was put on train_request_q.dlq: ")
    assert await waiting(url, "train_request_q") == 0


async def test_input_that_the_task_does_not_take_is_a_dead_letter(open_house: MessageHouse) -> None:
    await open_house.worker()
    await open_house.backend.listen("convert_request_q.dlq")
    missing = {"job_id": "c", "model_path": "jobs/0/1/m.pt", "output": {"prefix": "m", "model_name": "m.onnx"}}
    await open_house.backend.ask("convert", missing)
    dead = await open_house.backend.message("convert_request_q.dlq")
    assert "there is no artifact" in str(dead.headers["x-reason"])


async def test_headers_that_fit_in_no_frame_beside_the_reason_are_left_out(open_house: MessageHouse) -> None:
    await open_house.worker()
    await open_house.backend.listen("train_request_q.dlq")
    await open_house.backend.ask("train", b"bad", headers={"large": "x" * 130_000}, message_id="m1")
    dead = await open_house.backend.message("train_request_q.dlq")
    assert set(dead.headers) == {"x-reason", "x-original-queue"}
    assert dead.message_id == "m1"


async def test_what_may_pass_holds_the_request_and_loses_nothing(
    open_house: MessageHouse, rabbitmq: RabbitServer, vhost: str
) -> None:
    await open_house.worker()
    full = True
    open_house.home.gateway.jobs.has_room = lambda: not full
    for number in range(20):
        await open_house.backend.ask("train", {**TRAIN, "job_id": f"j{number}"})
    held = await open_house.saying("messages.held")
    assert held["message"].startswith("[Handler] train_request_q is held up, and tried again: ")
    # No more than the prefetch is here, however many there are.
    await until_waiting(rabbitmq.url(vhost), "train_request_q", 12)
    full = False
    await open_house.saying("messages.taken", 20)
    assert [job["metadata"]["job_id"] for job in reversed(await open_house.jobs())] == [f"j{n}" for n in range(20)]
    assert open_house.told.of("messages.refused") == []
    assert len(open_house.told.of("messages.held")) == 1


async def test_a_message_that_nobody_can_digest_does_not_stop_the_others(
    open_house: MessageHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_house.worker()
    await open_house.backend.listen("train_request_q.dlq")
    submit, tries = open_house.home.gateway.jobs.submit, 0

    async def broken(wishes: Any, **more: Any) -> Any:
        nonlocal tries
        if wishes[0].metadata["job_id"] == "odd":
            tries += 1
            raise ZeroDivisionError("surprise")
        return await submit(wishes, **more)

    monkeypatch.setattr(open_house.home.gateway.jobs, "submit", broken)
    await open_house.backend.ask("train", {**TRAIN, "job_id": "odd"})
    await open_house.backend.ask("train", TRAIN)
    dead = await open_house.backend.message("train_request_q.dlq")
    assert "5 tries; ZeroDivisionError: surprise" in str(dead.headers["x-reason"])
    assert tries == 5
    await open_house.saying("messages.taken")


async def test_a_full_disk_is_never_the_senders_fault(
    open_house: MessageHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_house.worker()
    submit, tries = open_house.home.gateway.jobs.submit, 0

    async def full_for_long(wishes: Any, **more: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 20:
            raise DiskFull("no room")
        return await submit(wishes, **more)

    monkeypatch.setattr(open_house.home.gateway.jobs, "submit", full_for_long)
    await open_house.backend.ask("train", TRAIN)
    await open_house.saying("messages.taken")
    assert open_house.told.of("messages.refused") == []


async def test_nothing_is_taken_while_nobody_knows_the_task(
    open_house: MessageHouse, rabbitmq: RabbitServer, vhost: str
) -> None:
    await open_house.backend.ask("train", TRAIN)
    waits = await open_house.saying("messages.waiting")
    assert "no worker has told of the task detector.train" in waits["message"]
    await until_waiting(rabbitmq.url(vhost), "train_request_q", 1)
    assert len(open_house.told.of("messages.waiting")) == 3
    worker = await open_house.worker()
    assert (await open_house.claimed(worker)).task == "detector.train"
    assert len(open_house.told.of("messages.waiting")) == 3


async def test_queues_that_others_declared_in_their_own_way_are_used_as_they_are(
    tmp_path: Path, rabbitmq: RabbitServer, vhost: str, told: Told
) -> None:
    url = rabbitmq.url(vhost)
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("train_request_q", durable=True, arguments={"x-max-length": 1000})
        await channel.declare_queue("train_result_q", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.declare_queue("train_update_q", durable=True, arguments={"x-message-ttl": 60_000})
        async with message_house(tmp_path, url, told, backend=False) as house:
            worker = await house.worker()
            body = json.dumps(TRAIN).encode()
            await channel.default_exchange.publish(aio_pika.Message(body), "train_request_q")
            await worker.finish(await house.claimed(worker), {"model_path": "m.pt"})
            await house.saying("messages.result")
    assert await waiting(url, "train_result_q") == 1
    assert told.of("messages.held") == told.of("delivery.failed") == []


async def test_queues_that_are_absent_are_made_durable_and_plain(
    tmp_path: Path, rabbitmq: RabbitServer, vhost: str, told: Told
) -> None:
    url = rabbitmq.url(vhost)
    async with message_house(tmp_path, url, told, backend=False) as house:
        await house.worker()
        await house.saying("messages.consumed", 3)
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        for kind in ("train", "convert", "infer"):
            for end in ("request", "update", "result"):
                # Another way of declaring them would be refused with 406.
                await channel.declare_queue(f"{kind}_{end}_q", durable=True)


async def test_a_request_queue_that_was_deleted_is_made_anew(
    open_house: MessageHouse, rabbitmq: RabbitServer, vhost: str
) -> None:
    worker = await open_house.worker()
    await open_house.saying("messages.consumed", 3)
    rabbitmq.delete_queue("train_request_q", vhost)
    await open_house.saying("messages.consumed", 4)
    await open_house.backend.ask("train", TRAIN)
    assert (await open_house.claimed(worker)).task == "detector.train"


async def test_a_result_queue_that_was_deleted_is_made_anew_and_gets_the_result(
    open_house: MessageHouse, rabbitmq: RabbitServer, vhost: str
) -> None:
    worker = await open_house.worker()
    await open_house.backend.ask("train", TRAIN)
    grant = await open_house.claimed(worker)
    await worker.note(grant, epoch(1))
    await open_house.backend.heard("train_update_q")
    rabbitmq.delete_queue("train_update_q", vhost)
    rabbitmq.delete_queue("train_result_q", vhost)
    await worker.note(grant, epoch(2))
    await worker.finish(grant, {"model_path": "m.pt"})
    await open_house.saying("messages.result")
    await open_house.backend.disconnect()
    await open_house.backend.connect()
    assert (await open_house.backend.heard("train_update_q"))["current_epoch"] == 2
    assert (await open_house.backend.result("train"))["model_path"] == "m.pt"


async def test_connections_that_the_broker_closes_come_back(open_house: MessageHouse, rabbitmq: RabbitServer) -> None:
    worker = await open_house.worker()
    await open_house.backend.ask("train", TRAIN)
    grant = await open_house.claimed(worker)
    await open_house.saying("messages.connected")
    rabbitmq.close_connections()
    lost = await open_house.saying("messages.lost")
    assert lost["message"].startswith("[RMQ] RabbitMQ was lost: ")
    await worker.finish(grant, {"model_path": "m.pt"})
    await open_house.backend.connect()
    assert (await open_house.backend.result("train"))["model_path"] == "m.pt"
    await open_house.saying("messages.connected", 2)
    await open_house.backend.ask("train", {**TRAIN, "job_id": "second"})
    assert (await open_house.claimed(worker)).task == "detector.train"


async def test_a_broker_that_is_killed_gets_the_result_once_it_is_back(
    open_house: MessageHouse, rabbitmq: RabbitServer
) -> None:
    worker = await open_house.worker()
    await open_house.backend.ask("train", TRAIN)
    grant = await open_house.claimed(worker)
    await worker.note(grant, epoch(1))
    await open_house.backend.heard("train_update_q")
    await asyncio.to_thread(rabbitmq.kill9)
    try:
        await open_house.saying("messages.lost")
        await worker.note(grant, epoch(2))
        assert await worker.finish(grant, {"model_path": "m.pt"})
        await open_house.saying("delivery.failed")
    finally:
        await asyncio.to_thread(rabbitmq.restart)
    await open_house.backend.connect()
    assert (await open_house.backend.result("train"))["model_path"] == "m.pt"
    epochs = [1]
    while epochs[-1] != 2:
        epochs.append((await open_house.backend.heard("train_update_q"))["current_epoch"])
    await open_house.backend.ask("train", {**TRAIN, "job_id": "second"})
    assert (await open_house.claimed(worker)).task == "detector.train"


async def test_the_doors_lines_say_what_to_look_for(open_house: MessageHouse) -> None:
    await open_house.worker()
    connected = await open_house.saying("messages.connected")
    assert connected["message"].startswith("[RMQ] RabbitMQ consumer started on amqp://guest@")
    insecure = await open_house.saying("messages.insecure")
    assert insecure["message"].startswith("[RMQ] Insecure: ")
    await open_house.backend.ask("train", {**TRAIN, "colour": "red"})
    taken = await open_house.saying("messages.taken")
    assert taken["message"].startswith("[Handler] train abc12345 is job ")
    assert taken["message"].endswith("left out, because nobody here knows it: colour")


@pytest.mark.parametrize(
    ("address", "fix"),
    [
        (lambda server: server.url(password="wrong"), "check user and password"),
        (lambda server: server.url("no-such-vhost"), "rabbitmqctl add_vhost no-such-vhost"),
        (lambda server: f"amqp://127.0.0.1:{free_port()}", "start it, or check host and port"),
    ],
    ids=["wrong password", "missing vhost", "nobody there"],
)
async def test_a_broker_that_refuses_us_is_told_with_the_fix_and_http_goes_on(
    tmp_path: Path, rabbitmq: RabbitServer, told: Told, address: Callable[[RabbitServer], str], fix: str
) -> None:
    url = address(rabbitmq)
    async with message_house(tmp_path, url, told, backend=False) as house:
        lost = await house.saying("messages.lost")
        assert lost["message"].startswith("[RMQ] Failed to connect to RabbitMQ: ")
        assert fix in lost["message"]
        assert lost["message"].endswith("; HTTP goes on meanwhile")
        assert "wrong" not in lost["message"]
        assert (await house.home.client.get("/v1/jobs")).status_code == 200
        assert len(told.of("messages.lost")) == 1


async def test_a_channel_that_closes_as_it_opens_is_one_to_try_again() -> None:
    class Closed:
        close_callbacks: ClassVar[set[object]] = set()

        async def get_underlay_channel(self) -> None:
            raise aiormq.exceptions.ChannelInvalidStateError("Channel was not opened")

    intake = Intake(Kind.TRAIN, KindOptions.of(Kind.TRAIN), cast("IntakeParts", None))
    with pytest.raises(Unreachable, match="train_request_q"):
        await intake._open_inbox(cast("AbstractChannel", Closed()))
