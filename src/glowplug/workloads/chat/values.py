"""What the task takes and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import MaxLen

LONGEST_MESSAGE = 200_000

Role = Literal["system", "developer", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """Something that was said; `developer` is another word for `system`."""

    role: Role
    content: Annotated[str, MaxLen(LONGEST_MESSAGE)]


@dataclass(frozen=True, slots=True)
class Delta:
    """The next few letters of a reply."""

    text: str


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a reply, and why: the model was done, or `max_tokens` or the context were.

    The counts of tokens are 0 where the server does not tell them.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Order:
    """What a model is asked: the messages, and how to choose words; what is None is the model's own choice."""

    messages: Sequence[Message]
    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    stop: Sequence[str] = ()
    seed: int | None = None

    def body(self, model: str) -> dict[str, Any]:
        """Return it as OpenAI's protocol has it, for a stream."""
        chosen: Mapping[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": list(self.stop) or None,
            "seed": self.seed,
        }
        said = [{"role": _role(message.role), "content": message.content} for message in self.messages]
        fixed = {"model": model, "messages": said, "max_tokens": self.max_tokens}
        return {
            **fixed,
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in chosen.items() if value is not None},
        }


def _role(role: Role) -> str:
    # Few templates of open models know the new word.
    return "system" if role == "developer" else role
