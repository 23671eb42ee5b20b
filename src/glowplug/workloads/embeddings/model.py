"""The `embeddings` model: texts to vectors, by a pretrained sentence model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Le, MaxLen, MinLen

from glowplug.load_context import LoadContext
from glowplug.model import Batch, Model, RunContext, task
from glowplug.workloads import option_values
from glowplug.workloads.embeddings.source import PACKAGE_SOURCE, folder_of
from glowplug.workloads.embeddings.values import Embedding
from glowplug.workloads.extras import Deferred, imported

if TYPE_CHECKING:
    from glowplug.workloads.embeddings import encoder, network
else:
    encoder = Deferred("glowplug.workloads.embeddings.encoder", "embeddings", "the embeddings model")
    network = Deferred("glowplug.workloads.embeddings.network", "embeddings", "the embeddings model")

LONGEST_TEXT = 100_000
LARGEST_PASS = 1_000_000
LARGEST_DIMENSIONS = 65_536


class Embeddings(Model):
    """Options: `source` (a folder, a hub id or "package", the default), `revision` (of a hub id), `threads`.

    `pass_tokens` is one more: how many tokens a forward takes at most, padding included. A subclass with
    `weights = {"model": …}` is fetched by the platform instead, and needs no option.
    """

    name: ClassVar[str] = "embeddings"
    version: ClassVar[str] = "1"
    devices: ClassVar[tuple[str, ...]] = ("cpu",)

    @classmethod
    def known_options(cls, options: Mapping[str, str]) -> Collection[str]:
        """Return the names of the options above."""
        del options
        return ("source", "revision", "threads", "pass_tokens")

    @classmethod
    def prepare(cls, options: Mapping[str, str]) -> None:
        """Import the network's runtime and the tokenizer."""
        del options
        imported(network, encoder)

    def load(self, ctx: LoadContext) -> None:
        """Find, read and open the model."""
        threads = option_values.threads(ctx.options)
        pass_tokens = option_values.whole(ctx.options, "pass_tokens", 0, most=LARGEST_PASS)
        folder = ctx.weights.get("model")
        if folder is None:
            with ctx.stage("fetch"):
                folder = folder_of(ctx.options.get("source", PACKAGE_SOURCE), ctx.options.get("revision"))
        layout = encoder.Layout.of(folder)
        with ctx.stage("read"):
            data = network.read(layout.network, lambda done, total: ctx.progress(done, total, unit="bytes"))
        with ctx.stage("build"):
            tokenizer = encoder.tokenizer_of(folder, layout)
            net = network.opened(layout.network, data, layout.config, threads)
            self._encoder = encoder.Encoder(layout, tokenizer, net, pass_tokens or encoder.PASS_TOKENS)

    @task(example={"text": "A kitten sleeps on the sofa."}, batch=256, short=True, serves="embeddings")
    def embed(
        self,
        ctx: RunContext,
        text: Batch[Annotated[str, MinLen(1), MaxLen(LONGEST_TEXT)]],
        dimensions: Annotated[int, Ge(1), Le(LARGEST_DIMENSIONS)] | None = None,
    ) -> list[Embedding]:
        """Turn a text into a vector of length one: texts of like meaning get vectors that point alike.

        `dimensions` asks for its first so many numbers alone, which is worth something where the model was trained so.
        """
        return self._encoder.embed(text, dimensions, ctx.check)
