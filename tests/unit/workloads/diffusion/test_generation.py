"""Pictures from tiny pipelines with random weights: drawn, stopped, gone on with, and refused."""

from __future__ import annotations

import functools
import gc
import io
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from PIL.ExifTags import Base
from tests.models.pipelines import SDXL_SCHEDULE, euler
from tests.unit.workloads.contexts import Remembering
from tests.unit.workloads.diffusion.drawing import (
    MASK,
    SIDE,
    SOURCE,
    STEPS,
    TASKS,
    Job,
    loaded_flux,
    loaded_sdxl,
    model,
    saved,
)

from glowplug.errors import Canceled, InvalidInput, TaskFailed
from glowplug.model import Resumed, RunContext
from glowplug.workloads.diffusion import generation, previews, steps
from glowplug.workloads.diffusion.loaded import Loaded
from glowplug.workloads.diffusion.metadata import facts_of
from glowplug.workloads.diffusion.previews import ColourMap, Previews, colour_map

FAMILIES = ("flux", "sdxl")
# diffusers makes an array of a tensor in a way that NumPy 2 is going to forbid.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny() -> dict[str, Loaded]:
    return {"flux": loaded_flux(), "sdxl": loaded_sdxl()}


@pytest.fixture(params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tiny: dict[str, Loaded]) -> Loaded:
    return tiny[request.param]


