"""Streams words, one at a time."""

import time
from collections.abc import Iterator

from glowplug import Model, RunContext, task


class Streamer(Model):
    @task(example={"text": "one two three"})
    def words(self, ctx: RunContext, text: str, pause_seconds: float = 0.0) -> Iterator[str]:
        """Give the words of a text, one after the other."""
        for word in text.split():
            yield word
            time.sleep(pause_seconds)

    @task
    def count(self, ctx: RunContext) -> Iterator[int]:
        """Count until told to stop."""
        number = 0
        while True:
            number += 1
            yield number
