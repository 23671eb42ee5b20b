"""Pipeline folders written by hand: configs and safetensors headers with zeros behind them, no library needed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I8": 1, "U8": 1, "BOOL": 1, "C64": 8, "F8_E4M3": 1}
Shapes = Mapping[str, Sequence[int]]

TRANSFORMER: Shapes = {"x_embedder.weight": (32, 16), "proj_out.weight": (16, 32)}
VAE: Shapes = {"decoder.conv_in.weight": (8, 4, 3, 3), "encoder.conv_in.weight": (4, 3, 3, 3)}


def safetensors(path: Path, shapes: Shapes, dtype: str = "F32") -> Path:
    """Write a file of zeros."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    return path


def written(path: Path, value: object) -> Path:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def flux_folder(folder: Path) -> Path:
    """Write what looks like a FLUX.1 pipeline with two networks."""
    index = {
        "_class_name": "FluxPipeline",
        "_diffusers_version": "0.42.1",
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    written(folder / "model_index.json", index)
    written(folder / "scheduler" / "scheduler_config.json", {})
    config = {
        "_class_name": "FluxTransformer2DModel",
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": 16,
    }
    written(folder / "transformer" / "config.json", config)
    safetensors(folder / "transformer" / "diffusion_pytorch_model.safetensors", TRANSFORMER, "BF16")
    vae = {"_class_name": "AutoencoderKL", "latent_channels": 4, "block_out_channels": [4, 8]}
    written(folder / "vae" / "config.json", vae)
    safetensors(folder / "vae" / "diffusion_pytorch_model.safetensors", VAE)
    return folder


def sharded(place: Path, shards: Mapping[str, Shapes], stem: str = "diffusion_pytorch_model") -> Path:
    """Write weights in several files with their index; returns the index."""
    places = {name: file for file, shapes in shards.items() for name in shapes}
    for file, shapes in shards.items():
        safetensors(place / file, shapes)
    return written(place / f"{stem}.safetensors.index.json", {"metadata": {}, "weight_map": places})
