"""The `chat` model: replies to a conversation, word by word."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from glowplug.errors import InvalidInput, SettingsError
from glowplug.load_context import LoadContext
from glowplug.model import Model, RunContext, task
from glowplug.workloads import option_values
from glowplug.workloads.chat.engine import Engine, chunks
from glowplug.workloads.chat.options import KNOWN, Limits, ServerOptions, counted
from glowplug.workloads.chat.reply import read
from glowplug.workloads.chat.server import ServerEngine
from glowplug.workloads.chat.values import Delta, Ending, Message, Order
from glowplug.workloads.extras import Deferred, imported

if TYPE_CHECKING:
    from glowplug.workloads.chat import gguf
else:
    gguf = Deferred("glowplug.workloads.chat.gguf", "chat-gguf", "option gguf of the chat model")

MOST_MESSAGES = 1000
LARGEST_SEED = 2**32 - 2
"""The largest that llama.cpp takes for a seed; one more means any."""
EVERY_LAYER = 999
LARGEST_REPLY_TOKENS = 131_072
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://.*")

Stops = Annotated[list[Annotated[str, MinLen(1), MaxLen(200)]], MaxLen(16)]


class Chat(Model):
    """Options: `server`, `model`, `api_key_env`, `silence_seconds`; or `gguf`, `context`, `threads`, `gpu_layers`.

    Of both: `system`, `max_tokens`, `longest_prompt`. Without any, the only model of an Ollama on this machine.
    """

    name: ClassVar[str] = "chat"
    version: ClassVar[str] = "1"
    slots: ClassVar[int] = 4
    check_seconds: ClassVar[float | None] = 5.0

    @classmethod
    def known_options(cls, options: Mapping[str, str]) -> Collection[str]:
        """Return the names of the options above."""
        del options
        return KNOWN

    @classmethod
    def sources(cls, options: Mapping[str, str]) -> Mapping[str, str]:
        """Return the address of the GGUF, which the platform fetches, or reads ahead."""
        place = options.get("gguf", "")
        fetched = bool(place) and (bool(_ADDRESS.fullmatch(place)) or Path(place).expanduser().exists())
        return {"gguf": place} if fetched else cls.weights

    @classmethod
    def estimate(cls, weights: Mapping[str, Path], options: Mapping[str, str]) -> int | None:
        """Return 0 where a server does the work: it takes nothing of a card here."""
        return None if weights or options.get("gguf") else 0

    @classmethod
    def prepare(cls, options: Mapping[str, str]) -> None:
        """Import llama.cpp where it does the work."""
        if options.get("gguf") or "gguf" in cls.weights:
            imported(gguf)

    def load(self, ctx: LoadContext) -> None:
        """Find out that the server answers and has the model, or open the GGUF."""
        self._limits = Limits.of(ctx.options)
        self._engine = self._chosen(ctx)
        with ctx.stage("open"):
            self._engine.open()

    def unload(self) -> None:
        """Break off what is under way."""
        self._engine.close()

    def check(self) -> None:
        """Raise if the server does not answer."""
        self._engine.check()

    @task(
        example={"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16}, serves="chat/completions"
    )
    def reply(
        self,
        ctx: RunContext,
        messages: Annotated[list[Message], MinLen(1), MaxLen(MOST_MESSAGES)],
        temperature: Annotated[float, Ge(0), Le(2)] | None = None,
        top_p: Annotated[float, Gt(0), Le(1)] | None = None,
        max_tokens: Annotated[int, Ge(1), Le(LARGEST_REPLY_TOKENS)] | None = None,
        stop: Annotated[str, MinLen(1), MaxLen(200)] | Stops | None = None,
        seed: Annotated[int, Ge(0), Le(LARGEST_SEED)] | None = None,
    ) -> Iterator[Delta | Ending]:
        """Reply to a conversation, word by word; the last value says how it ended.

        What is left out is up to the model, except `max_tokens`, which is then an option of the model's.
        """
        stops = [stop] if isinstance(stop, str) else stop or ()
        said = self._checked(messages)
        order = Order(said, max_tokens or self._limits.max_tokens, temperature, top_p, stops, seed)
        yield from read(self._engine.name, chunks(ctx, self._engine, order))

    def _chosen(self, ctx: LoadContext) -> Engine:
        options = ctx.options
        place = ctx.weights.get("gguf") or options.get("gguf")
        if not place:
            return ServerEngine(ServerOptions.of(options))
        if options.get("server"):
            raise SettingsError("options server and gguf: set one of them, not both")
        plan = gguf.Plan(
            path=gguf.file_in(Path(place).expanduser()),
            context=counted(options, "context", 4096, least=128),
            threads=option_values.threads(options),
            layers=counted(options, "gpu_layers", 0 if ctx.device == "cpu" else EVERY_LAYER, least=0),
            card=int(ctx.device.partition(":")[2] or 0),
            slots=self.slots,
        )
        return gguf.GgufEngine(plan)

    def _checked(self, messages: list[Message]) -> list[Message]:
        length = sum(len(message.content) for message in messages)
        if length > self._limits.longest_prompt:
            most = self._limits.longest_prompt
            told = f"messages: {length} characters in all, more than {most}; leave out old ones"
            raise InvalidInput(told, fields=["messages"])
        if not any(message.content.strip() for message in messages):
            raise InvalidInput("messages: nothing is said in them", fields=["messages"])
        instructed = any(message.role in ("system", "developer") for message in messages)
        system = [Message("system", self._limits.system)] if self._limits.system and not instructed else []
        return [*system, *messages]
