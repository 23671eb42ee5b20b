"""Small pipelines of the real architectures, loaded: the same numbers and pictures as the library's own loading."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import save_file
from tests.models.pipelines import tiny_flux, tiny_sdxl
from tests.unit.workloads.contexts import RememberingLoad
from tests.unit.workloads.diffusion.published import networks, parts_counted, peak_elements, placed_bytes, survey_of

from glowplug.errors import OutOfMemory, SettingsError, Unavailable
from glowplug.load_context import LoadContext
from glowplug.model import RunContext
from glowplug.workloads.diffusion import devices, loading, pipelines, residence
from glowplug.workloads.diffusion.bounds import most_parts
from glowplug.workloads.diffusion.estimate import needed
from glowplug.workloads.diffusion.families import check_architecture
from glowplug.workloads.diffusion.loaded import Loaded
from glowplug.workloads.diffusion.model import Images
from glowplug.workloads.diffusion.opening import be_quiet, type_of
from glowplug.workloads.diffusion.options import ImageOptions
from glowplug.workloads.diffusion.placing import Staging, place, threads_for
from glowplug.workloads.diffusion.plan import Plan, Room, Wish, planned, preferred_bytes
from glowplug.workloads.diffusion.survey import surveyed

FLUX_QUERY = "transformer_blocks.0.attn.to_q"
FLUX_KEY = "transformer_blocks.0.attn.to_k"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    be_quiet()
    yield
    torch.set_num_threads(before)
    _READY.clear()


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux(tmp_path_factory.mktemp("pipelines") / "flux", max_shard_size="200KB")


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sdxl(tmp_path_factory.mktemp("pipelines") / "sdxl")


@pytest.fixture(params=["flux", "sdxl"])
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def own_flux(flux: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may spoil."""
    return Path(shutil.copytree(flux, tmp_path / "own"))


def loaded(folder: Path, ctx: LoadContext | None = None, **options: str) -> Loaded:
    return loading.load(ctx or LoadContext(), ImageOptions.of({"source": str(folder), **options}))


_READY: dict[Path, Loaded] = {}


def ready(folder: Path) -> Loaded:
    """Return the pipelines of `folder`, loaded once; nobody changes them."""
    if folder not in _READY:
        _READY[folder] = loaded(folder)
    return _READY[folder]


def drawn(pipeline: Any, **call: Any) -> bytes:
    given = {"prompt": "a horse", "num_inference_steps": 2, "width": 32, "height": 32, "output_type": "pt", **call}
    with warnings.catch_warnings():
        # The schedulers hand tensors to NumPy in an old way.
        warnings.simplefilter("ignore")
        images = pipeline(**given, generator=torch.Generator().manual_seed(1)).images
    data: bytes = images.float().numpy().tobytes()
    return data


