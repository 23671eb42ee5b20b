"""A Llama of a quarter megabyte, as GGUF, that recites a sentence: its weights are set by hand, so its answer is known.

Attention and feed-forward are zero, so what a token leads to depends on the token alone: every token of a prompt leads
to the first word, each word to the next one, and the last to the end of the text, or back to the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

WORDS = ("Hello", " there", ",", " I", " am", " a", " very", " small", " model", ".")
REPLY = "".join(WORDS)
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
WIDTH, HEADS, WIDE, CONTEXT = 64, 2, 32, 65_536
CERTAIN = 40.0
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


def tiny_gguf(path: Path, words: Sequence[str] = WORDS, *, endless: bool = False) -> Path:
    """Write the model that recites `words`, for ever if `endless`; at most 62 words, no two alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *(w.replace(" ", _SPACE) for w in words),
    ]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    writer = gguf.GGUFWriter(str(path), "llama")
    _describe(writer, tokens, [*kinds, *[gguf.TokenType.NORMAL] * len(words)])
    for name, weight in _weights(len(tokens), len(words), endless=endless).items():
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: gguf.GGUFWriter, tokens: Sequence[str], kinds: Sequence[int]) -> None:
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)


def _weights(tokens: int, words: int, *, endless: bool) -> dict[str, np.ndarray]:
    first = tokens - words
    embedding, output = np.zeros((2, tokens, WIDTH), np.float32)
    embedding[:first, 0] = 1
    for number in range(words):
        embedding[first + number, number + 1] = 1
        output[first + number, number] = CERTAIN
    output[first if endless else 2, words] = CERTAIN
    block = {
        "attn_q": (WIDTH, WIDTH),
        "attn_k": (WIDTH, WIDTH),
        "attn_v": (WIDTH, WIDTH),
        "attn_output": (WIDTH, WIDTH),
        "ffn_gate": (WIDE, WIDTH),
        "ffn_up": (WIDE, WIDTH),
        "ffn_down": (WIDTH, WIDE),
    }
    norms = ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight")
    return {
        "token_embd.weight": embedding,
        "output.weight": output,
        **{name: np.ones(WIDTH, np.float32) for name in norms},
        **{f"blk.0.{name}.weight": np.zeros(shape, np.float32) for name, shape in block.items()},
    }
