"""Pictures per second of an SDXL-sized pipeline with weights drawn on the spot: as much work as with real ones."""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.report import Figure

TOKENS, WIDTH, POOLED = 77, 2048, 1280
SDXL = {
    "cross_attention_dim": WIDTH,
    "block_out_channels": (320, 640, 1280),
    "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10),
    "projection_class_embeddings_input_dim": 2816,
    "vae_channels": (128, 256, 512, 512),
}
TINY = {
    "cross_attention_dim": 32,
    "block_out_channels": (32, 64, 64),
    "attention_head_dim": (2, 4, 4),
    "transformer_layers_per_block": (1, 1, 1),
    "projection_class_embeddings_input_dim": 6 * 32 + 16,
    "vae_channels": (32, 32),
}


def measured(steps: int, pixels: int, runs: int) -> dict[str, Any]:
    """Return the pictures per second at batch 1 and 4, and the most memory that was taken."""
    import torch

    pipeline = built(SDXL, "cuda", torch.float16)
    found: dict[str, Any] = {"steps": steps, "pixels": pixels}
    for batch in (1, 4):
        drawn(pipeline, batch, steps, pixels)
        seconds = [drawn(pipeline, batch, steps, pixels) for _ in range(runs)]
        found[f"per_second_batch_{batch}"] = batch / statistics.median(seconds)
    found["most_bytes"] = torch.cuda.max_memory_allocated()
    return found


def shown(found: dict[str, Any]) -> list[Figure]:
    """Return the figures for the table."""
    method = f"{found['pixels']} pixels, {found['steps']} steps, fp16, random weights, no text encoders"
    rates = ", ".join(f"{found[f'per_second_batch_{batch}']:.2f} in batches of {batch}" for batch in (1, 4))
    most = Figure("SDXL, most memory taken", f"{found['most_bytes'] / 1e9:.1f} GB")
    return [Figure("SDXL, pictures per second", rates, method=method), most]


def built(sizes: dict[str, Any], device: str, dtype: Any) -> Any:
    """Return a pipeline of random weights without text encoders: what they would say is drawn too."""
    import torch

    from glowplug.workloads.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    depth, vae_channels = len(sizes["block_out_channels"]), sizes["vae_channels"]
    with torch.device(device):
        unet = UNet2DConditionModel(
            sample_size=128,
            down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * (depth - 1)),
            up_block_types=(*["CrossAttnUpBlock2D"] * (depth - 1), "UpBlock2D"),
            block_out_channels=sizes["block_out_channels"],
            layers_per_block=2,
            cross_attention_dim=sizes["cross_attention_dim"],
            transformer_layers_per_block=sizes["transformer_layers_per_block"],
            attention_head_dim=sizes["attention_head_dim"],
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256 if sizes is SDXL else 32,
            projection_class_embeddings_input_dim=sizes["projection_class_embeddings_input_dim"],
        ).to(dtype)
        vae = AutoencoderKL(
            block_out_channels=vae_channels,
            down_block_types=["DownEncoderBlock2D"] * len(vae_channels),
            up_block_types=["UpDecoderBlock2D"] * len(vae_channels),
            layers_per_block=2 if sizes is SDXL else 1,
            latent_channels=4,
            sample_size=1024,
        ).to(dtype)
    none = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipeline = StableDiffusionXLPipeline(
        unet=unet, vae=vae, scheduler=EulerDiscreteScheduler(), force_zeros_for_empty_prompt=True, **none
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn(pipeline: Any, batch: int, steps: int, pixels: int) -> float:
    """Return the seconds that a batch of pictures takes."""
    import torch

    unet = pipeline.unet
    width, embedded = unet.config.cross_attention_dim, unet.config.projection_class_embeddings_input_dim
    pooled = embedded - 6 * unet.config.addition_time_embed_dim
    said = torch.randn(batch, TOKENS, width, device=unet.device, dtype=unet.dtype)
    in_all = torch.randn(batch, pooled, device=unet.device, dtype=unet.dtype)
    began = time.perf_counter()
    pictures = pipeline(
        prompt_embeds=said,
        pooled_prompt_embeds=in_all,
        negative_prompt_embeds=torch.zeros_like(said),
        negative_pooled_prompt_embeds=torch.zeros_like(in_all),
        num_inference_steps=steps,
        width=pixels,
        height=pixels,
    ).images
    seconds = time.perf_counter() - began
    if len(pictures) != batch:
        raise RuntimeError(f"{len(pictures)} pictures instead of {batch}")
    return seconds