def spoil(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_numbers_and_types_are_those_of_the_librarys_own_loading(folder: Path, dtype: str) -> None:
    ours = loaded(folder, dtype=dtype)
    theirs = type(ours.generate).from_pretrained(folder, dtype=getattr(torch, dtype))
    assert ours.dtype == dtype
    for name, network in theirs.components.items():
        if not isinstance(network, torch.nn.Module):
            continue
        mine = ours.generate.components[name]
        assert type(mine) is type(network)
        assert not mine.training
        expected, found = network.state_dict(), mine.state_dict()
        assert expected.keys() == found.keys()
        assert [key for key in expected if expected[key].dtype != found[key].dtype] == []
        assert [key for key in expected if not torch.equal(expected[key], found[key])] == []
        for (key, one), (_, other) in zip(network.named_buffers(), mine.named_buffers(), strict=True):
            assert torch.equal(one, other), key
            assert one.dtype == other.dtype, key


def test_pictures_are_those_of_the_librarys_own_loading(folder: Path) -> None:
    ours = ready(folder)
    theirs = type(ours.generate).from_pretrained(folder, dtype=torch.float32)
    theirs.set_progress_bar_config(disable=True)
    assert drawn(ours.generate) == drawn(theirs)


def test_drawing_editing_and_inpainting_share_their_networks(folder: Path) -> None:
    ours = ready(folder)
    assert ours.edit is not None
    assert ours.inpaint is not None
    names = [type(one).__name__ for one in (ours.generate, ours.edit, ours.inpaint)]
    endings = ("Pipeline", "Img2ImgPipeline", "InpaintPipeline")
    assert [name for name, ending in zip(names, endings, strict=True) if not name.endswith(ending)] == []
    for name, part in ours.generate.components.items():
        assert ours.edit.components.get(name, part) is part
        assert ours.inpaint.components.get(name, part) is part


def test_what_was_loaded_says_how_it_is_used(flux: Path, sdxl: Path) -> None:
    one, other = ready(flux), ready(sdxl)
    assert (one.family, one.device, one.dtype, one.title) == ("flux", "cpu", "float32", "flux")
    assert (one.pixels, one.multiple, one.steps, one.guidance, one.negative) == (256, 4, 28, 3.5, False)
    assert (other.family, other.pixels, other.multiple) == ("sdxl", 32, 8)
    assert (other.steps, other.guidance, other.negative) == (30, 5.0, True)
    assert (one.pixels_at_once, one.metadata, one.preview_seconds) == (0, True, 1.0)


def test_options_say_otherwise(flux: Path) -> None:
    options = {"default_size": "64", "steps": "4", "guidance": "1.5", "metadata": "off", "preview_seconds": "0"}
    ours = loaded(flux, **options)
    assert (ours.pixels, ours.steps, ours.guidance, ours.metadata, ours.preview_seconds) == (64, 4, 1.5, False, 0.0)


def test_another_family_is_drawn_by_what_diffusers_finds_for_it(sdxl: Path, tmp_path: Path) -> None:
    parts = ready(sdxl).generate.components
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        norm_num_groups=8,
    )
    kept = {name: parts[name] for name in ("vae", "text_encoder", "tokenizer", "scheduler")}
    absent = dict.fromkeys(("safety_checker", "feature_extractor"))
    made = diffusers.StableDiffusionPipeline(unet=unet, **kept, **absent, requires_safety_checker=False)
    made.save_pretrained(tmp_path / "sd")
    ours = loaded(tmp_path / "sd")
    assert (ours.family, ours.steps, ours.guidance, ours.negative, ours.multiple) == ("other", 50, 7.5, True, 8)
    names = [type(one).__name__ for one in (ours.generate, ours.edit, ours.inpaint)]
    assert names == ["StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"]
    assert drawn(ours.generate)


def test_a_flux_without_guidance_is_distilled_to_four_steps() -> None:
    config = SimpleNamespace(guidance_embeds=False)
    schnell = SimpleNamespace(transformer=SimpleNamespace(config=config))
    assert loading._defaults("flux", schnell) == (4, None, False)


def test_a_size_that_the_model_does_not_draw_is_refused_with_the_nearest(flux: Path) -> None:
    with pytest.raises(SettingsError, match="default_size=63: this model draws multiples of 4, such as 64"):
        loaded(flux, default_size="63")


def test_the_load_is_told_stage_by_stage_and_byte_by_byte(flux: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ctx = RememberingLoad(source=str(flux))
    loading.load(ctx, ImageOptions.of(ctx.options))
    assert ctx.stages == ["import", "open", "to device"]
    components = [(done, total) for stage, done, total, unit in ctx.steps if (stage, unit) == ("open", "components")]
    assert components == [(number, 7) for number in range(1, 8)]
    placed = [(done, total) for stage, done, total, unit in ctx.steps if (stage, unit) == ("to device", "bytes")]
    assert [done for done, _ in placed] == sorted(done for done, _ in placed)
    assert placed[-1][0] == placed[-1][1] > 500_000
    assert "images: FluxPipeline, 1 MiB of files: float32 on cpu, all of it in host memory" in capsys.readouterr().out


def test_what_a_pipeline_is_made_of_is_imported_before_it_is_read(flux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(loading, "imported", told.append)
    Images.prepare({"source": str(flux)})
    assert [survey.kind for survey in told] == ["FluxPipeline"]
    Images.prepare({"source": "owner/name"})
    Images.prepare({})
    assert len(told) == 1


def test_a_pipeline_that_cannot_be_loaded_is_told_before_it_is_read(own_flux: Path) -> None:
    index = own_flux / "model_index.json"
    index.write_text(index.read_text().replace("FluxPipeline", "NobodysPipeline"))
    with pytest.raises(SettingsError, match="NobodysPipeline"):
        Images.prepare({"source": str(own_flux)})


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ("transformer", "num_layers"),
        ("text_encoder", "num_hidden_layers"),
        ("text_encoder_2", "num_layers"),
        ("vae", "layers_per_block"),
    ],
)
def test_a_network_of_a_million_layers_is_not_built(own_flux: Path, part: str, field: str) -> None:
    spoil(own_flux / part / "config.json", **{field: 1_000_000})
    with pytest.raises(SettingsError, match=rf"{part}/config\.json describes .* look at {field}, which is 1000000"):
        loaded(own_flux)
    torch.nn.Sequential(*(torch.nn.Linear(1, 1) for _ in range(3000)))


