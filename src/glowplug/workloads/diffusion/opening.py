"""The components of a pipeline opened one by one: checked against their weights, whose pages stay on the disk.

One after the other, for both libraries change torch's global state while they build a network; it takes milliseconds,
since the weights are mapped and read only when they are placed.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch.nn.modules import module as registration

from glowplug.errors import SettingsError
from glowplug.workloads.diffusion.bounds import most_parts, too_many_parts
from glowplug.workloads.diffusion.estimate import BYTES
from glowplug.workloads.diffusion.families import KIN, family_of
from glowplug.workloads.diffusion.survey import CONFIG, Component, Survey
from glowplug.workloads.torchvision_ops import ensure_torchvision

ensure_torchvision()

import diffusers  # noqa: E402 - its import is what the line above mends
import transformers  # noqa: E402

LIBRARIES = ("diffusers", "transformers")
_RENAMED = {"CLIPFeatureExtractor": "CLIPImageProcessor", "T5Tokenizer": "T5TokenizerFast"}
SHOWN_KEYS = 3
MOST_UNUSED_SHARE = 0.1


def be_quiet() -> None:
    """Keep the libraries' own progress bars and warnings off the log.

    The load tells its progress and what is wrong with weights itself; and warnings repeat the callers' prompts.
    """
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


def imported(survey: Survey) -> None:
    """Import what the pipeline is made of: both libraries do so only when a class is asked for.

    Raises:
        SettingsError: the installed libraries do not have it.
    """
    pipeline_class(survey)
    for name in KIN.get(family_of(survey), ()):
        getattr(diffusers, name)
    for component in survey.components.values():
        _class_of(component)


def pipeline_class(survey: Survey) -> Any:
    """Return the class of the pipeline, having checked that the folder names every component that it needs.

    Raises:
        SettingsError: diffusers has no such pipeline, or components are missing.
    """
    found = getattr(diffusers, survey.kind, None)
    base = diffusers.DiffusionPipeline
    if not (isinstance(found, type) and issubclass(found, base) and found is not base):
        raise SettingsError(f"{survey.folder}: this diffusers ({diffusers.__version__}) has no {survey.kind}")
    parameters = inspect.signature(found).parameters.values()
    wanted = [one.name for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    given = {*survey.components, *survey.absent, *survey.settings}
    if missing := [name for name in wanted if name not in given]:
        raise SettingsError(
            f"{survey.folder}: a {survey.kind} needs {', '.join(missing)}, which its index does not name"
        )
    return found


def opened(survey: Survey, dtype: str, told: Callable[[int, int], None]) -> dict[str, Any]:
    """Return the components by name; `told` hears how many of them are open.

    Raises:
        SettingsError: one cannot be opened, or its weights are not those of its config; the message names it.
    """
    found: dict[str, Any] = dict.fromkeys(survey.absent)
    for number, (name, component) in enumerate(survey.components.items(), 1):
        found[name] = _network(component, dtype) if component.has_weights else _plain(component)
        told(number, len(survey.components))
    return found


def type_of(dtype: str) -> Callable[[Any, str, Any], Any]:
    """Return who says in which type a tensor of a network runs when the pipeline runs in `dtype`.

    Both libraries have layers that overflow in half types, and stay in float32.
    """
    wanted = getattr(torch, dtype)

    def chosen(network: Any, name: str, tensor: Any) -> Any:
        if not tensor.is_floating_point():
            return tensor.dtype
        kept = _kept(network, wanted)
        return torch.float32 if any(part in kept for part in name.split(".")) else wanted

    return chosen


def _kept(network: Any, dtype: Any) -> frozenset[str]:
    if dtype not in (torch.float16, torch.bfloat16):
        return frozenset()
    names = set(getattr(network, "_keep_in_fp32_modules_strict", None) or ())
    if dtype == torch.float16 or isinstance(network, diffusers.ModelMixin):
        names.update(getattr(network, "_keep_in_fp32_modules", None) or ())
    return frozenset(names)


def _class_of(component: Component) -> Any:
    library, kind = component.library, component.kind
    if library not in LIBRARIES and not hasattr(diffusers.pipelines, library):
        raise SettingsError(f"{component.folder} needs the library {library!r}; of diffusers and transformers alone")
    module = importlib.import_module(library if library in LIBRARIES else f"diffusers.pipelines.{library}")
    found = getattr(module, kind, None) or getattr(module, _RENAMED.get(kind, ""), None)
    if found is None:
        raise SettingsError(f"{component.folder}: this {library} has no {kind}; a newer one may")
    # Whole pipelines and the classes that look for others would go past every check here.
    is_part = isinstance(found, type) and not issubclass(found, diffusers.DiffusionPipeline)
    if not is_part or issubclass(found, torch.nn.Module) != component.has_weights:
        expected = "network" if component.has_weights else "tokenizer, scheduler or processor"
        raise SettingsError(f"{component.folder}: {kind} is no {expected}")
    return found


def _network(component: Component, dtype: str) -> Any:
    # In the type of the file, so that its pages are mapped and nothing is copied.
    own = component.dtype if component.dtype in BYTES else dtype
    options: dict[str, Any] = {"low_cpu_mem_usage": True} if component.library == "diffusers" else {}
    with _bounded(component):
        found, report = _from_folder(
            component,
            dtype=getattr(torch, str(own)),
            variant=component.variant,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    _check_keys(component, report)
    network = found.eval().requires_grad_(False)
    if any(tensor.is_meta for tensor in network.parameters()):
        raise SettingsError(_unlike(component, "some of its weights are in no file"))
    return network


@contextmanager
def _bounded(component: Component) -> Iterator[None]:
    """End the building of a network that becomes vastly larger than its weights: a million layers take for ever."""
    tensors, thread, parts = len(component.tensors), get_ident(), 0

    def counted(*part: Any) -> None:
        nonlocal parts
        del part
        if get_ident() != thread:
            # Others may build networks of their own meanwhile.
            return
        parts += 1
        if parts > most_parts(tensors):
            raise too_many_parts(component.folder / CONFIG, component.config, tensors)

    hooks = (
        registration.register_module_parameter_registration_hook(counted),
        registration.register_module_module_registration_hook(counted),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _plain(component: Component) -> Any:
    return _from_folder(component)


def _from_folder(component: Component, **options: Any) -> Any:
    kind = _class_of(component)
    try:
        return kind.from_pretrained(str(component.folder), local_files_only=True, **options)
    except SettingsError:
        raise
    except Exception as error:  # what the libraries stumble over lies in the folder
        why = " ".join(str(error).split())[:300]
        raise SettingsError(_unlike(component, why)) from error


def _check_keys(component: Component, report: Mapping[str, Any]) -> None:
    for what in ("missing_keys", "mismatched_keys"):
        if keys := sorted(str(key) for key in report.get(what) or ()):
            more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
            why = f"{what.replace('_', ' ')} {', '.join(keys[:SHOWN_KEYS])}{more}"
            raise SettingsError(_unlike(component, why))
    extra = len(report.get("unexpected_keys") or ())
    if component.library == "diffusers" and extra > MOST_UNUSED_SHARE * len(component.tensors):
        # What transformers publishes often has more in one file; here it is another network's.
        why = f"{extra} of {len(component.tensors)} tensors are of no layer in config.json; take both from one model"
        raise SettingsError(_unlike(component, why))
    if errors := report.get("error_msgs"):
        raise SettingsError(_unlike(component, str(errors[0])[:300]))


def _unlike(component: Component, why: str) -> str:
    files = f" ({component.files[0].name})" if component.files else ""
    return f"{component.folder}{files} cannot be opened as a {component.kind}: {why}"
