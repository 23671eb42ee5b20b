"""Models that do nothing, to measure what is around them."""

from __future__ import annotations

from glowplug import Model, RunContext, task


class Noop(Model):
    """Ten slots, no work."""

    slots = 10

    @task(short=True)
    def run(self, ctx: RunContext, text: str = "") -> dict[str, str]:
        """Return the text."""
        return {"text": text}