@pytest.mark.parametrize("layers", [0, -1])
def test_a_config_of_a_smaller_network_than_the_weights_are_of_is_refused(own_flux: Path, layers: int) -> None:
    spoil(own_flux / "transformer" / "config.json", num_layers=layers)
    with pytest.raises(SettingsError, match=r"32 of 66 tensors are of no layer in config\.json"):
        loaded(own_flux)


def test_an_index_whose_parts_are_none_is_named(own_flux: Path) -> None:
    spoil(own_flux / "model_index.json", vae=["diffusers", ["AutoencoderKL"]])
    with pytest.raises(SettingsError, match="own cannot be put together as a FluxPipeline"):
        loaded(own_flux)


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("vae/config.json", {"scaling_factor": "x"}),
        ("transformer/config.json", {"axes_dims_rope": [1, 1, 1]}),
        ("scheduler/scheduler_config.json", {"base_image_seq_len": 0, "max_image_seq_len": 0}),
    ],
)
def test_a_pipeline_that_loads_and_cannot_draw_fails_its_warm_up_in_words(
    own_flux: Path, file: str, values: dict[str, Any]
) -> None:
    spoil(own_flux / file, **values)
    model, ctx = Images(), LoadContext(options={"source": str(own_flux), "default_size": "64"})
    model.load(ctx)
    with pytest.raises(SettingsError, match=r"^own loads, but cannot draw \(\w+Error: .*\); look at its configs"):
        model.warm_up(ctx)


def test_what_the_platform_brought_is_taken(flux: Path, own_flux: Path) -> None:
    ours = loading.load(LoadContext({"model": own_flux}), ImageOptions.of({"source": "s3://bucket/prefix/schnell"}))
    assert ours.title == "schnell"
    assert ours.generate.transformer.config._name_or_path == str(own_flux / "transformer")


def test_a_hub_pipeline_is_brought_read_and_loaded(flux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(loading.hub, "pipeline_folder", lambda *given: asked.append(given[:3]) or flux)
    ctx = RememberingLoad()
    loading.load(ctx, ImageOptions.of({"source": "owner/name", "revision": "v1", "variant": "fp16"}))
    assert asked == [("owner/name", "v1", "fp16")]
    assert ctx.stages == ["fetch", "import", "read", "open", "to device"]
    read = [(done, total) for stage, done, total, _ in ctx.steps if stage == "read"]
    assert read[-1][0] == read[-1][1] == sum(path.stat().st_size for path in surveyed(flux).files)


def test_a_variant_is_loaded_from_its_files(flux: Path, tmp_path: Path) -> None:
    half = loaded(flux, dtype="float16").generate
    half.save_pretrained(tmp_path / "half", safe_serialization=True, variant="fp16")
    ours = loaded(tmp_path / "half", variant="fp16", dtype="float16")
    expected = half.transformer.state_dict()
    assert all(torch.equal(expected[name], tensor) for name, tensor in ours.generate.transformer.state_dict().items())


def test_files_that_are_of_the_right_type_stay_mapped(flux: Path) -> None:
    places = [tensor.data_ptr() for tensor in ready(flux).generate.transformer.parameters()]
    lines = Path("/proc/self/maps").read_text().splitlines()
    mapped = [line.split()[0] for line in lines if f"{flux}/transformer" in line]
    ranges = [tuple(int(end, 16) for end in one.split("-")) for one in mapped]
    assert [place for place in places if not any(start <= place < end for start, end in ranges)] == []


def test_a_config_that_asks_for_more_than_the_files_hold_is_told(own_flux: Path) -> None:
    spoil(own_flux / "transformer" / "config.json", num_layers=2)
    with pytest.raises(SettingsError, match=r"transformer .* cannot be opened as a FluxTransformer2DModel: .*missing"):
        loaded(own_flux)


def test_tensors_of_another_size_are_told(own_flux: Path) -> None:
    spoil(own_flux / "transformer" / "config.json", joint_attention_dim=48)
    with pytest.raises(SettingsError, match=r"cannot be opened as a FluxTransformer2DModel: .*expected shape"):
        loaded(own_flux)


def test_a_text_encoder_of_another_depth_is_told(own_flux: Path) -> None:
    spoil(own_flux / "text_encoder_2" / "config.json", num_layers=3)
    with pytest.raises(SettingsError, match=r"text_encoder_2 \(model\.safetensors\) cannot be opened as a T5Enc"):
        loaded(own_flux)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"_class_name": "FluxTurboPipeline"}, r"this diffusers \(.*\) has no FluxTurboPipeline"),
        ({"_class_name": "FluxTransformer2DModel"}, "has no FluxTransformer2DModel"),
        ({"text_encoder": ["transformers", "NoSuchModel"]}, "this transformers has no NoSuchModel; a newer one may"),
        ({"text_encoder": ["somebody", "CLIPTextModel"]}, "needs the library 'somebody'"),
        ({"text_encoder": ["transformers", "AutoModel"]}, "AutoModel is no network"),
        ({"text_encoder": ["transformers", "pipeline"]}, "pipeline is no network"),
        ({"tokenizer": ["pipeline_utils", "DiffusionPipeline"]}, "is no tokenizer, scheduler or processor"),
        ({"scheduler": ["diffusers", "AutoencoderKL"]}, "AutoencoderKL is no tokenizer, scheduler or processor"),
    ],
)
def test_an_index_that_names_what_is_not_installed_is_told(own_flux: Path, change: dict[str, Any], told: str) -> None:
    spoil(own_flux / "model_index.json", **change)
    with pytest.raises(SettingsError, match=told):
        loaded(own_flux)


