"""A pipeline folder is looked over before anything is read, and what is wrong with it is said by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.workloads.diffusion.by_hand import TRANSFORMER, VAE, flux_folder, safetensors, sharded, written

from glowplug.errors import SettingsError
from glowplug.workloads.diffusion.families import check_architecture, family_of
from glowplug.workloads.diffusion.headers import Header
from glowplug.workloads.diffusion.survey import surveyed

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return flux_folder(tmp_path / "flux")


def test_components_are_found_with_their_files_numbers_and_types(folder: Path) -> None:
    survey = surveyed(folder)
    assert (survey.kind, survey.absent, family_of(survey)) == ("FluxPipeline", ("image_encoder",), "flux")
    assert [component.name for component in survey.networks] == ["transformer", "vae"]
    transformer = survey.components["transformer"]
    assert (transformer.elements, transformer.largest, transformer.dtype) == (1024, 512, "bfloat16")
    assert survey.components["vae"].dtype == "float32"
    assert not survey.components["scheduler"].has_weights
    assert survey.dtype == "bfloat16"
    assert survey.files == (folder / "transformer" / WEIGHTS, folder / "vae" / WEIGHTS)


def test_settings_of_the_pipeline_are_kept(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    written(folder / "model_index.json", {**index, "force_zeros_for_empty_prompt": True, "sizes": [1, 2, 3]})
    assert surveyed(folder).settings == {"force_zeros_for_empty_prompt": True, "sizes": [1, 2, 3]}


def test_shards_are_found_through_their_index(folder: Path) -> None:
    (folder / "transformer" / WEIGHTS).unlink()
    halves = {f"part-{n}.safetensors": {name: TRANSFORMER[name]} for n, name in enumerate(TRANSFORMER)}
    sharded(folder / "transformer", halves)
    component = surveyed(folder).components["transformer"]
    assert [path.name for path in component.files] == ["part-0.safetensors", "part-1.safetensors"]
    assert set(component.tensors) == set(TRANSFORMER)


def test_a_shard_that_is_missing_is_named(folder: Path) -> None:
    (folder / "transformer" / WEIGHTS).unlink()
    sharded(folder / "transformer", {"part-0.safetensors": TRANSFORMER})
    (folder / "transformer" / "part-0.safetensors").unlink()
    with pytest.raises(SettingsError, match=r"transformer/part-0\.safetensors is missing, a part of the weights"):
        surveyed(folder)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b.safetensors", "code.py"])
def test_an_index_cannot_lead_elsewhere(folder: Path, name: str) -> None:
    (folder / "transformer" / WEIGHTS).unlink()
    written(folder / "transformer" / f"{WEIGHTS}.index.json", {"weight_map": {"x_embedder.weight": name}})
    with pytest.raises(SettingsError, match="which is no safetensors file beside it"):
        surveyed(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": {}}', "{}"])
def test_a_damaged_index_is_named(folder: Path, text: str) -> None:
    (folder / "transformer" / f"{WEIGHTS}.index.json").write_text(text)
    with pytest.raises(SettingsError, match=r"safetensors\.index\.json is damaged.*; fetch it again"):
        surveyed(folder)


def test_a_variant_is_taken_where_it_is_asked_for(folder: Path) -> None:
    safetensors(folder / "vae" / "diffusion_pytorch_model.fp16.safetensors", VAE, "F16")
    plain, half = surveyed(folder), surveyed(folder, "fp16")
    assert (plain.components["vae"].variant, plain.components["vae"].dtype) == (None, "float32")
    assert (half.components["vae"].variant, half.components["vae"].dtype) == ("fp16", "float16")
    assert half.components["transformer"].variant is None


def test_a_variant_is_taken_unasked_where_there_is_nothing_else(folder: Path) -> None:
    (folder / "vae" / WEIGHTS).rename(folder / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    assert surveyed(folder).components["vae"].variant == "fp16"


def test_a_sharded_variant_is_found_by_both_spellings_of_its_index(folder: Path) -> None:
    (folder / "vae" / WEIGHTS).unlink()
    index = sharded(folder / "vae", {"diffusion_pytorch_model.fp16-00001-of-00001.safetensors": VAE})
    for name in (f"{WEIGHTS}.index.fp16.json", "diffusion_pytorch_model.fp16.safetensors.index.json"):
        index = index.rename(folder / "vae" / name)
        assert surveyed(folder).components["vae"].variant == "fp16"


@pytest.mark.parametrize("ending", [".bin", ".ckpt", ".pt"])
def test_pickles_are_refused_with_what_to_do(folder: Path, ending: str) -> None:
    (folder / "vae" / WEIGHTS).rename(folder / "vae" / f"diffusion_pytorch_model{ending}")
    told = (
        rf"vae holds its weights as diffusion_pytorch_model\{ending} only: pickles are never opened; use a safetensors"
    )
    with pytest.raises(SettingsError, match=told):
        surveyed(folder)


def test_pickles_beside_safetensors_are_passed_over(folder: Path) -> None:
    (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"not even a pickle")
    assert len(surveyed(folder).files) == 2


def test_weights_that_are_missing_altogether_are_named(folder: Path) -> None:
    (folder / "vae" / WEIGHTS).unlink()
    with pytest.raises(SettingsError, match="vae holds no weights of a AutoencoderKL"):
        surveyed(folder)


def test_a_component_that_is_missing_is_named(folder: Path) -> None:
    (folder / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(SettingsError, match="scheduler holds no configuration of a FlowMatchEuler"):
        surveyed(folder)
    (folder / "scheduler").rmdir()
    with pytest.raises(SettingsError, match=r"scheduler is missing, which model_index\.json names"):
        surveyed(folder)


def test_a_pipeline_with_code_of_its_own_is_refused(folder: Path) -> None:
    (folder / "vae" / "diffusers.py").write_text("raise SystemExit")
    with pytest.raises(SettingsError, match="component 'vae' brings code of its own, which is not run"):
        surveyed(folder)


def test_a_component_cannot_lie_elsewhere(folder: Path) -> None:
    written(folder / "model_index.json", {"_class_name": "FluxPipeline", "../vae": ["diffusers", "AutoencoderKL"]})
    with pytest.raises(SettingsError, match="brings code of its own"):
        surveyed(folder)


def test_a_pipeline_class_that_is_a_file_is_refused(folder: Path) -> None:
    written(folder / "model_index.json", {"_class_name": ["pipeline", "MyPipeline"]})
    with pytest.raises(SettingsError, match="pipelines with own code are not opened"):
        surveyed(folder)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "is no pipeline;"),
        ({"config.json": "{}"}, "holds a single model, not a pipeline;"),
        ({"sdxl.safetensors": ""}, "holds a single-file checkpoint: open it with from_single_file"),
        ({"v1-5.ckpt": ""}, r"holds v1-5\.ckpt: pickles are never opened"),
        ({"snapshot/model_index.json": "{}"}, "is no pipeline itself, but snapshot in it is"),
    ],
    ids=["empty", "one model", "single file", "pickle", "one folder too high"],
)
def test_what_is_no_pipeline_is_told_for_what_it_is(tmp_path: Path, files: dict[str, str], told: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=told):
        surveyed(tmp_path)


def test_a_file_in_place_of_a_folder_is_told(tmp_path: Path) -> None:
    path = safetensors(tmp_path / "model.safetensors", VAE)
    with pytest.raises(SettingsError, match=r"model\.safetensors is not a folder; a pipeline folder of diffusers"):
        surveyed(path)


@pytest.mark.parametrize("lost_bytes", [1, 100, 1000])
def test_a_truncated_file_is_told_from_its_header(folder: Path, lost_bytes: int) -> None:
    path = folder / "transformer" / WEIGHTS
    data = path.read_bytes()
    path.write_bytes(data[:-lost_bytes])
    told = rf"transformer/{WEIGHTS} is truncated: it has {len(data) - lost_bytes} of {len(data)} bytes; fetch it again"
    with pytest.raises(SettingsError, match=told):
        surveyed(folder)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "cut off within its header"),
        (b"\x10\x00", "cut off within its header"),
        (b"\xff" * 8 + b"{}", "cut off within its header"),
        (b"\x04\x00\x00\x00\x00\x00\x00\x00nope", "its header is not JSON"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00[]", "its header is not an object"),
        (b"\x08\x00\x00\x00\x00\x00\x00\x00" + b'{"a":{}}', "has no offsets"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a git-lfs pointer"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00{}and more", "is damaged: it has 18 of 10 bytes"),
    ],
)
def test_what_is_no_safetensors_file_is_told(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(SettingsError, match=told):
        Header.of(path)


def test_an_entry_without_a_shape_is_damage(tmp_path: Path) -> None:
    text = json.dumps({"a": {"data_offsets": [0, 0], "dtype": "F32"}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(SettingsError, match="an entry of its header has no shape"):
        Header.of(tmp_path / "x.safetensors")


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        Header.of(tmp_path / "x.safetensors")


def test_a_good_folder_passes_the_check_of_its_architecture(folder: Path) -> None:
    check_architecture(surveyed(folder))


def test_weights_of_another_network_are_told(folder: Path) -> None:
    safetensors(folder / "transformer" / WEIGHTS, VAE)
    told = r"does not hold the weights of the FluxTransformer2DModel in config\.json beside it: x_embedder\.weight"
    with pytest.raises(SettingsError, match=told):
        check_architecture(surveyed(folder))


def test_weights_of_another_size_are_told(folder: Path) -> None:
    safetensors(folder / "transformer" / WEIGHTS, {"x_embedder.weight": (3072, 64)})
    with pytest.raises(SettingsError, match=r"x_embedder\.weight is 3072 x 64 where 32 x 16 is expected"):
        check_architecture(surveyed(folder))


def test_a_config_of_another_class_is_told(folder: Path) -> None:
    written(folder / "transformer" / "config.json", {"_class_name": "SD3Transformer2DModel"})
    with pytest.raises(SettingsError, match=r"is of a SD3Transformer2DModel, where .* names a FluxTransformer2DModel"):
        surveyed(folder)


def test_a_pipeline_that_draws_nothing_is_told(folder: Path) -> None:
    written(folder / "model_index.json", {"_class_name": "SomePipeline", "vae": ["diffusers", "AutoencoderKL"]})
    with pytest.raises(SettingsError, match="has neither transformer nor unet"):
        check_architecture(surveyed(folder))


def test_a_network_for_inpainting_alone_is_told(folder: Path) -> None:
    index = {
        "_class_name": "StableDiffusionXLInpaintPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    written(folder / "model_index.json", index)
    written(folder / "unet" / "config.json", {"in_channels": 9, "block_out_channels": [8]})
    safetensors(folder / "unet" / WEIGHTS, {"conv_in.weight": (8, 9, 3, 3)})
    with pytest.raises(SettingsError, match=r"takes 9 channels where the VAE gives 4: .* use the base model"):
        check_architecture(surveyed(folder))


@pytest.mark.parametrize("entry", ["shape", "data_offsets"])
@pytest.mark.parametrize("number", ["1e999", "-1", "1" + "0" * 400])
def test_numbers_that_no_file_has_are_told_as_damage(tmp_path: Path, entry: str, number: str) -> None:
    said = {"shape": "[1]", "data_offsets": "[0, 4]"} | {entry: f"[0, {number}]"}
    told = ", ".join(f'"{name}": {value}' for name, value in said.items())
    text = ('{"a": {"dtype": "F32", ' + told + "}}").encode()
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(SettingsError, match=r"damaged|truncated"):
        Header.of(tmp_path / "a.safetensors")
