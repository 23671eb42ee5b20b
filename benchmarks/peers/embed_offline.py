"""The libraries by themselves, as a script would use them: reads "mode count first" lines, prints what each took.

Modes: `ort` is tokenizers and onnxruntime in batches of 32 as the texts come, `ort-sorted` the same with the texts
sorted by length first, as sentence-transformers does, `ort-one` one text at a time, `torch` transformers and torch with
mean pooling, sorted, in batches of 32, `encoder` our own encoder without anything around it. Times are in seconds.

python -m benchmarks.peers.embed_offline THREADS
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 32
WORDS = (Path(__file__).parents[2] / "README.md").read_text().split()


def texts(count: int, first: int = 0) -> list[str]:
    """Return texts of three to two hundred words, half of them under 25; always the same ones."""
    made = []
    for number in range(first, first + count):
        chance = random.Random(number)
        made.append(" ".join(chance.choices(WORDS, k=min(200, max(3, int(chance.lognormvariate(3.0, 0.8)))))))
    return made


def main(threads: int) -> None:
    """Answer orders until the input ends."""
    modes: dict[str, Callable[[Sequence[str]], None]] = {**_onnxruntime(threads), **_torch(threads)}
    print("ready", flush=True)
    for line in sys.stdin:
        mode, count, first = line.split()
        given = texts(int(count), int(first))
        began = time.perf_counter()
        modes[mode](given)
        print(time.perf_counter() - began, flush=True)


def _onnxruntime(threads: int) -> dict[str, Callable[[Sequence[str]], None]]:
    import onnxruntime

    from glowplug.workloads.embeddings import encoder, network
    from glowplug.workloads.embeddings.source import PACKAGE_SOURCE, folder_of

    folder = folder_of(PACKAGE_SOURCE)
    layout = encoder.Layout.of(folder)
    data = network.read(layout.network, lambda done, total: None)
    ours = encoder.Encoder(
        layout, encoder.tokenizer_of(folder, layout), network.opened(layout.network, data, layout.config, threads)
    )
    # The same graph as onnxruntime opens it by itself: its idle threads spin.
    usual = onnxruntime.SessionOptions()
    usual.intra_op_num_threads = threads
    run = network._from_weights(data, layout.config, usual)  # noqa: SLF001 - the graph is ours, the options are not
    tokenizer = encoder.tokenizer_of(folder, layout)
    tokenizer.enable_padding()

    def batch(given: Sequence[str]) -> None:
        found = tokenizer.encode_batch(list(given))
        ids, mask = (np.array([getattr(one, name) for one in found]) for name in ("ids", "attention_mask"))
        hidden = run({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
        weight = mask[..., None].astype(np.float32)
        vectors = (hidden * weight).sum(1) / weight.sum(1)
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return {
        "ort": lambda given: _each(batch, given, BATCH),
        "ort-sorted": lambda given: _each(batch, sorted(given, key=len, reverse=True), BATCH),
        "ort-one": lambda given: _each(batch, given, 1),
        "encoder": lambda given: _each(ours.embed, given, BATCH),
    }


def _torch(threads: int) -> dict[str, Callable[[Sequence[str]], None]]:
    try:
        import torch

        from glowplug.workloads.torchvision_ops import ensure_torchvision

        ensure_torchvision()
        from transformers import AutoModel, AutoTokenizer
    except ModuleNotFoundError:
        return {}
    from glowplug.workloads.embeddings.source import PACKAGE_SOURCE, folder_of

    torch.set_num_threads(threads)
    folder = folder_of(PACKAGE_SOURCE)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def batch(given: Sequence[str]) -> None:
        put = tokenizer(list(given), padding=True, truncation=True, max_length=256, return_tensors="pt")
        hidden = model(**put).last_hidden_state
        weight = put["attention_mask"].unsqueeze(-1).float()
        torch.nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=1).numpy()

    return {"torch": lambda given: _each(batch, sorted(given, key=len, reverse=True), BATCH)}


def _each(batch: Callable[[Sequence[str]], object], given: Sequence[str], size: int) -> None:
    for begin in range(0, len(given), size):
        batch(given[begin : begin + size])


if __name__ == "__main__":
    main(int(sys.argv[1]))