def test_an_index_that_leaves_out_a_component_is_told(own_flux: Path) -> None:
    index = json.loads((own_flux / "model_index.json").read_text())
    del index["text_encoder_2"]
    (own_flux / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(SettingsError, match="a FluxPipeline needs text_encoder_2, which its index does not name"):
        loaded(own_flux)


def test_a_damaged_tokenizer_is_told(own_flux: Path) -> None:
    (own_flux / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(SettingsError, match="tokenizer cannot be opened as a CLIPTokenizer"):
        loaded(own_flux)


def test_without_a_source_it_is_said_what_one_is() -> None:
    with pytest.raises(SettingsError, match="images needs option source"):
        loading.load(LoadContext(), ImageOptions.of({}))


def test_a_model_that_cannot_fit_is_refused_before_it_is_opened(flux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "host_bytes", lambda: 1 << 20)
    ctx = RememberingLoad()
    with pytest.raises(SettingsError, match=r"the model does not fit: .* where 1 MiB are free"):
        loading.load(ctx, ImageOptions.of({"source": str(flux)}))
    assert ctx.stages == ["import"]


def test_no_more_is_planned_with_than_the_platform_allows(flux: Path) -> None:
    with pytest.raises(OutOfMemory, match=r"where 5 MiB are free"):
        loading.load(LoadContext(room_bytes=5 << 20), ImageOptions.of({"source": str(flux)}))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()], ids=["card", "host"])
def test_a_device_that_runs_out_is_told_as_that(flux: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def full(*args: object) -> None:
        raise error

    monkeypatch.setattr(pipelines, "place", full)
    with pytest.raises(OutOfMemory, match=r"no room while loading \(float32 on cpu.*; free memory, or set option"):
        loaded(flux)


# LoRAs


def written_lora(path: Path, network: Any, names: list[str], seed: int, prefix: str = "transformer") -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Any] = {}
    for name in names:
        rows, columns = network.get_submodule(name).weight.shape
        tensors[f"{prefix}.{name}.lora_A.weight"] = torch.randn(2, columns, generator=generator) / 10
        tensors[f"{prefix}.{name}.lora_B.weight"] = torch.randn(rows, 2, generator=generator) / 10
    save_file(tensors, path)
    return tensors


def delta(tensors: dict[str, Any], name: str) -> Any:
    return tensors[f"transformer.{name}.lora_B.weight"] @ tensors[f"transformer.{name}.lora_A.weight"]


