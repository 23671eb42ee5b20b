"""The queues on SQS: found or made, sent to, received from. One that vanishes is made again."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from glowplug.broker import Hint
from glowplug.brokers.messages import body_of
from glowplug.brokers.sqs_messages import (
    DEAD_SECONDS,
    FIFO_ATTRIBUTES,
    HINT_ATTRIBUTES,
    MAX_RECEIVES,
    SqsAddress,
    by_tens,
    group_of,
    reason_attributes,
)
from glowplug.drivers.aws import AwsClient
from glowplug.errors import Forbidden, NotFound, RemoteError, Unreachable

# What speaks like SQS may know groups on FIFO queues alone.
NO_GROUPS = "MessageGroupId"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What stands for a message that was received: its model, and the handle that it is settled by."""

    model: str
    handle: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came."""

    receipt: Receipt
    body: str


class SqsQueues:
    """A queue and a queue of dead letters for each model."""

    def __init__(self, client: AwsClient, address: SqsAddress) -> None:
        self._client = client
        self._address = address
        self._urls: dict[str, str] = {}
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._fair = True

    async def send(self, model: str, hints: Sequence[Hint]) -> None:
        """Send hints of one model; all of them have been taken when this returns."""
        for some in by_tens(hints):
            try:
                await self._send(model, some)
            except RemoteError as error:
                if not self._fair or self._address.fifo or NO_GROUPS not in error.message:
                    raise
                self._fair = False
                await self._send(model, some)

    async def receive(self, model: str, count: int, *, wait_seconds: int, visibility_seconds: int) -> list[Message]:
        """Wait for messages, and hide what came from others for the time of its visibility."""
        answer = await self._on(
            model,
            "receive_message",
            MaxNumberOfMessages=count,
            WaitTimeSeconds=wait_seconds,
            VisibilityTimeout=visibility_seconds,
        )
        return [Message(Receipt(model, one["ReceiptHandle"]), one["Body"]) for one in answer.get("Messages", [])]

    async def delete(self, receipts: Sequence[Receipt]) -> None:
        """Delete messages; those that are not ours any more are let be."""
        await self._settle("delete_message_batch", receipts, {})

    async def show(self, receipts: Sequence[Receipt]) -> None:
        """Show messages to others at once; those that are not ours any more are let be."""
        await self._settle("change_message_visibility_batch", receipts, {"VisibilityTimeout": 0})

    async def waiting(self, model: str) -> int:
        """Return how many messages nobody has received, as far as the service knows at the moment."""
        url = await self._find(self._address.queue(model))
        if url is None:
            return 0
        name = "ApproximateNumberOfMessages"
        try:
            answer = await self._client.call("get_queue_attributes", QueueUrl=url, AttributeNames=[name])
        except NotFound:
            self._urls.pop(self._address.queue(model), None)
            return 0
        return int(answer["Attributes"][name])

    async def bury(self, model: str, body: str, reason: str) -> None:
        """Put a message on the model's queue of dead letters, with the reason beside it."""
        extra = {"MessageGroupId": "dead", "MessageDeduplicationId": uuid4().hex} if self._address.fifo else {}
        attributes = reason_attributes(reason)
        await self._on(model, "send_message", dead=True, MessageBody=body, MessageAttributes=attributes, **extra)

    async def _send(self, model: str, hints: Sequence[Hint]) -> None:
        entries = [self._entry(str(number), hint) for number, hint in enumerate(hints)]
        answer = await self._on(model, "send_message_batch", Entries=entries)
        if failed := answer.get("Failed", []):
            said = failed[0]
            raise Unreachable(f"{self._client.place} took {len(failed)} hints not: {said.get('Code')}")

    def _entry(self, number: str, hint: Hint) -> dict[str, Any]:
        entry = {"Id": number, "MessageBody": body_of(hint)}
        group = group_of(hint, fifo=self._address.fifo) if self._fair or self._address.fifo else None
        if group is not None:
            entry["MessageGroupId"] = group
        if self._address.fifo:
            # Of this sending alone: a job that is tried again within five minutes has to get through.
            entry["MessageDeduplicationId"] = uuid4().hex
        return entry

    async def _settle(self, operation: str, receipts: Sequence[Receipt], extra: Mapping[str, Any]) -> None:
        by_model: defaultdict[str, list[Receipt]] = defaultdict(list)
        for receipt in receipts:
            by_model[receipt.model].append(receipt)
        batches = [some for held in by_model.values() for some in by_tens(held)]
        await asyncio.gather(*[self._settle_some(operation, some, extra) for some in batches])

    async def _settle_some(self, operation: str, receipts: Sequence[Receipt], extra: Mapping[str, Any]) -> None:
        url = self._urls.get(self._address.queue(receipts[0].model))
        if url is None:
            return
        entries = [{"Id": str(number), "ReceiptHandle": one.handle, **extra} for number, one in enumerate(receipts)]
        await self._client.call(operation, QueueUrl=url, Entries=entries)

    async def _on(self, model: str, operation: str, *, dead: bool = False, **arguments: Any) -> dict[str, Any]:
        """Make a call on a queue of the model, which is made first if it is not there, or not any more."""
        name = self._address.dead_letters(model) if dead else self._address.queue(model)
        url = await self._url(model, dead=dead)
        try:
            return await self._client.call(operation, QueueUrl=url, **arguments)
        except NotFound:
            self._urls.pop(name, None)
            url = await self._url(model, dead=dead)
            return await self._client.call(operation, QueueUrl=url, **arguments)

    async def _url(self, model: str, *, dead: bool) -> str:
        name = self._address.dead_letters(model) if dead else self._address.queue(model)
        async with self._making[name]:
            found = await self._find(name)
            return found or await self._make(model, name, dead=dead)

    async def _find(self, name: str) -> str | None:
        if name not in self._urls:
            try:
                self._urls[name] = (await self._client.call("get_queue_url", QueueName=name))["QueueUrl"]
            except NotFound:
                return None
        return self._urls[name]

    async def _make(self, model: str, name: str, *, dead: bool) -> str:
        attributes = {"MessageRetentionPeriod": str(DEAD_SECONDS)} if dead else await self._attributes(model)
        if self._address.fifo:
            attributes |= FIFO_ATTRIBUTES
        try:
            answer = await self._client.call("create_queue", QueueName=name, Attributes=attributes)
        except Forbidden as error:
            fix = f"create it with a redrive to {self._address.dead_letters(model)!r}, or allow sqs:CreateQueue"
            raise Forbidden(
                f"there is no queue {name!r} at {self._client.place}, and we may not create it; {fix}"
            ) from error
        except RemoteError as error:
            # Another gateway made it a moment ago, in another way: then it is used as it is.
            if "Exists" not in str(error.data.get("aws_code")):
                raise
            answer = await self._client.call("get_queue_url", QueueName=name)
        self._urls[name] = answer["QueueUrl"]
        return self._urls[name]

    async def _attributes(self, model: str) -> dict[str, str]:
        answer = await self._on(model, "get_queue_attributes", dead=True, AttributeNames=["QueueArn"])
        redrive = {"deadLetterTargetArn": answer["Attributes"]["QueueArn"], "maxReceiveCount": MAX_RECEIVES}
        return {**HINT_ATTRIBUTES, "RedrivePolicy": json.dumps(redrive)}