def shown(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


# --- drawing ---


@pytest.mark.parametrize("task", TASKS)
def test_a_task_saves_a_picture_of_the_models_size(loaded: Loaded, task: str, tmp_path: Path) -> None:
    ctx, pictures = Job(model(loaded), tmp_path, task).run()
    assert pictures.images == ["artifact:local/image-01.png"]
    assert (pictures.seed, pictures.steps, pictures.guidance) == (5, STEPS, loaded.guidance)
    assert (pictures.width, pictures.height, pictures.truncated) == (SIDE, SIDE, "")
    with Image.open(ctx.file("image-01.png")) as picture:
        assert (picture.size, picture.mode) == ((SIDE, SIDE), "RGB")
    assert [told.note for told in ctx.told][-1].startswith("step ")
    assert ctx.told[-1].done == ctx.told[-1].total


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_draws_the_same_and_another_does_not(loaded: Loaded, task: str, tmp_path: Path) -> None:
    images = model(loaded)
    first = Job(images, tmp_path, task).files()
    assert Job(images, tmp_path / "again", task).files() == first
    assert Job(images, tmp_path / "other", task, {"seed": 6}).files() != first


def test_words_guidance_steps_and_size_make_a_difference(loaded: Loaded, tmp_path: Path) -> None:
    images = model(loaded, metadata=False)
    drawn = [
        Job(images, tmp_path / str(number), "generate", values).files()[0]
        for number, values in enumerate(
            [{}, {"prompt": "a red house"}, {"guidance": 9.0}, {"steps": 2}, {"width": 48}, {"height": 24}]
        )
    ]
    assert len(set(drawn)) == len(drawn)
    assert [shown(data).size for data in drawn[-2:]] == [(48, 48), (24, 24)]


def test_a_negative_prompt_makes_a_difference_where_the_model_knows_one(
    tiny: dict[str, Loaded], tmp_path: Path
) -> None:
    images = model(tiny["sdxl"], metadata=False)
    plain = Job(images, tmp_path / "plain").files()
    assert Job(images, tmp_path / "empty", "generate", {"negative_prompt": ""}).files() == plain
    assert Job(images, tmp_path / "named", "generate", {"negative_prompt": "blurry"}).files() != plain


def test_without_a_seed_one_is_chosen_and_told_and_draws_the_same_again(loaded: Loaded, tmp_path: Path) -> None:
    images = model(loaded, metadata=False)
    first = Job(images, tmp_path, values={"seed": None})
    ctx, pictures = first.run()
    again = Job(images, tmp_path / "again", values={"seed": pictures.seed}).files()
    assert again == saved(ctx)


@pytest.mark.parametrize("task", TASKS)
def test_a_picture_does_not_depend_on_its_neighbours(loaded: Loaded, task: str, tmp_path: Path) -> None:
    images = model(loaded, metadata=False)
    several = Job(images, tmp_path, task, {"count": 3}).files()
    alone = [Job(images, tmp_path / str(seed), task, {"seed": seed}).files()[0] for seed in (5, 6, 7)]
    assert several == alone
    assert len(set(alone)) == 3


@pytest.mark.parametrize("task", TASKS)
def test_pictures_drawn_together_are_those_drawn_alone(loaded: Loaded, task: str, tmp_path: Path) -> None:
    # A batch may sum in another order, so its numbers may differ in the last digits, and a pixel by one or two.
    alone = Job(model(loaded), tmp_path, task, {"count": 3}).files()
    ctx, _ = Job(model(loaded, pixels_at_once=2 * SIDE * SIDE), tmp_path, task, {"count": 3}).run("two")
    assert [told.note.partition(", ")[2] for told in ctx.told[:: len(ctx.told) - 1]] == [
        "pictures 1 to 2 of 3",
        "picture 3 of 3",
    ]
    for one, other in zip(alone, saved(ctx), strict=True):
        assert np.abs(np.asarray(shown(one), int) - np.asarray(shown(other), int)).max() <= 2


def test_two_jobs_in_a_row_do_not_influence_each_other(tmp_path: Path) -> None:
    images = model(loaded_sdxl(diffusers.UniPCMultistepScheduler(**_schedule())))
    first = Job(images, tmp_path).files()
    Job(images, tmp_path / "between", "edit", {"steps": 5, "seed": 9}).files()
    Job(images, tmp_path / "stopped").interrupted(2)
    assert Job(images, tmp_path / "last").files() == first


def _schedule(**config: Any) -> dict[str, Any]:
    return {**SDXL_SCHEDULE, **config}


def test_outside_the_mask_every_pixel_stays(loaded: Loaded, tmp_path: Path) -> None:
    before = np.asarray(SOURCE)
    after = np.asarray(shown(Job(model(loaded), tmp_path, "inpaint").files()[0]))
    changed, mask = (before != after).any(axis=2), np.asarray(MASK) > 0
    assert not changed[~mask].any()
    assert changed[mask].mean() > 0.9


def test_an_edit_keeps_the_shape_of_a_photograph_on_its_side(loaded: Loaded, tmp_path: Path) -> None:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    SOURCE.resize((40, 24)).save(stream, "JPEG", exif=exif)
    _, pictures = Job(model(loaded), tmp_path, "edit", {"image": Image.open(stream)}).run()
    assert (pictures.width, pictures.height) == (24, 40)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_files_tell_how_they_came_about(tiny: dict[str, Loaded], form: str, tmp_path: Path) -> None:
    values = {"format": form, "count": 2, "negative_prompt": "blurry"}
    files = Job(model(tiny["sdxl"], loras=("style@0.8",)), tmp_path, "edit", values).files()
    assert facts_of(shown(files[1])) == {
        "prompt": "an astronaut on a horse",
        "negative_prompt": "blurry",
        "steps": STEPS,
        "guidance": 5.0,
        "strength": 0.9,
        "model": "tiny-sdxl",
        "loras": "style@0.8",
        "seed": 6,
    }


def test_files_tell_nothing_where_the_caller_or_the_option_says_so(tiny: dict[str, Loaded], tmp_path: Path) -> None:
    told = [
        facts_of(shown(Job(model(tiny["flux"], metadata=option), tmp_path / str(number), values=values).files()[0]))
        for number, (option, values) in enumerate(
            [(True, {"metadata": False}), (False, {}), (False, {"metadata": True}), (True, {})]
        )
    ]
    assert [bool(facts) for facts in told] == [False, False, True, True]


# --- interruptions ---

RESUMED = {
    "flux": ("generate", None, {"count": 2}),
    "flux, edit": ("edit", None, {}),
    "flux, inpaint": ("inpaint", None, {}),
    "flux, with noise at each step": (
        "generate",
        lambda: diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True, use_dynamic_shifting=True),
        {},
    ),
    "sdxl": ("generate", euler, {"count": 2}),
    "sdxl, edit": ("edit", euler, {}),
    "sdxl, inpaint": ("inpaint", euler, {}),
    "sdxl, ancestral": ("generate", lambda: diffusers.EulerAncestralDiscreteScheduler(**_schedule()), {}),
    "sdxl, multistep": (
        "edit",
        lambda: diffusers.DPMSolverMultistepScheduler(**_schedule(use_karras_sigmas=True)),
        {"steps": 4},
    ),
    "sdxl, multistep with noise": (
        "generate",
        lambda: diffusers.DPMSolverMultistepScheduler(**_schedule(algorithm_type="sde-dpmsolver++")),
        {"steps": 4},
    ),
    "sdxl, ancestral, inpaint": ("inpaint", lambda: diffusers.EulerAncestralDiscreteScheduler(**_schedule()), {}),
    "sdxl, multistep, corrected": ("generate", lambda: diffusers.UniPCMultistepScheduler(**_schedule()), {"steps": 4}),
    "sdxl, two calls a step": ("edit", lambda: diffusers.HeunDiscreteScheduler(**_schedule()), {}),
    "sdxl, with NumPy's numbers": (
        "generate",
        lambda: diffusers.PNDMScheduler(**_schedule(skip_prk_steps=True)),
        {"steps": 4},
    ),
}
RARE = (
    "sdxl, ancestral, inpaint",
    "sdxl, multistep, corrected",
    "sdxl, two calls a step",
    "sdxl, with NumPy's numbers",
)
CASES = [pytest.param(case, id=case, marks=pytest.mark.chaos if case in RARE else ()) for case in RESUMED]