def test_loras_are_melted_into_the_weights_by_their_scales_and_the_files_stay(flux: Path, tmp_path: Path) -> None:
    base = ready(flux).generate.transformer
    one = written_lora(tmp_path / "one.safetensors", base, [FLUX_QUERY, FLUX_KEY], 1)
    other = written_lora(tmp_path / "other.safetensors", base, [FLUX_QUERY], 2)
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in surveyed(flux).files}
    lora = f"{tmp_path}/one.safetensors@0.5,{tmp_path}/other.safetensors@-2"
    ctx = RememberingLoad()
    ours = loading.load(ctx, ImageOptions.of({"source": str(flux), "lora": lora}))
    network = ours.generate.transformer
    query = base.get_submodule(FLUX_QUERY).weight + 0.5 * delta(one, FLUX_QUERY) - 2 * delta(other, FLUX_QUERY)
    torch.testing.assert_close(network.get_submodule(FLUX_QUERY).weight.data, query)
    key = base.get_submodule(FLUX_KEY).weight + 0.5 * delta(one, FLUX_KEY)
    torch.testing.assert_close(network.get_submodule(FLUX_KEY).weight.data, key)
    assert type(network.get_submodule(FLUX_QUERY)) is torch.nn.Linear, "nothing of it is left at a step"
    assert ctx.stages[-1] == "lora"
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in before} == before
    assert drawn(ours.generate) != drawn(ready(flux).generate)


def test_a_lora_that_the_platform_brought_is_taken(flux: Path, tmp_path: Path) -> None:
    base = ready(flux).generate.transformer
    tensors = written_lora(tmp_path / "a.safetensors", base, [FLUX_KEY], 1)
    ctx = LoadContext({"lora-0": tmp_path / "a.safetensors"})
    ours = loading.load(ctx, ImageOptions.of({"source": str(flux), "lora": "s3://bucket/a.safetensors"}))
    expected = base.get_submodule(FLUX_KEY).weight + delta(tensors, FLUX_KEY)
    torch.testing.assert_close(ours.generate.transformer.get_submodule(FLUX_KEY).weight.data, expected)


def test_a_lora_of_the_hub_is_fetched(flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written_lora(tmp_path / "a.safetensors", ready(flux).generate.transformer, [FLUX_KEY], 1)
    monkeypatch.setattr(loading.hub, "lora_path", lambda source, told: tmp_path / "a.safetensors")
    ctx = RememberingLoad()
    loading.load(ctx, ImageOptions.of({"source": str(flux), "lora": "owner/name"}))
    assert ctx.stages[0] == "fetch"


def test_a_lora_of_another_model_is_told(flux: Path, sdxl: Path, tmp_path: Path) -> None:
    written_lora(tmp_path / "flux.safetensors", ready(flux).generate.transformer, [FLUX_KEY], 1)
    with pytest.raises(SettingsError, match=r"flux\.safetensors is no LoRA for this StableDiffusionXLPipeline: none"):
        loaded(sdxl, lora=f"{tmp_path}/flux.safetensors")


def test_a_lora_of_another_size_is_told(flux: Path, tmp_path: Path) -> None:
    shapes = {f"transformer.{FLUX_KEY}.lora_A.weight": (2, 7), f"transformer.{FLUX_KEY}.lora_B.weight": (9, 2)}
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "a.safetensors")
    with pytest.raises(SettingsError, match=r"a\.safetensors is no LoRA for this FluxPipeline: .*size mismatch"):
        loaded(flux, lora=f"{tmp_path}/a.safetensors")


# Saving memory


def plan(folder: Path, **changes: Any) -> Plan:
    room = Room("cpu", 1 << 40, 1 << 40)
    return replace(planned(needed(surveyed(folder), None), room, Wish(dtype="float32")), **changes)


def test_offloaded_pipelines_draw_the_same(folder: Path) -> None:
    expected = drawn(ready(folder).generate)
    generate, edit, inpaint = pipelines.built(LoadContext(), surveyed(folder), plan(folder, offload="model"), [], "cpu")
    assert drawn(generate) == expected
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert edit is not None
    assert inpaint is not None
    assert drawn(edit, image=picture, strength=1.0)
    assert drawn(inpaint, image=picture, mask_image=torch.ones(1, 1, 32, 32), strength=1.0)
    assert drawn(generate) == expected, "the others have left nothing behind"


def test_layer_by_layer_nothing_of_the_networks_stays(flux: Path) -> None:
    built = pipelines.built(LoadContext(), surveyed(flux), plan(flux, offload="sequential"), [], "cpu")
    assert built[2] is not None
    network = built[2].transformer
    assert network is built[0].transformer
    assert all(tensor.is_meta for tensor in network.parameters())


