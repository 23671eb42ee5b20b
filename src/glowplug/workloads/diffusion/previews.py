"""Looks at a picture in the making, cheap ones: each latent becomes one pixel, by a linear map.

Which map that is depends on the model's autoencoder. It is learned from the autoencoder itself, which encodes a few
pictures of smooth colours once: no table of published factors is needed, and any model has previews.
"""

from __future__ import annotations

import io
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

SAMPLES = 8
SAMPLE_CELLS = 4
SAMPLE_PIXELS = 128
SHOWN_PIXELS = 256
SHOWN_PICTURES = 4
QUALITY = 80
MOST_SHARE = 0.02
"""Of the time; where a preview takes long, the next one waits."""

_learned: weakref.WeakKeyDictionary[Any, ColourMap | None] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class ColourMap:
    """Latents (…, channels) to red, green and blue in 0..1: `latents @ factors + offset`."""

    factors: Tensor
    offset: Tensor

    def shown(self, latents: Tensor) -> Image.Image:
        """Return the pictures of `latents` (n, channels, height, width) side by side, enlarged to be looked at."""
        with torch.no_grad():
            row = torch.cat(list(latents[:SHOWN_PICTURES]), dim=2).permute(1, 2, 0).float()
            colours = row @ self.factors.to(row.device) + self.offset.to(row.device)
            small = (colours.nan_to_num(0).clamp(0, 1) * 255).to(torch.uint8).cpu().numpy()
        picture = Image.fromarray(small)
        scale = max(1, SHOWN_PIXELS // max(latents.shape[2:]))
        return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BILINEAR)


def colour_map(vae: Any) -> ColourMap | None:
    """Return the map of an autoencoder, learned at the first call; None if it has none, as with video.

    Where the device has no room for that it is None too, and the next call tries again.
    """
    if vae not in _learned:
        try:
            _learned[vae] = _learn(vae)
        except torch.OutOfMemoryError:
            return None
    return _learned[vae]


def _learn(vae: Any) -> ColourMap | None:
    try:
        colours, latents = _examples(vae)
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, RuntimeError, TypeError, ValueError):
        # An autoencoder of another kind; pictures come without previews.
        return None
    if not bool(torch.isfinite(latents).all()):
        return None
    known = torch.cat([latents, torch.ones(len(latents), 1)], dim=1)
    solution = torch.linalg.lstsq(known, colours).solution
    return ColourMap(solution[:-1], solution[-1])


def _examples(vae: Any) -> tuple[Tensor, Tensor]:
    """Return colours (n, 3) and the latents (n, channels) that stand for them, as the denoiser sees latents."""
    chance = torch.Generator().manual_seed(0)
    cells = torch.rand(SAMPLES, 3, SAMPLE_CELLS, SAMPLE_CELLS, generator=chance)
    pictures = functional.interpolate(cells, size=(SAMPLE_PIXELS, SAMPLE_PIXELS), mode="bilinear", align_corners=True)
    with torch.no_grad(), _precise(vae):
        encoded = vae.encode((pictures * 2 - 1).to(vae.device, vae.dtype)).latent_dist.mode()
    latents = (encoded.float().cpu() - (vae.config.get("shift_factor") or 0)) * vae.config.scaling_factor
    small = functional.adaptive_avg_pool2d(pictures, tuple(latents.shape[2:]))
    return small.permute(0, 2, 3, 1).reshape(-1, 3), latents.permute(0, 2, 3, 1).flatten(0, 2)


@contextmanager
def _precise(vae: Any) -> Iterator[None]:
    """Hold an autoencoder in float32 that overflows in float16, as SDXL's does; the way back loses nothing."""
    before = vae.dtype
    if before != torch.float16 or not vae.config.get("force_upcast"):
        yield
        return
    try:
        vae.to(torch.float32)
        yield
    finally:
        # Also where there was room for half of it only.
        vae.to(before)


def jpeg(picture: Image.Image) -> bytes:
    """Return the picture as a small JPEG file."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


class Previews:
    """Says when the next preview is due, and makes it. `unpacked` brings latents into (n, channels, height, width)."""

    def __init__(
        self,
        colours: ColourMap | None,
        seconds: float,
        unpacked: Callable[[Tensor], Tensor],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._colours = colours if seconds > 0 else None
        self._seconds = seconds
        self._unpacked = unpacked
        self._now = now
        self._due = now() + seconds

    def preview(self, latents: Tensor) -> bytes | None:
        """Return a preview if it is time for one."""
        begun = self._now()
        if self._colours is None or begun < self._due:
            return None
        unpacked = self._unpacked(latents)
        if unpacked.shape[1] != len(self._colours.factors):
            # They are not the autoencoder's: another one comes before it.
            self._colours = None
            return None
        made = jpeg(self._colours.shown(unpacked))
        ended = self._now()
        self._due = ended + max(self._seconds, (ended - begun) / MOST_SHARE)
        return made
