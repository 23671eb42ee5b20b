"""Chat: a conversation becomes a call of a task, and the pieces that it yields become chunks or one message. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from glowplug.errors import TaskFailed
from glowplug.gateway.openai.parameters import extras, knows, wrong
from glowplug.gateway.openai.shapes import ChatMessage, ChatRequest
from glowplug.store import TaskInfo

DEVELOPER = "developer"
LONGEST_REPLY = 4_000_000
_PASSED = ("temperature", "top_p", "seed")
_TAKEN = frozenset(ChatRequest.__struct_fields__)


class _Piece(msgspec.Struct, frozen=True):
    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def given(task: TaskInfo, wish: ChatRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the task is called with. Raises `InvalidInput` for what cannot be had here."""
    _check(task, wish)
    said = {name: value for name in _PASSED if (value := getattr(wish, name)) is not None}
    most = wish.max_tokens if wish.max_completion_tokens is None else wish.max_completion_tokens
    if most is not None:
        said["max_tokens"] = most
    if wish.stop is not None:
        said["stop"] = [wish.stop] if isinstance(wish.stop, str) else wish.stop
    if wish.response_format is not None and knows(task, "response_format"):
        said["response_format"] = wish.response_format
    messages = [_message(number, one) for number, one in enumerate(wish.messages)]
    return {**extras(task, body, _TAKEN), **said, "messages": messages}


def names(wish: ChatRequest) -> Mapping[str, str]:
    """Return what the caller calls the task's parameters, where that is something else."""
    return {} if wish.max_completion_tokens is None else {"max_tokens": "max_completion_tokens"}


@dataclass
class Conversation:
    """One reply as it grows: takes in the task's values, and gives chunks or the whole."""

    id: str
    model: str
    created: int
    includes_usage: bool = False
    _text: list[str] = field(default_factory=list)
    _characters: int = 0
    _finish_reason: str = "stop"
    _usage: dict[str, int] = field(default_factory=dict)

    def first(self) -> dict[str, Any]:
        """Return the chunk that begins the reply."""
        return self._chunk({"role": "assistant", "content": ""})

    def take(self, value: Any) -> None:
        """Take in a value for the whole. Raises `TaskFailed` for one that is none, and for a reply without an end."""
        text = self._heard(value)
        self._text.append(text)
        self._characters += len(text)
        if self._characters > LONGEST_REPLY:
            raise TaskFailed(f"the reply has more than {LONGEST_REPLY} characters; ask for it with stream")

    def _heard(self, value: Any) -> str:
        try:
            piece = msgspec.convert(value, _Piece)
        except msgspec.ValidationError as error:
            said = f"the task serves chat/completions, but yielded a value without a text or of another shape: {error}"
            raise TaskFailed(said) from error
        if piece.finish_reason is not None:
            self._finish_reason = piece.finish_reason
            prompt, completion = piece.prompt_tokens or 0, piece.completion_tokens or 0
            self._usage = {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            }
        return piece.text

    def next(self, value: Any) -> dict[str, Any] | None:
        """Return the chunk of a value, None if it says nothing; its text is kept by nobody. Raises as `take` does."""
        text = self._heard(value)
        return self._chunk({"content": text}) if text else None

    def last(self) -> Iterator[dict[str, Any]]:
        """Yield the chunks that end the reply."""
        yield self._chunk({}, self._finish_reason)
        if self.includes_usage:
            yield {**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage or None}

    def whole(self) -> dict[str, Any]:
        """Return the reply as one answer."""
        message = {"role": "assistant", "content": "".join(self._text), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish_reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self._usage or None}

    def _chunk(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self.includes_usage else {}
        return {**self._head("chat.completion.chunk"), "choices": [choice], **usage}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def _check(task: TaskInfo, wish: ChatRequest) -> None:
    if not wish.messages:
        raise wrong("messages", "a conversation has at least one message")
    if wish.n not in (None, 1):
        raise wrong("n", "one reply at a time is given; ask several times")
    if wish.tools:
        raise wrong("tools", "calling tools is not supported")
    if wish.functions:
        raise wrong("functions", "calling functions is not supported")
    if wish.logprobs:
        raise wrong("logprobs", "log probabilities are not given")
    wanted = (wish.response_format or {}).get("type", "text")
    if wanted != "text" and not knows(task, "response_format"):
        raise wrong("response_format", f"{wish.model} answers in text alone")


def _message(number: int, message: ChatMessage) -> dict[str, str]:
    # The newer word for who sets the rules; models know the older one.
    role = "system" if message.role == DEVELOPER else message.role
    if isinstance(message.content, str) or message.content is None:
        return {"role": role, "content": message.content or ""}
    for part in message.content:
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = str(part.get("type"))[:40]
            raise wrong(f"messages.{number}.content", f"parts of type {kind!r} are not taken; send text")
    return {"role": role, "content": "".join(part["text"] for part in message.content)}