def test_large_pictures_are_decoded_in_tiles_and_others_as_they_are(sdxl: Path) -> None:
    built = pipelines.built(LoadContext(), surveyed(sdxl), plan(sdxl, tiled=True), [], "cpu")
    vae = built[0].vae
    assert vae.use_tiling
    assert vae.use_slicing
    assert (vae.tile_sample_min_size, vae.tile_latent_min_size) == (512, 256)
    assert drawn(built[0]) == drawn(ready(sdxl).generate)


# Placing


class RememberingFence:
    def __init__(self, told: list[str], name: str) -> None:
        self._told = told
        self._name = name

    def record(self) -> None:
        self._told.append(f"record {self._name}")

    def synchronize(self) -> None:
        self._told.append(f"wait {self._name}")


def staging(told: list[str], block_bytes: int) -> Staging:
    blocks = [torch.zeros(block_bytes, dtype=torch.uint8) for _ in range(2)]
    return Staging(blocks, [RememberingFence(told, "a"), RememberingFence(told, "b")])


@pytest.mark.parametrize("shape", [(), (0,), (1,), (7, 13), (64,), (3, 4, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_every_byte_passes_through_the_blocks(shape: tuple[int, ...], dtype: Any) -> None:
    source = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 9).to(dtype)
    target = torch.empty_like(source)
    staging([], 32).copy(source, target)
    assert torch.equal(source, target)


def test_a_tensor_that_does_not_lie_in_one_piece_arrives(flux: Path) -> None:
    source = torch.arange(24).reshape(4, 6).t()
    target = torch.empty(6, 4, dtype=torch.int64)
    staging([], 32).copy(source, target)
    assert torch.equal(source, target)


def test_a_block_is_filled_again_only_once_it_was_fetched() -> None:
    told: list[str] = []
    lane = staging(told, 16)
    lane.copy(torch.arange(6), torch.empty(6, dtype=torch.int64))
    assert told == ["wait a", "record a", "wait b", "record b", "wait a", "record a"]
    lane.copy(torch.arange(2), torch.empty(2, dtype=torch.int64))
    assert told[-2:] == ["wait b", "record b"], "the next tensor goes on with the other block"


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(4, 4, bias=False)
        self.second = torch.nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("steps", torch.arange(3))
        self.register_buffer("scale", torch.ones(2))


def test_tied_weights_stay_tied_and_are_counted_once() -> None:
    network, told = Tied(), list[tuple[int, int]]()
    place([network], "cpu", type_of("bfloat16"), lambda done, total: told.append((done, total)))
    assert network.first.weight is network.second.weight
    assert network.first.weight.dtype == torch.bfloat16
    assert told[-1] == (16 * 4 + 3 * 8 + 2 * 4,) * 2
    assert len(told) == 3


def test_whole_numbers_stay_what_they_are() -> None:
    network = Tied()
    place([network], "cpu", type_of("float16"), lambda done, total: None)
    assert (network.steps.dtype, network.scale.dtype) == (torch.int64, torch.float16)


def test_several_threads_bring_the_same_numbers(flux: Path) -> None:
    torch.set_num_threads(4)
    try:
        assert threads_for("cpu") == 4
        several = loaded(flux, dtype="bfloat16").generate.transformer.state_dict()
    finally:
        torch.set_num_threads(1)
    alone = loaded(flux, dtype="bfloat16").generate.transformer.state_dict()
    assert all(torch.equal(alone[name], several[name]) for name in alone)


def test_a_failure_in_a_thread_is_the_loads_own() -> None:
    def fail(network: Any, name: str, tensor: Any) -> Any:
        raise MemoryError

    with pytest.raises(MemoryError):
        place([Tied()], "cpu", fail, lambda done, total: None)


@pytest.mark.parametrize(("device", "threads"), [("cuda:1", 4), ("cpu", 1), ("mps", 1)])
def test_a_card_is_served_by_several_threads(device: str, threads: int) -> None:
    assert threads_for(device) == threads


# Devices


def test_the_device_is_the_best_there_is_or_the_one_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.device_of("auto") == "cuda"
    assert devices.device_of("cuda:1") == "cuda:1"
    assert devices.device_of("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.device_of("auto") == "cpu"


@pytest.mark.parametrize(
    ("device", "error", "told"),
    [
        ("cuda", Unavailable, "torch sees no card; set the device to cpu"),
        ("mps", Unavailable, "torch sees no Apple GPU"),
        ("tpu", SettingsError, "images run on cuda, mps or cpu"),
    ],
)
def test_a_device_that_is_not_here_is_told(device: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        devices.device_of(device)


def test_a_numbered_card_becomes_the_one_that_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    meant: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: meant.append(device.index))
    for device in ("cpu", "mps", "cuda", "cuda:1"):
        devices.use(device)
    assert meant == [1]


def test_the_room_on_a_card_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20 << 30, 24 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    room = devices.room_on("cuda:0")
    assert (room.device, room.device_bytes, room.bfloat16) == ("cuda", 20 << 30, False)
    assert room.host_bytes > 0
    assert devices.room_on("cuda:0", 8 << 30).device_bytes == 8 << 30


def test_the_room_on_an_apple_gpu_is_shared_with_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 1 << 50)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 0)
    room = devices.room_on("mps")
    assert room.device == "mps"
    assert room.device_bytes == room.host_bytes


@pytest.mark.parametrize(
    ("limit", "used", "expected"), [("1000", "400", 600), ("400", "1000", 0), ("max", "1", None), (None, None, None)]
)
def test_the_limit_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, used: str | None, expected: int | None
) -> None:
    for name, text in (("_LIMIT", limit), ("_USED", used)):
        monkeypatch.setattr(devices, name, tmp_path / name)
        if text is not None:
            (tmp_path / name).write_text(text)
    monkeypatch.setattr(devices.psutil, "virtual_memory", lambda: SimpleNamespace(available=5000))
    assert devices.host_bytes() == (5000 if expected is None else expected)


