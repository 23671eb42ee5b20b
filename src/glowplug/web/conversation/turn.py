"""One turn: what was said is understood and answered, and each sentence of the answer is spoken while the next is made.

Every turn ends with one frame: `reply_done`, or `interrupted` from whoever stops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from glowplug.errors import DeadlineExceeded, GlowplugError, NotReady, TaskFailed, TooLarge, UserError
from glowplug.events import emit
from glowplug.web.conversation.history import History
from glowplug.web.conversation.parts import ConversationLimits, Engines, Sound
from glowplug.web.conversation.sentences import Sentences
from glowplug.web.conversation.utterance import Utterance
from glowplug.web.conversation.wire import Gone, Wire

T = TypeVar("T")
_OVER: Any = object()
SENTENCES_AHEAD = 8
"""How many sentences may wait to be spoken; then the chat waits too."""


class Trouble(Exception):
    """A part of the conversation failed; it goes on."""

    def __init__(self, component: str, error: GlowplugError) -> None:
        super().__init__(error.message)
        self.component = component
        self.error = error


class Turn:
    """Answers one utterance. Canceling `run` stops the engines; what was said until then is kept in the history."""

    def __init__(self, number: int, engines: Engines, wire: Wire, history: History, limits: ConversationLimits) -> None:
        self.number = number
        self.is_ending = False
        self._engines = engines
        self._wire = wire
        self._history = history
        self._limits = limits
        self._said: list[str] = []
        self._sentences: asyncio.Queue[str | None] = asyncio.Queue(SENTENCES_AHEAD)

    async def run(self, utterance: Utterance) -> None:
        """Answer, and tell what goes wrong. Raises `Gone`."""
        seconds = self._limits.turn_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._take(utterance)
        except TimeoutError:
            await self._wire.refuse(DeadlineExceeded(f"the answer took longer than {seconds:g} s"), turn=self.number)
        except Trouble as trouble:
            await self._tell(trouble)
        self.is_ending = True
        await self._wire.tell("reply_done", turn=self.number)

    async def _take(self, utterance: Utterance) -> None:
        text = utterance.text or await self._transcript(utterance)
        await self._wire.tell("transcript", turn=self.number, text=text)
        # Who only coughed is not answered.
        if text:
            self._history.heard(text)
            try:
                await self._answer()
            finally:
                self._history.said("".join(self._said))

    async def _transcript(self, utterance: Utterance) -> str:
        if self._engines.transcribe is None:
            raise Trouble("stt", NotReady("speech is not understood here: there is no speech-to-text; send text"))
        with troubles("stt"):
            text = await self._engines.transcribe(utterance.audio, utterance.media_type)
        return text.strip()[: self._limits.text_characters]

    async def _answer(self) -> None:
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._speak(), name=f"speaking {self.number}")
                both.create_task(self._write(), name=f"writing {self.number}")
        except* Gone as gone:
            raise gone.exceptions[0] from None

    async def _write(self) -> None:
        """Pass the reply on as it is made, and hand its sentences over."""
        sentences, length = Sentences(), 0
        try:
            async with aclosing(guarded("chat", lambda: self._engines.reply(self._history.messages()))) as pieces:
                async for piece in pieces:
                    length += len(piece)
                    self._check_length(length)
                    await self._pass_on(piece, sentences)
        except Trouble as trouble:
            await self._tell(trouble)
        for sentence in sentences.rest():
            await self._sentences.put(sentence)
        await self._sentences.put(None)

    def _check_length(self, characters: int) -> None:
        limit = self._limits.reply_characters
        if characters > limit:
            raise Trouble("chat", TooLarge(f"the reply was cut after {limit} characters"))

    async def _pass_on(self, piece: str, sentences: Sentences) -> None:
        if not piece:
            return
        await self._wire.tell("reply_delta", turn=self.number, text=piece)
        self._said.append(piece)
        for sentence in sentences.add(piece):
            await self._sentences.put(sentence)

    async def _speak(self) -> None:
        """Speak sentence by sentence; after a failure the reply goes on in writing."""
        told = mute = False
        while (sentence := await self._sentences.get()) is not None:
            if mute:
                continue
            try:
                await self._say(sentence)
            except Trouble as trouble:
                # A sentence that the voice cannot say, such as one in other letters, says nothing of the next.
                mute = not isinstance(trouble.error, UserError)
                if not told:
                    told = True
                    await self._tell(trouble)

    async def _say(self, sentence: str) -> None:
        async with aclosing(guarded("tts", lambda: self._engines.speak(sentence))) as sounds:
            async for sound in sounds:
                told = Sound.of(sound) if isinstance(sound, bytes) else sound
                if told.data:
                    await self._wire.play(self.number, sentence, told)

    async def _tell(self, trouble: Trouble) -> None:
        await self._wire.refuse(trouble.error, component=trouble.component, turn=self.number)


async def guarded(component: str, begin: Callable[[], AsyncIterator[T]]) -> AsyncGenerator[T, None]:
    """Yield what an engine gives; closing this closes the engine, so that its model stops. Raises `Trouble`."""
    with troubles(component):
        source = aiter(begin())
    try:
        while True:
            with troubles(component):
                value = await anext(source, _OVER)
            if value is _OVER:
                return
            yield value
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            with troubles(component):
                await close()


@contextmanager
def troubles(component: str) -> Iterator[None]:
    """Turn what an engine raises into `Trouble`: our own errors in their words, others as a failure, and logged."""
    try:
        yield
    except GlowplugError as error:
        raise Trouble(component, error) from error
    except Exception as error:
        emit("conversation.failed", component=component, error=f"{type(error).__name__}: {error}", exception=error)
        raise Trouble(component, TaskFailed(f"{component} failed; the server's log says why")) from error