@pytest.mark.parametrize("case", CASES)
def test_interrupted_at_any_step_the_pictures_are_the_same_to_the_byte(case: str, tmp_path: Path) -> None:
    task, scheduler, values = RESUMED[case]
    made = (loaded_flux if case.startswith("flux") else loaded_sdxl)(scheduler and scheduler())
    job = Job(model(made), tmp_path, task, values)
    ctx, _ = job.run()
    assert ctx.checked >= 3
    for checks in range(1, ctx.checked):
        left = job.interrupted(checks)
        assert left is not None
        assert job.files(f"resumed-{checks}", resumed=left) == saved(ctx), f"stopped at check {checks}"


def test_interrupted_before_the_first_step_nothing_is_left(loaded: Loaded, tmp_path: Path) -> None:
    assert Job(model(loaded), tmp_path).interrupted(0) is None


def test_interrupted_twice_and_drawn_together_the_pictures_are_the_same(loaded: Loaded, tmp_path: Path) -> None:
    job = Job(model(loaded, pixels_at_once=2 * SIDE * SIDE), tmp_path, values={"count": 3})
    whole = job.files()
    once = job.interrupted(2)
    twice = job.interrupted(3, once)
    assert once is not None
    assert twice is not None
    assert twice.step > once.step
    assert job.files("resumed", resumed=twice) == whole


def test_the_seed_that_was_chosen_stays_after_an_interruption(tiny: dict[str, Loaded], tmp_path: Path) -> None:
    job = Job(model(tiny["flux"]), tmp_path, values={"seed": None})
    left = job.interrupted(2)
    _, first = job.run("first", resumed=left)
    _, second = job.run("second", resumed=left)
    assert first.seed == second.seed