# The model


@pytest.fixture
def model(folder: Path) -> Iterator[Images]:
    images = Images()
    images.load(LoadContext(options={"source": str(folder), "threads": "1"}))
    yield images
    images.unload()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_it_draws_after_its_warm_up_and_after_a_sleep(model: Images, tmp_path: Path) -> None:
    model.warm_up(LoadContext())
    order = {"prompt": "a horse", "seed": 1, "steps": 2, "width": 32, "height": 32}
    before = model.generate(RunContext(tmp_path), **order)
    model.sleep()
    model.wake()
    after = model.generate(RunContext(tmp_path), **order)
    assert [one.count("artifact:") for one in (*before.images, *after.images)] == [1, 1]
    assert Images.can_sleep()


def test_the_first_picture_is_small_where_a_step_is_slow(flux: Path, sdxl: Path) -> None:
    assert residence.warm_up_pixels(ready(flux)) == 64
    assert residence.warm_up_pixels(ready(sdxl)) == 32
    assert residence.warm_up_pixels(replace(ready(flux), device="cuda:0")) == 256


def test_what_is_offloaded_does_not_stay_on_the_card(flux: Path) -> None:
    built = pipelines.built(LoadContext(), surveyed(flux), plan(flux, offload="model"), [], "cpu")
    offloaded = replace(ready(flux), generate=built[0], device="cuda:0")
    assert residence.warm_up_pixels(offloaded) == 64
    residence.to_host(offloaded)
    residence.to_device(offloaded)


def test_what_lies_on_a_card_is_moved_away_and_back(flux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[str] = []
    ours = replace(ready(flux), device="cuda:0")
    monkeypatch.setattr(
        residence, "place", lambda networks, device, *rest: moves.append(f"{len(networks)} to {device}")
    )
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: moves.append(str(device)))
    residence.to_host(ours)
    assert moves == ["cpu"] * 4
    residence.to_device(ours)
    assert moves[-1] == "4 to cuda:0"


def test_unloading_gives_the_memory_back_and_may_be_done_twice(flux: Path) -> None:
    model = Images()
    model.unload()
    model.load(LoadContext(options={"source": str(flux), "threads": "1"}))
    model.unload()
    model.unload()
    assert not hasattr(model, "_loaded")


def test_a_wrong_option_is_told_before_anything_is_imported() -> None:
    with pytest.raises(SettingsError, match="option dtype"):
        Images().load(LoadContext(options={"dtype": "int4"}))


def test_what_callers_write_is_not_repeated_in_the_log(
    flux: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = Images()
    model.load(RememberingLoad(source=str(flux), threads="1"))
    libraries = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    for library in libraries:
        library.addHandler(caplog.handler)
    model.generate(RunContext(tmp_path), prompt="confidential " * 500, seed=0, steps=1, width=32, height=32)
    for library in libraries:
        library.removeHandler(caplog.handler)
    assert "confidential" not in caplog.text


def test_a_pipeline_of_no_kind_is_refused(flux: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(flux, tmp_path / "flux")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "DiffusionPipeline"}))
    with pytest.raises(SettingsError, match="has no DiffusionPipeline"):
        Images().load(RememberingLoad(source=str(folder)))


