"""Takes calls in batches and says how large they were."""

from typing import Any

from glowplug import Batch, InvalidInput, Model, RunContext, task


class Batcher(Model):
    @task(batch=8, batch_wait_seconds=0.02, example={"text": "hello"})
    def shout(self, ctx: RunContext, text: Batch[str], mark: str = "!") -> list[dict[str, Any]]:
        """Put texts into capitals; a text that says "bad" is refused."""
        if "bad" in text:
            raise InvalidInput("the word is bad", fields=[{"loc": "text", "msg": "bad"}])
        for context, word in zip(ctx.calls, text, strict=True):
            context.save("word.txt", word.encode())
        return [{"text": word.upper() + mark, "together": len(text)} for word in text]
