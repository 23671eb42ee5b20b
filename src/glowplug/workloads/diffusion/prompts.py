"""What a model does not read of a prompt, because its text encoders end there."""

from __future__ import annotations

from typing import Any

LONGEST_T5 = 512
"""Tokens that FLUX's and SD3's pipelines hand to T5 unless told otherwise."""


def unread(pipeline: Any, prompt: str) -> str:
    """Return the end of `prompt` that no text encoder of the pipeline reads, "" if one reads all of it."""
    tokenizers = [getattr(pipeline, name, None) for name in ("tokenizer", "tokenizer_2", "tokenizer_3")]
    lost = [_cut_off(tokenizer, prompt) for tokenizer in tokenizers if tokenizer is not None]
    return min(lost, key=len, default="")


def _cut_off(tokenizer: Any, prompt: str) -> str:
    """Return what lies behind the last token that fits."""
    limit = min(tokenizer.model_max_length, LONGEST_T5)
    whole = tokenizer(prompt, verbose=False, return_offsets_mapping=tokenizer.is_fast)
    if len(whole.input_ids) <= limit:
        return ""
    # The last place is for the token that ends a text.
    if tokenizer.is_fast:
        return prompt[whole.offset_mapping[limit - 1][0] :].strip()
    rest: str = tokenizer.decode(whole.input_ids[limit - 1 :], skip_special_tokens=True)
    return rest.strip()
