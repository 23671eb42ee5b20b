"""What was said so far, as far back as there is room."""

from __future__ import annotations

from collections import deque

from glowplug.web.conversation.parts import Message


class History:
    """The last messages of a conversation. `instructions` go before them and are never forgotten."""

    def __init__(self, instructions: str, messages: int, characters: int) -> None:
        self._instructions = instructions
        self._limits = (messages, characters)
        self._kept: deque[Message] = deque()
        self._characters = 0

    def heard(self, text: str) -> None:
        """Add what the user said."""
        self._add({"role": "user", "content": text})

    def said(self, text: str) -> None:
        """Add what was answered, be it half an answer."""
        if text:
            self._add({"role": "assistant", "content": text})

    def messages(self) -> list[Message]:
        """Return what the chat is told, oldest first."""
        before: list[Message] = [{"role": "system", "content": self._instructions}] if self._instructions else []
        return [*before, *self._kept]

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._characters = 0

    def _add(self, message: Message) -> None:
        if self._kept and self._kept[-1]["role"] == message["role"]:
            # An answer that was stopped before its first word: most chat models want the roles to take turns.
            earlier = self._pop(last=True)
            both = f"{earlier['content']}\n{message['content']}"
            # The newest is kept whole, however long it is; of the older, what there is room for.
            message = {"role": message["role"], "content": both[-max(self._limits[1], len(message["content"])) :]}
        self._kept.append(message)
        self._characters += len(message["content"])
        self._forget()

    def _forget(self) -> None:
        messages, characters = self._limits
        while len(self._kept) > 1 and (len(self._kept) > messages or self._characters > characters):
            self._pop()
            # An answer to a question that is forgotten tells nothing.
            while len(self._kept) > 1 and self._kept[0]["role"] == "assistant":
                self._pop()

    def _pop(self, *, last: bool = False) -> Message:
        gone = self._kept.pop() if last else self._kept.popleft()
        self._characters -= len(gone["content"])
        return gone
