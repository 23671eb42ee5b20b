"""Where a pipeline and its LoRAs come from, and what the platform is told to bring."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from tests.unit.workloads.diffusion.by_hand import VAE, flux_folder, safetensors

from glowplug.errors import SettingsError
from glowplug.workloads.diffusion.model import Images
from glowplug.workloads.diffusion.source import lora_file

LORA = {"transformer.blocks.0.lora_A.weight": (2, 4)}
NETWORK = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return flux_folder(tmp_path / "flux")


def test_of_a_folder_the_files_that_the_load_will_use_are_read_ahead_and_no_others(folder: Path) -> None:
    safetensors(folder / "flux1-dev.safetensors", VAE)
    safetensors(folder / "vae" / "diffusion_pytorch_model.fp16.safetensors", VAE, "F16")
    assert Images.sources({"source": str(folder)}) == {
        f"transformer/{NETWORK}": str(folder / "transformer" / NETWORK),
        f"vae/{NETWORK}": str(folder / "vae" / NETWORK),
    }


def test_a_folder_with_a_list_of_digests_is_verified_as_a_whole(folder: Path) -> None:
    (folder / "SHA256SUMS").write_text("")
    assert Images.sources({"source": str(folder)}) == {"model": str(folder)}


def test_a_relative_folder_is_told_by_its_whole_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert Images.sources({"source": "flux"}) == Images.sources({"source": str(folder)})


@pytest.mark.parametrize("source", ["s3://bucket/flux", "gs://bucket/flux", "az://bucket/flux", "file:///srv/flux"])
def test_an_address_is_left_to_the_platform(source: str) -> None:
    assert Images.sources({"source": source}) == {"model": source}


def test_a_hub_id_is_left_to_the_load() -> None:
    assert Images.sources({"source": "black-forest-labs/FLUX.1-schnell"}) == {}


def test_a_class_can_declare_its_weights_and_an_option_overrides_them(folder: Path) -> None:
    class Flux(Images):
        weights: ClassVar = {"model": "s3://bucket/flux"}

    assert Flux.sources({}) == {"model": "s3://bucket/flux"}
    assert "model" not in Flux.sources({"source": str(folder)})


def test_without_a_source_it_is_said_what_one_is() -> None:
    with pytest.raises(SettingsError, match=r"images needs option source: a pipeline folder, s3://bucket/prefix, or a"):
        Images.sources({})


@pytest.mark.parametrize("source", ["/no/such/folder", "./absent", "~/nowhere"])
def test_a_path_that_is_not_there_is_told(source: str) -> None:
    with pytest.raises(SettingsError, match=f"{source}: there is no such folder or file"):
        Images.sources({"source": source})


@pytest.mark.parametrize("source", ["name", "a/b/c", "owner/na me", "owner/name.safetensors/x"])
def test_what_is_nothing_we_know_is_refused(source: str) -> None:
    with pytest.raises(SettingsError, match="no such folder, and not a hub id; expected a pipeline folder, s3://"):
        Images.sources({"source": source})


def test_a_bad_folder_is_told_before_anything_of_it_is_read(folder: Path) -> None:
    (folder / "vae" / NETWORK).unlink()
    with pytest.raises(SettingsError, match="vae holds no weights"):
        Images.sources({"source": str(folder)})
    safetensors(folder / "vae" / NETWORK, {"decoder.conv_in.weight": (8, 16, 3, 3)})
    with pytest.raises(SettingsError, match=r"decoder\.conv_in\.weight is 8 x 16 where \? x 4 is expected"):
        Images.sources({"source": str(folder)})


def test_loras_are_brought_by_their_number(folder: Path, tmp_path: Path) -> None:
    path = safetensors(tmp_path / "style.safetensors", LORA)
    options = {"source": "s3://bucket/flux", "lora": f"{path}@0.5, s3://bucket/lora.safetensors, owner/name"}
    assert Images.sources(options) == {
        "model": "s3://bucket/flux",
        "lora-0": str(path),
        "lora-1": "s3://bucket/lora.safetensors",
    }


def test_a_lora_that_is_nowhere_is_told() -> None:
    with pytest.raises(SettingsError, match="option lora='style': no such folder, and not a hub id"):
        Images.sources({"source": "s3://bucket/flux", "lora": "style"})


def test_a_pickled_lora_is_refused(tmp_path: Path) -> None:
    (tmp_path / "style.bin").write_bytes(b"")
    for path in (tmp_path, tmp_path / "style.bin"):
        with pytest.raises(SettingsError, match="pickles are never opened; use a safetensors version of it"):
            lora_file(path)


def test_the_file_of_a_lora_folder_is_found(tmp_path: Path) -> None:
    one = safetensors(tmp_path / "style.safetensors", LORA)
    assert lora_file(tmp_path) == one
    usual = safetensors(tmp_path / "pytorch_lora_weights.safetensors", LORA)
    assert lora_file(tmp_path) == usual


def test_a_lora_folder_whose_choice_is_not_clear_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        safetensors(tmp_path / f"{name}.safetensors", LORA)
    with pytest.raises(SettingsError, match=r"must hold one safetensors file, .*; it holds a\.safetensors, b\.safeten"):
        lora_file(tmp_path)


def test_what_is_no_lora_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no LoRA: none of its tensors is named like one"):
        lora_file(safetensors(tmp_path / "vae.safetensors", VAE))


def test_a_truncated_lora_is_told(tmp_path: Path) -> None:
    path = safetensors(tmp_path / "style.safetensors", LORA)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SettingsError, match="is truncated"):
        lora_file(path)


def test_what_the_pipeline_will_take_is_foreseen_once_it_is_here(folder: Path) -> None:
    here = Images.estimate({"model": folder}, {"offload": "none"})
    assert here is not None
    assert here == Images.estimate({}, {"source": str(folder), "offload": "none"})
    assert here > 0
    assert Images.estimate({}, {"source": "owner/name", "offload": "none"}) is None


def test_a_model_that_makes_do_with_the_room_it_gets_foresees_nothing(folder: Path) -> None:
    assert Images.estimate({"model": folder}, {}) is None


def test_a_larger_default_size_takes_more(folder: Path) -> None:
    options = {"source": str(folder), "offload": "none"}
    small, large = (Images.estimate({}, {**options, "default_size": size}) for size in ("256", "1024"))
    assert small is not None
    assert large is not None
    assert small < large
