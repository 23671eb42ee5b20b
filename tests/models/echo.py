"""Gives back what it gets."""

from glowplug import Model, RunContext, task


class Echo(Model):
    @task(example={"text": "hello"})
    def say(self, ctx: RunContext, text: str, times: int = 1) -> str:
        """Repeat a text."""
        return text * times
