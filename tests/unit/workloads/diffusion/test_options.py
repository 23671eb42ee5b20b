"""Options are read before anything heavy happens, and a wrong one is named."""

from __future__ import annotations

import pytest

from glowplug.errors import SettingsError
from glowplug.workloads.diffusion.options import ImageOptions, LoraOption


def test_without_options_everything_is_left_to_us() -> None:
    options = ImageOptions.of({})
    assert (options.source, options.dtype, options.offload, options.vae_tiling) == ("", "auto", "auto", None)
    assert (options.metadata, options.preview_seconds, options.threads, options.lora) == (True, 1.0, 0, ())


def test_all_are_read() -> None:
    given = {
        "source": " owner/name ",
        "revision": "main",
        "variant": "fp16",
        "dtype": "bfloat16",
        "offload": "model",
        "vae_tiling": "off",
        "default_size": "768",
        "steps": "4",
        "guidance": "0",
        "metadata": "off",
        "preview_seconds": "0",
        "threads": "2",
    }
    options = ImageOptions.of(given)
    assert (options.source, options.revision, options.variant) == ("owner/name", "main", "fp16")
    assert (options.dtype, options.offload, options.vae_tiling) == ("bfloat16", "model", False)
    assert (options.default_size, options.steps, options.guidance) == (768, 4, 0.0)
    assert (options.metadata, options.preview_seconds, options.threads) == (False, 0.0, 2)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("style.safetensors", [LoraOption("style.safetensors")]),
        ("a.safetensors@0.8, owner/name@-1 ,s3://b/c", [("a.safetensors", 0.8), ("owner/name", -1), ("s3://b/c", 1)]),
        ("s3://user@bucket/c", [("s3://user@bucket/c", 1)]),
        ("s3://user@bucket/c@2", [("s3://user@bucket/c", 2)]),
        (" , ", []),
    ],
)
def test_loras_are_sources_with_scales(written: str, expected: list[LoraOption | tuple[str, float]]) -> None:
    wanted = tuple(one if isinstance(one, LoraOption) else LoraOption(*one) for one in expected)
    assert ImageOptions.of({"lora": written}).lora == wanted


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("dtype", "fp16", "one of auto, float32, bfloat16, float16 is expected"),
        ("offload", "yes", "one of auto, none, model, sequential is expected"),
        ("vae_tiling", "maybe", "on or off is expected"),
        ("metadata", "", "on or off is expected"),
        ("default_size", "1024x768", "a whole number is expected"),
        ("default_size", "0", "a whole number from 8 to 8192 is expected"),
        ("steps", "0", "a whole number from 1 to 500 is expected"),
        ("guidance", "nan", "a number from 0 to 100 is expected"),
        ("preview_seconds", "often", "a number is expected"),
        ("threads", "-1", "a whole number from 0 to 1024 is expected"),
        ("lora", "@0.5", "source@scale is expected"),
        ("lora", "a@1e9", "source@scale is expected, the scale up to 100"),
        ("lora", "a@nan", "source@scale is expected"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(name: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError, match=f"option {name}=.*{told}"):
        ImageOptions.of({name: value})


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"option model is not known to images; known: default_size, .*, variant"):
        ImageOptions.of({"model": "flux"})