def test_long_jobs_leave_checkpoints_on_their_way_and_short_ones_none(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(model(loaded), tmp_path, values={"count": 2})
    ctx, _ = job.run()
    assert ctx.resume() is None
    monkeypatch.setattr(steps, "CHECKPOINT_SECONDS", 0.0)
    long, _ = job.run("long")
    left = long.resume()
    assert left is not None
    assert left.step == 2 * STEPS - 1
    assert job.files("resumed", resumed=left) == job.files("again")


@pytest.mark.parametrize("change", [{"prompt": "a fox"}, {"seed": 8}, {"steps": 4}, {"width": 48}, {"format": "webp"}])
def test_a_checkpoint_of_another_order_is_not_used(
    tiny: dict[str, Loaded], change: dict[str, Any], tmp_path: Path
) -> None:
    images = model(tiny["flux"])
    left = Job(images, tmp_path).interrupted(2)
    other = Job(images, tmp_path / "other", values=change)
    ctx, _ = other.run(resumed=left)
    assert "begun anew: the checkpoint is of another order, or of another model" in ctx.lines
    assert other.files("again", resumed=left) == other.files("plain")


def test_a_checkpoint_of_another_picture_or_model_is_not_used(tiny: dict[str, Loaded], tmp_path: Path) -> None:
    left = Job(model(tiny["flux"]), tmp_path, "edit").interrupted(2)
    other = Job(model(tiny["flux"]), tmp_path / "image", "edit", {"image": SOURCE.rotate(90)})
    assert "begun anew" in other.run(resumed=left)[0].lines[0]
    for number, change in enumerate(({"title": "another"}, {"loras": ("style@0.8",)}, {"dtype": "bfloat16"})):
        other = Job(model(tiny["flux"], **change), tmp_path / str(number), "edit")
        assert "begun anew" in other.run(resumed=left)[0].lines[0]


@pytest.mark.parametrize("damage", ["cut", "emptied", "foreign", "older"])
def test_a_damaged_checkpoint_is_not_used(tiny: dict[str, Loaded], damage: str, tmp_path: Path) -> None:
    job = Job(model(tiny["flux"]), tmp_path)
    left = job.interrupted(2)
    assert left is not None
    data = left.path.read_bytes()
    changed = {"cut": data[:-9], "emptied": b"", "foreign": b"PK\3\4" * 50, "older": data.replace(b"layout", b"layoux")}
    left.path.write_bytes(changed[damage])
    ctx, _ = job.run("resumed", resumed=left)
    assert "begun anew: not a checkpoint of a picture" in ctx.lines[0]


def test_a_scheduler_that_keeps_what_no_file_can_hold_begins_anew(tmp_path: Path) -> None:
    class Secretive(diffusers.FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
        def step(self, *arguments: Any, **named: Any) -> Any:
            self.secret = object()
            return super().step(*arguments, **named)

    job = Job(model(loaded_flux(Secretive(use_dynamic_shifting=True))), tmp_path)
    assert job.interrupted(2) is None
    assert job.files() == job.files("again")


# --- ends before the end ---


@pytest.mark.parametrize("task", TASKS)
def test_canceled_at_a_step_nothing_stays_behind_and_the_model_goes_on(
    loaded: Loaded, task: str, tmp_path: Path
) -> None:
    images = model(loaded)
    whole = Job(images, tmp_path, task).files()
    ctx = Remembering(tmp_path / "canceled", stop=Canceled(), checks=2)
    with pytest.raises(Canceled):
        getattr(images, task)(ctx, prompt="a fox", seed=1, **TASKS[task])
    assert ctx.resume() is None
    assert ctx.saved == []
    assert Job(images, tmp_path / "after", task).files() == whole


def test_nothing_of_a_call_stays_referenced_after_it_failed(loaded: Loaded, tmp_path: Path) -> None:
    class Weak(list[int]):
        """Lists have no weak references."""

    kept: list[weakref.ref[Any]] = []

    def failing(network: Any, arguments: Any, named: Any) -> None:
        kept.extend(weakref.ref(one) for one in (*arguments, *named.values()) if isinstance(one, torch.Tensor))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    network = generation.denoiser_of(loaded.generate)
    assert network is not None
    hook = network.register_forward_pre_hook(failing, with_kwargs=True)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(torch.OutOfMemoryError):
            Job(model(loaded), tmp_path).run()
        assert kept
        assert [one() for one in kept if one() is not None] == []
    finally:
        gc.enable()
        hook.remove()
    assert Job(model(loaded), tmp_path).files("after")


def test_without_room_for_some_pictures_at_once_they_are_drawn_in_smaller_parts(loaded: Loaded, tmp_path: Path) -> None:
    tried: list[int] = []

    def crowded(network: Any, arguments: Any, named: Any) -> None:
        latents = arguments[0] if arguments else named["hidden_states"]
        tried.append(len(latents))
        if len(latents) > (2 if loaded.family == "sdxl" else 1):
            raise torch.OutOfMemoryError("CUDA out of memory")

    whole = Job(model(loaded), tmp_path, values={"count": 3}).files()
    network = generation.denoiser_of(loaded.generate)
    assert network is not None
    hook = network.register_forward_pre_hook(crowded, with_kwargs=True)
    try:
        assert Job(model(loaded, pixels_at_once=10**6), tmp_path / "crowded", values={"count": 3}).files() == whole
    finally:
        hook.remove()
    assert tried[0] == tried[1] * 3


def test_weights_that_give_no_numbers_fail_the_job_with_the_reason(tmp_path: Path) -> None:
    broken = loaded_flux(seed=3)
    with torch.no_grad():
        broken.generate.transformer.proj_out.bias.fill_(float("nan"))
    ctx = Remembering(tmp_path)
    with pytest.raises(TaskFailed, match="pictures are not numbers"):
        model(broken).generate(ctx, prompt="a fox", seed=1)
    assert ctx.saved == []
    with pytest.raises(TaskFailed, match="latents are not numbers"):
        Job(model(broken), tmp_path / "stopped").interrupted(2)


def test_a_picture_that_a_safety_checker_blackened_fails_the_job_with_the_reason(
    tiny: dict[str, Loaded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(tiny["flux"].generate)
    drawn = kind.__call__

    def suspicious(self: Any, **arguments: Any) -> Any:
        done = drawn(self, **arguments)
        done.nsfw_content_detected = [True]
        return done

    monkeypatch.setattr(kind, "__call__", functools.wraps(drawn)(suspicious))
    with pytest.raises(InvalidInput, match="safety checker"):
        Job(model(tiny["flux"]), tmp_path).run()


# --- refusals ---

REFUSED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "a negative prompt for flux": ("flux", "generate", {"negative_prompt": "blurry"}, "knows none"),
    "a negative prompt without guidance": (
        "sdxl",
        "generate",
        {"negative_prompt": "blurry", "guidance": 1.0},
        "no effect",
    ),
    "a size that is no multiple": ("flux", "generate", {"width": 34}, "use 32 or 36"),
    "a size beyond the model": ("sdxl", "generate", {"width": 512, "height": 512}, "too large"),
    "a strength that leaves no step": ("sdxl", "edit", {"strength": 0.1}, "raise strength or steps"),
    "a mask of another size": ("flux", "inpaint", {"mask": Image.new("L", (16, 16), 255)}, "the image's size"),
    "a mask without a hole": ("sdxl", "inpaint", {"mask": Image.new("L", (SIDE, SIDE))}, "nothing to paint"),
    "a picture as a thread": ("flux", "edit", {"image": Image.new("RGB", (900, 3))}, "8 times the shorter"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_model_cannot_do_is_refused_with_the_way_out(
    case: str, tiny: dict[str, Loaded], tmp_path: Path
) -> None:
    family, task, values, told = REFUSED[case]
    with pytest.raises(InvalidInput, match=told) as refused:
        Job(model(tiny[family]), tmp_path, task, values).run()
    assert refused.value.data["fields"]
    assert Job(model(tiny[family]), tmp_path / "after", task).files()


def test_a_model_without_guidance_or_a_pipeline_says_so(tiny: dict[str, Loaded], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="takes none"):
        Job(model(tiny["flux"], guidance=None), tmp_path, values={"guidance": 2.0}).run()
    assert Job(model(tiny["flux"], guidance=None), tmp_path / "plain").run()[1].guidance is None
    with pytest.raises(InvalidInput, match=r"\(tiny-flux\) cannot change pictures"):
        Job(model(tiny["flux"], edit=None), tmp_path, "edit").run()
    with pytest.raises(InvalidInput, match="cannot paint into pictures"):
        Job(model(tiny["sdxl"], inpaint=None), tmp_path, "inpaint").run()


def test_what_of_a_long_prompt_is_not_read_is_told(loaded: Loaded, tmp_path: Path) -> None:
    words = " ".join(f"fox {number}" for number in range(1000))
    _, pictures = Job(model(loaded), tmp_path, values={"prompt": words}).run()
    assert pictures.truncated
    assert words.endswith(pictures.truncated)
    read = words[: -len(pictures.truncated)]
    assert 60 < len(read) < 600
    assert Job(model(loaded), tmp_path / "cut", values={"prompt": read}).run()[1].truncated == ""


# --- previews ---


def test_previews_come_now_and_then_but_not_for_the_finished_picture(loaded: Loaded, tmp_path: Path) -> None:
    ctx, _ = Job(model(loaded, preview_seconds=1e-9), tmp_path).run()
    pictures = [told.preview for told in ctx.told]
    assert pictures[0] is not None
    assert pictures[-1] is None
    assert shown(pictures[0]).format == "JPEG"
    assert max(shown(pictures[0]).size) >= 128
    assert len(pictures[0]) < 20_000
    silent, _ = Job(model(loaded, preview_seconds=0), tmp_path).run("silent")
    assert {told.preview for told in silent.told} == {None}


def test_previews_change_nothing_about_the_picture(loaded: Loaded, tmp_path: Path) -> None:
    with_previews = Job(model(loaded, preview_seconds=1e-9), tmp_path, values={"count": 2}).files()
    assert Job(model(loaded, preview_seconds=0), tmp_path / "plain", values={"count": 2}).files() == with_previews


def test_a_preview_that_takes_long_makes_the_next_one_wait() -> None:
    times = iter([0.0, 1.0, 1.5, 20.0, 27.0, 27.1])
    colours = ColourMap(torch.eye(3), torch.zeros(3))
    looking = Previews(colours, 1.0, lambda latents: latents, lambda: next(times))
    latents = torch.rand(1, 3, 8, 8)
    assert looking.preview(latents) is not None
    # Half a second was spent, so that the next comes after 25 of them.
    assert looking.preview(latents) is None
    assert looking.preview(latents) is not None


def test_latents_that_are_not_the_autoencoders_have_no_preview() -> None:
    looking = Previews(ColourMap(torch.eye(3), torch.zeros(3)), 1e-9, lambda latents: latents)
    assert looking.preview(torch.rand(1, 16, 8, 8)) is None
    assert looking.preview(torch.rand(1, 3, 8, 8)) is None


def test_latents_that_are_no_numbers_still_have_a_preview() -> None:
    latents = torch.full((2, 3, 4, 4), float("nan"))
    assert ColourMap(torch.eye(3), torch.zeros(3)).shown(latents).size == (2 * 256, 256)


class Mirror:
    """An autoencoder whose latents are the colours, mixed in a known way and a quarter as wide."""

    device, dtype = torch.device("cpu"), torch.float32
    mixed = torch.tensor([[1.0, 0.5, 0.0, 2.0], [0.0, 1.0, -1.0, 0.0], [0.3, 0.0, 1.0, 1.0]])

    class config(dict[str, Any]):  # noqa: N801 - as diffusers calls it
        scaling_factor = 0.5

    def __init__(self) -> None:
        self.config = Mirror.config(shift_factor=0.25)

    def encode(self, pixels: torch.Tensor) -> Any:
        small = torch.nn.functional.avg_pool2d(pixels, 4)
        latents = torch.einsum("nchw,cd->ndhw", small, self.mixed)

        class Encoded:
            class latent_dist:  # noqa: N801 - as diffusers calls it
                mode = staticmethod(lambda: latents)

        return Encoded


def test_the_colours_of_latents_are_learned_from_the_autoencoder() -> None:
    vae = Mirror()
    learned = colour_map(vae)
    assert learned is not None
    assert colour_map(vae) is learned
    colours = torch.rand(5, 3)
    latents = ((colours * 2 - 1) @ vae.mixed - 0.25) * 0.5
    assert torch.allclose(latents @ learned.factors + learned.offset, colours, atol=1e-3)


def test_an_autoencoder_of_another_kind_has_no_previews(tiny: dict[str, Loaded], tmp_path: Path) -> None:
    class Video:
        device, dtype = torch.device("cpu"), torch.float32

        def encode(self, pixels: torch.Tensor) -> Any:
            raise ValueError("five dimensions are expected")

    assert colour_map(Video()) is None


class Crowded(Mirror):
    """Has no room for its colours at first, in float16 and half widened."""

    dtype = torch.float16

    def __init__(self) -> None:
        super().__init__()
        self.config["force_upcast"] = True
        self.parts = [torch.float16, torch.float16]
        self.room = False

    def to(self, dtype: torch.dtype) -> None:
        self.parts[0] = dtype
        if dtype == torch.float32 and not self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.parts[1] = dtype

    def encode(self, pixels: torch.Tensor) -> Any:
        return super().encode(pixels.float())


def test_one_time_without_room_takes_previews_from_that_job_alone() -> None:
    vae = Crowded()
    assert colour_map(vae) is None
    assert vae.parts == [torch.float16, torch.float16]
    vae.room = True
    assert colour_map(vae) is not None
    assert vae.parts == [torch.float16, torch.float16]


def test_the_class_works_as_a_plain_object(tiny: dict[str, Loaded]) -> None:
    ctx = RunContext()
    assert model(tiny["flux"]).generate(ctx, prompt="a fox", steps=1).images == ["artifact:local/image-01.png"]
    assert isinstance(Job(model(tiny["flux"]), ctx.scratch).interrupted(2), Resumed)
    assert previews.SHOWN_PICTURES >= 1
