"""What a model does not read of a prompt, because its text encoders end there."""

from __future__ import annotations

from typing import Any


def unread(pipeline: Any, prompt: str, tokens: int) -> str:
    """Return the end of `prompt` that no text encoder of the pipeline reads, "" if one reads all of it.

    CLIP reads as much as it can, T5 as many `tokens` as it is told.
    """
    tokenizers = [getattr(pipeline, name, None) for name in ("tokenizer", "tokenizer_2", "tokenizer_3")]
    lost = [_cut_off(tokenizer, prompt, tokens) for tokenizer in tokenizers if tokenizer is not None]
    return min(lost, key=len, default="")


def _cut_off(tokenizer: Any, prompt: str, tokens: int) -> str:
    """Return what lies behind the last token that fits."""
    limit = min(tokenizer.model_max_length, tokens)
    whole = tokenizer(prompt, verbose=False, return_offsets_mapping=tokenizer.is_fast)
    if len(whole.input_ids) <= limit:
        return ""
    # The last place is for the token that ends a text.
    if tokenizer.is_fast:
        return prompt[whole.offset_mapping[limit - 1][0] :].strip()
    rest: str = tokenizer.decode(whole.input_ids[limit - 1 :], skip_special_tokens=True)
    return rest.strip()
