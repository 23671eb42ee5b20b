"""Does nothing, as fast as it can."""

from glowplug import Model, RunContext, task


class Noop(Model):
    slots = 10

    @task(short=True, example={})
    def run(self, ctx: RunContext) -> None:
        """Do nothing."""
