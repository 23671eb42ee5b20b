"""How a pipeline is loaded, over a table of cards; the sizes are those of the published models."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tests.unit.workloads.diffusion.by_hand import flux_folder, safetensors, written

from glowplug.errors import SettingsError
from glowplug.workloads.diffusion.estimate import TILE_PIXELS, Need, Part, needed
from glowplug.workloads.diffusion.plan import (
    GIB,
    RESERVE_BYTES,
    Room,
    Wish,
    in_words,
    pixels_at_once,
    planned,
    preferred_bytes,
)
from glowplug.workloads.diffusion.survey import surveyed

DECODE = 1024 * 1024 * 2 * 128 * 9
FLUX = Need(
    parts=(
        Part("transformer", 11_901_408_320, 3072 * 21504),
        Part("text_encoder_2", 4_762_310_656, 32128 * 4096),
        Part("text_encoder", 123_060_480, 49408 * 768),
        Part("vae", 83_819_683, 512 * 512 * 9, float32=True),
    ),
    denoiser="transformer",
    decoder="vae",
    pixels=1024,
    step_elements=(64 * 64 + 512) * 3072 * 24,
    decode_elements=DECODE,
    file_dtype="bfloat16",
    prefers="bfloat16",
)
SDXL = Need(
    parts=(
        Part("unet", 2_567_463_684, 1280 * 10240),
        Part("text_encoder", 123_060_480, 49408 * 768),
        Part("text_encoder_2", 694_659_840, 49408 * 1280),
        Part("vae", 83_653_863, 512 * 512 * 9, float32=True),
    ),
    denoiser="unet",
    decoder="vae",
    pixels=1024,
    step_elements=128 * 128 * 320 * 48 * 2,
    decode_elements=DECODE,
    file_dtype="float16",
)


def card(free_gib: float, host_gib: float = 64, *, bfloat16: bool = True) -> Room:
    return Room("cuda", int(free_gib * GIB), int(host_gib * GIB), bfloat16)


def processor(free_gib: float, *, bfloat16: bool = False) -> Room:
    return Room("cpu", int(free_gib * GIB), int(free_gib * GIB), bfloat16)


@pytest.mark.parametrize(
    ("need", "room", "expected"),
    [
        (FLUX, card(7.6), ("bfloat16", "sequential", False)),
        (FLUX, card(15.6), ("bfloat16", "sequential", False)),
        (FLUX, card(23.4), ("bfloat16", "model", False)),
        (FLUX, card(47), ("bfloat16", "none", False)),
        (FLUX, card(79), ("bfloat16", "none", False)),
        (FLUX, card(23.4, bfloat16=False), ("bfloat16", "model", False)),
        (FLUX, processor(48), ("bfloat16", "none", False)),
        (FLUX, processor(96), ("float32", "none", False)),
        (FLUX, processor(96, bfloat16=True), ("bfloat16", "none", False)),
        (SDXL, card(7.6), ("float16", "model", True)),
        (SDXL, card(11.6), ("float16", "none", True)),
        (SDXL, card(15.6), ("float16", "none", True)),
        (SDXL, card(23.4), ("float16", "none", False)),
        (SDXL, card(79), ("float16", "none", False)),
        (SDXL, processor(8), ("bfloat16", "none", True)),
        (SDXL, processor(16), ("float32", "none", True)),
        (SDXL, processor(24), ("float32", "none", False)),
        (SDXL, Room("mps", 20 * GIB, 24 * GIB, bfloat16=False), ("float16", "none", False)),
        (FLUX, Room("mps", 48 * GIB, 64 * GIB, bfloat16=False), ("bfloat16", "none", False)),
        (dataclasses.replace(SDXL, file_dtype="bfloat16"), card(23.4), ("bfloat16", "none", False)),
        (dataclasses.replace(SDXL, file_dtype="bfloat16"), card(23.4, bfloat16=False), ("float16", "none", False)),
        (dataclasses.replace(SDXL, file_dtype="float32"), card(23.4), ("float16", "none", False)),
    ],
    ids=lambda value: f"{value.denoiser}" if isinstance(value, Need) else "",
)
def test_the_best_way_that_fits_is_taken(need: Need, room: Room, expected: tuple[str, str, bool]) -> None:
    plan = planned(need, room, Wish())
    assert (plan.dtype, plan.offload, plan.tiled) == expected
    assert plan.fits
    assert plan.device_bytes + RESERVE_BYTES <= room.device_bytes
    assert plan.host_bytes <= room.host_bytes


def test_the_estimates_at_1024_pixels_stay_where_they_were_set() -> None:
    flux, sdxl = planned(FLUX, card(79), Wish()), planned(SDXL, card(79), Wish())
    assert flux.device_bytes / GIB == pytest.approx(36.2, abs=0.5)
    assert sdxl.device_bytes / GIB == pytest.approx(15.4, abs=0.7)


@pytest.mark.parametrize("free_gib", range(2, 80, 3))
@pytest.mark.parametrize("need", [FLUX, SDXL], ids=["flux", "sdxl"])
def test_more_room_never_gives_a_slower_way(need: Need, free_gib: int) -> None:
    order = ["none", "model", "sequential"]
    try:
        less = planned(need, card(free_gib), Wish())
    except SettingsError:
        return
    more = planned(need, card(free_gib + 3), Wish())
    assert (order.index(more.offload), more.tiled) <= (order.index(less.offload), less.tiled)


def test_host_memory_counts_where_the_weights_wait_in_it() -> None:
    with pytest.raises(SettingsError, match=r"31\.\d GiB of host memory, where 16\.0 GiB are free"):
        planned(FLUX, card(23.4, host_gib=16), Wish())


def test_what_does_not_fit_is_refused_with_the_figures() -> None:
    told = r"with bfloat16, offload none, it takes 3\d\.\d GiB on cpu at 1024 pixels, where 8\.0 GiB are free"
    with pytest.raises(SettingsError, match=told) as caught:
        planned(FLUX, processor(8), Wish())
    assert caught.value.message.endswith("free memory, lower default_size, or take a smaller model")


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Wish(dtype="float32"), ("float32", "model")),
        (Wish(offload="sequential"), ("float16", "sequential")),
        (Wish(offload="model"), ("float16", "model")),
        (Wish(dtype="bfloat16", offload="none"), ("bfloat16", "none")),
    ],
)
def test_what_is_asked_for_is_done(wish: Wish, expected: tuple[str, str]) -> None:
    plan = planned(SDXL, card(15.6 if wish.dtype == "float32" else 23.4), wish)
    assert (plan.dtype, plan.offload) == expected


def test_tiles_can_be_asked_for_and_refused() -> None:
    assert planned(SDXL, card(79), Wish(tiling=True)).tiled
    assert planned(SDXL, card(15.6), Wish(tiling=False)).offload == "model"


def test_what_is_asked_for_against_the_estimate_is_done_and_said() -> None:
    plan = planned(SDXL, card(8), Wish(offload="none"))
    assert (plan.offload, plan.tight, plan.fits) == ("none", True, False)
    assert plan.words().endswith("this was asked for, and may run out of memory")


def test_what_cannot_be_is_refused_even_when_it_is_asked_for() -> None:
    with pytest.raises(SettingsError, match=r"asked for: dtype=auto, offload=none; auto may find another way"):
        planned(SDXL, card(6), Wish(offload="none"))


def test_a_processor_offloads_nothing() -> None:
    assert planned(SDXL, processor(24), Wish(offload="model")).offload == "none"


def test_the_plan_is_told_in_words() -> None:
    assert planned(FLUX, card(23.4), Wish()).words() == (
        "bfloat16 on cuda, one network at a time on the device, the others in host memory; at its peak about 23.1 GiB "
        "of the 23.4 GiB that are free, and 31.4 GiB of 64.0 GiB in host memory"
    )
    assert "decoded in tiles of 512 pixels" in planned(SDXL, card(15.6), Wish()).words()
    assert planned(SDXL, processor(24), Wish()).words().startswith("float32 on cpu, all of it in host memory;")


def test_small_figures_are_told_in_mebibytes() -> None:
    assert (in_words(5 << 20), in_words(3 << 29)) == ("5 MiB", "1.5 GiB")


def test_pictures_are_drawn_together_as_far_as_the_room_goes() -> None:
    picture = 1024 * 1024
    assert pixels_at_once(SDXL, planned(SDXL, processor(96), Wish())) == 0
    assert pixels_at_once(SDXL, planned(SDXL, card(8), Wish(offload="none"))) == 0
    assert pixels_at_once(SDXL, planned(SDXL, card(17), Wish())) // picture == 1
    assert pixels_at_once(SDXL, planned(SDXL, card(23.4), Wish())) // picture == 8


def test_what_a_model_likes_best_is_foreseen_without_a_card() -> None:
    assert preferred_bytes(FLUX, Wish()) == planned(FLUX, card(79), Wish()).device_bytes
    assert preferred_bytes(SDXL, Wish(offload="model")) < preferred_bytes(SDXL, Wish())


def test_a_vae_that_overflows_counts_in_float32() -> None:
    vae = SDXL.parts[-1]
    assert vae.weights_bytes("float16") == vae.elements * 4
    assert vae.weights_bytes("bfloat16") == vae.elements * 2


def test_tiles_save_nothing_where_pictures_are_smaller() -> None:
    small = dataclasses.replace(SDXL, pixels=TILE_PIXELS)
    assert small.working_bytes("float16", tiled=True) == small.working_bytes("float16", tiled=False)


def test_the_need_is_read_from_headers_and_configs(tmp_path: Path) -> None:
    need = needed(surveyed(flux_folder(tmp_path)), None)
    assert [(part.name, part.elements, part.float32) for part in need.parts] == [
        ("transformer", 1024, False),
        ("vae", 396, True),
    ]
    assert (need.denoiser, need.pixels, need.file_dtype, need.prefers) == ("transformer", 256, "bfloat16", "bfloat16")
    # 128 latents each way, taken two by two, and the text; 32 numbers wide.
    assert need.step_elements == (64 * 64 + 512) * 32 * 24
    assert need.decode_elements == 256 * 256 * 8 * 9


def test_a_smaller_picture_needs_less(tmp_path: Path) -> None:
    survey = surveyed(flux_folder(tmp_path))
    large, small = needed(survey, 512), needed(survey, 128)
    assert small.step_elements < large.step_elements
    assert small.decode_elements * 16 == large.decode_elements


def test_a_unet_says_its_own_size(tmp_path: Path) -> None:
    index = {
        "_class_name": "StableDiffusionXLPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    flux_folder(tmp_path)
    written(tmp_path / "model_index.json", index)
    written(tmp_path / "unet" / "config.json", {"sample_size": 128, "block_out_channels": [320], "in_channels": 4})
    safetensors(tmp_path / "unet" / "diffusion_pytorch_model.safetensors", {"conv_in.weight": (320, 4, 3, 3)}, "F16")
    need = needed(surveyed(tmp_path), None)
    assert (need.pixels, need.denoiser, need.prefers) == (256, "unet", None)
    assert need.step_elements == 128 * 128 * 320 * 48 * 2