BILLIONS = {
    "FluxPipeline": {"transformer": 11.90, "text_encoder_2": 4.762, "text_encoder": 0.123, "vae": 0.0838},
    "StableDiffusionXLPipeline": {"unet": 2.567, "text_encoder": 0.123, "text_encoder_2": 0.695, "vae": 0.0837},
}
"""What the makers of the networks have published."""
T5_KEPT_BILLIONS = 24 * 4096 * 10240 / 1e9
"""A layer in each block of T5 overflows in float16."""


@pytest.mark.parametrize("pipeline", sorted(BILLIONS))
def test_the_estimate_of_published_networks_is_what_they_take(pipeline: str) -> None:
    with parts_counted() as parts:
        made = networks(pipeline)
    survey = survey_of(pipeline, made, "bfloat16")
    need, total = needed(survey, None), sum(BILLIONS[pipeline].values())
    assert {part.name: part.elements / 1e9 for part in need.parts} == pytest.approx(BILLIONS[pipeline], rel=2e-3)
    check_architecture(survey)
    for dtype in ("bfloat16", "float16", "float32"):
        placed = {name: placed_bytes(network, type_of(dtype)) for name, network in made.items()}
        if dtype == "float16":
            # Decoding is done in float32.
            placed["vae"] *= 2
        assert {part.name: part.weights_bytes(dtype) for part in need.parts} == pytest.approx(placed, rel=1e-4)
    kept = T5_KEPT_BILLIONS if pipeline == "FluxPipeline" else 0
    assert need.weights_bytes("float32") / 1e9 == pytest.approx(4 * total, rel=2e-3)
    assert need.weights_bytes("bfloat16") / 1e9 == pytest.approx(2 * total, rel=2e-3)
    in_half = 2 * (total + kept + BILLIONS[pipeline]["vae"])
    assert need.weights_bytes("float16") / 1e9 == pytest.approx(in_half, rel=2e-3)
    assert need.pixels == 1024
    assert parts[0] * 4 < sum(most_parts(len(component.tensors)) for component in survey.networks)


@pytest.mark.parametrize(
    ("pipeline", "least_gib", "most_gib"), [("FluxPipeline", 34, 37), ("StableDiffusionXLPipeline", 10, 16)]
)
def test_the_peak_of_published_networks_is_what_users_tell(pipeline: str, least_gib: int, most_gib: int) -> None:
    wish = Wish(dtype="bfloat16" if pipeline == "FluxPipeline" else "float16")
    need = needed(survey_of(pipeline, networks(pipeline), wish.dtype), None)
    assert least_gib < preferred_bytes(need, wish) / (1 << 30) < most_gib


@pytest.mark.chaos
@pytest.mark.parametrize("pipeline", sorted(BILLIONS))
@pytest.mark.parametrize("pixels", [512, 1024])
def test_what_is_alive_in_a_step_and_a_decoding_is_within_the_allowance(pipeline: str, pixels: int) -> None:
    made = networks(pipeline)
    need, latents = needed(survey_of(pipeline, made, "float32"), pixels), pixels // 8
    with torch.device("meta"):
        if pipeline == "FluxPipeline":
            tokens, channels = (latents // 2) ** 2, 16
            step = {
                "hidden_states": torch.empty(1, tokens, 64),
                "encoder_hidden_states": torch.empty(1, 512, 4096),
                "pooled_projections": torch.empty(1, 768),
                "timestep": torch.empty(1),
                "img_ids": torch.empty(tokens, 3),
                "txt_ids": torch.empty(512, 3),
                "guidance": torch.empty(1),
            }
        else:
            channels = 4
            step = {
                "sample": torch.empty(2, 4, latents, latents),
                "timestep": torch.empty(1),
                "encoder_hidden_states": torch.empty(2, 77, 2048),
                "added_cond_kwargs": {"text_embeds": torch.empty(2, 1280), "time_ids": torch.empty(2, 6)},
            }
        coded = torch.empty(1, channels, latents, latents)
    for alive, allowed in (
        (peak_elements(made[need.denoiser], lambda network: network(**step)), need.step_elements),
        (peak_elements(made["vae"], lambda network: network.decode(coded)), need.decode_elements),
    ):
        assert alive < allowed < 4 * alive
