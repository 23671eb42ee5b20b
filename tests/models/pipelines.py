"""Tiny image pipelines with random weights: the real architectures, a few hundred kilobytes, made on the spot.

`tiny_flux(folder)` and `tiny_sdxl(folder)` write a pipeline folder as diffusers reads it, its weights as safetensors
and its tokenizers made here. The same seed writes the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from glowplug.workloads.torchvision_ops import ensure_torchvision

ensure_torchvision()

from diffusers import (  # noqa: E402 - its import is what the line above mends
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (  # noqa: E402
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

SENTENCES = (
    "a photograph of an astronaut riding a horse on the moon",
    "a small red house beside a lake in the evening, oil painting",
    "blurry, low quality, too many fingers, watermark",
    "the quick brown fox jumps over the lazy dog",
    "ein gelber Vogel sitzt auf einem blauen Fahrrad",
)
WIDTH = 32
CLIP_LENGTH = 77


def tiny_flux(folder: Path, seed: int = 0, *, layers: int = 1, **saving: Any) -> Path:
    """Write a FLUX.1 pipeline of about 140 thousand parameters (guidance-distilled, like "dev"); returns `folder`.

    `layers` makes a step cost more; `saving` goes to `save_pretrained` (`max_shard_size="60KB"` makes many files).
    """
    return _saved(flux_pipeline(seed, layers=layers), folder, saving)


def flux_pipeline(seed: int = 0, *, layers: int = 1, scheduler: Any = None) -> FluxPipeline:
    """Return what `tiny_flux` writes."""
    with _seeded(seed):
        clip, t5 = _clip_tokenizer(), _t5_tokenizer()
        return FluxPipeline(
            scheduler=scheduler or FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=_autoencoder(
                block_out_channels=(4, 8),
                latent_channels=4,
                norm_num_groups=1,
                shift_factor=0.0609,
                scaling_factor=1.5035,
                use_quant_conv=False,
                use_post_quant_conv=False,
            ),
            text_encoder=CLIPTextModel(_clip_config(clip)).eval(),
            tokenizer=clip,
            text_encoder_2=T5EncoderModel(_t5_config(t5)).eval(),
            tokenizer_2=t5,
            transformer=FluxTransformer2DModel(
                patch_size=1,
                in_channels=16,
                num_layers=layers,
                num_single_layers=layers,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=WIDTH,
                pooled_projection_dim=WIDTH,
                axes_dims_rope=(4, 4, 8),
                guidance_embeds=True,
            ).eval(),
        )


def tiny_sdxl(
    folder: Path, seed: int = 0, *, scheduler: Any = None, channels: tuple[int, int] = (32, 64), **saving: Any
) -> Path:
    """Write an SDXL base pipeline of about 1.1 million parameters; returns `folder`.

    `scheduler` takes the place of Euler's; `channels` of the U-Net make a step cost more.
    """
    return _saved(sdxl_pipeline(seed, scheduler=scheduler, channels=channels), folder, saving)


def sdxl_pipeline(
    seed: int = 0, *, scheduler: Any = None, channels: tuple[int, int] = (32, 64)
) -> StableDiffusionXLPipeline:
    """Return what `tiny_sdxl` writes."""
    with _seeded(seed):
        clip = _clip_tokenizer()
        return StableDiffusionXLPipeline(
            vae=_autoencoder(block_out_channels=(8, 16), latent_channels=4, norm_num_groups=4, scaling_factor=0.13025),
            text_encoder=CLIPTextModel(_clip_config(clip, hidden_act="quick_gelu")).eval(),
            text_encoder_2=CLIPTextModelWithProjection(_clip_config(clip, hidden_act="gelu")).eval(),
            tokenizer=clip,
            tokenizer_2=clip,
            unet=UNet2DConditionModel(
                block_out_channels=channels,
                layers_per_block=1,
                sample_size=16,
                in_channels=4,
                out_channels=4,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                attention_head_dim=(2, 4),
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                transformer_layers_per_block=(1, 1),
                projection_class_embeddings_input_dim=6 * 8 + WIDTH,
                cross_attention_dim=2 * WIDTH,
                norm_num_groups=8,
            ).eval(),
            scheduler=scheduler or euler(),
        )


def euler(**config: Any) -> EulerDiscreteScheduler:
    """Return SDXL's own scheduler."""
    return EulerDiscreteScheduler(**SDXL_SCHEDULE, **config)


SDXL_SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}
"""What SDXL's published scheduler settings have in common for every scheduler."""


class _seeded:  # noqa: N801 - reads as a word at its use
    """Weights drawn from `seed`, the chance of everybody else untouched."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._fork = torch.random.fork_rng()

    def __enter__(self) -> None:
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *error: Any) -> None:
        self._fork.__exit__(*error)


def _autoencoder(**config: Any) -> AutoencoderKL:
    blocks = len(config["block_out_channels"])
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        layers_per_block=1,
        sample_size=64,
        **config,
    ).eval()


def _clip_config(tokenizer: CLIPTokenizer, **config: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        projection_dim=WIDTH,
        max_position_embeddings=CLIP_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **config,
    )


def _t5_config(tokenizer: T5TokenizerFast) -> T5Config:
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=WIDTH,
        d_ff=37,
        d_kv=8,
        num_heads=4,
        num_layers=2,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _clip_tokenizer() -> CLIPTokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    vocabulary = tokenizer.get_vocab()
    # Every letter also as the end of a word, which a few sentences do not show.
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary.setdefault(f"{letter}</w>", len(vocabulary))
    merges = [tuple(pair) for pair in _merges(tokenizer)]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CLIP_LENGTH)


def _merges(tokenizer: Tokenizer) -> list[list[str]]:
    found: list[list[str]] = json.loads(tokenizer.to_str())["model"]["merges"]
    return found


def _t5_tokenizer() -> T5TokenizerFast:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    pieces = [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=512)


def _saved(pipeline: Any, folder: Path, saving: dict[str, Any]) -> Path:
    pipeline.save_pretrained(folder, safe_serialization=True, **saving)
    return folder
