"""A pipeline folder looked over before anything is loaded: its components, their files, and what is wrong with them.

Reads `model_index.json`, the configs and the headers of the weights, with the standard library alone: it takes
milliseconds, so that a bad folder is told before minutes of reading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from glowplug.errors import SettingsError
from glowplug.workloads.diffusion.bounds import check_numbers
from glowplug.workloads.diffusion.headers import Header, Tensor

INDEX = "model_index.json"
CONFIG, SCHEDULER, TOKENIZER = "config.json", "scheduler_config.json", "tokenizer_config.json"
STEMS = ("diffusion_pytorch_model", "model")
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_FILE = re.compile(r"[\w.+-]+\.safetensors")
_NAME = re.compile(r"\w+")
SAFE = "use a safetensors version of it, or convert it once where it may do no harm"


@dataclass(frozen=True)
class Component:
    """One part of a pipeline. Tokenizers and schedulers have no `headers`: they hold no weights."""

    name: str
    library: str
    kind: str
    folder: Path
    config: Mapping[str, Any]
    variant: str | None = None
    headers: tuple[Header, ...] = ()

    @property
    def has_weights(self) -> bool:
        """Say whether it is a network."""
        return bool(self.headers)

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files of its weights."""
        return tuple(header.path for header in self.headers)

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """Return every tensor by name."""
        return {name: tensor for header in self.headers for name, tensor in header.tensors.items()}

    @property
    def size_bytes(self) -> int:
        """Return what its weights take on the disk."""
        return sum(header.size_bytes for header in self.headers)

    @property
    def elements(self) -> int:
        """Return how many numbers its weights are."""
        return sum(tensor.elements for tensor in self.tensors.values())

    @property
    def largest(self) -> int:
        """Return how many numbers its largest tensor holds."""
        return max((tensor.elements for tensor in self.tensors.values()), default=0)

    @property
    def dtype(self) -> str | None:
        """Return the type of all its numbers, or None if they are of several."""
        kinds = {tensor.dtype for tensor in self.tensors.values() if "loat" in tensor.dtype}
        return kinds.pop() if len(kinds) == 1 else None


@dataclass(frozen=True, slots=True)
class Survey:
    """What a folder holds: the class of its pipeline, the components in their order, and its other settings."""

    folder: Path
    kind: str
    components: Mapping[str, Component]
    absent: tuple[str, ...]
    settings: Mapping[str, Any]

    @property
    def networks(self) -> tuple[Component, ...]:
        """Return the components that have weights."""
        return tuple(component for component in self.components.values() if component.has_weights)

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files of all weights."""
        return tuple(path for component in self.networks for path in component.files)

    @property
    def dtype(self) -> str | None:
        """Return the type that most of the numbers have on the disk."""
        amounts: dict[str, int] = {}
        for component in self.networks:
            for tensor in component.tensors.values():
                amounts[tensor.dtype] = amounts.get(tensor.dtype, 0) + tensor.elements
        return max(amounts, key=lambda kind: amounts[kind]) if amounts else None


def surveyed(folder: Path, variant: str | None = None) -> Survey:
    """Look over the pipeline in `folder`; of each component the files of `variant` are taken, where it has them.

    Raises:
        SettingsError: it is no pipeline folder, or a file of it is missing, truncated or pickled; the message names it.
    """
    index = _index(folder)
    kind = index.get("_class_name")
    if not isinstance(kind, str):
        raise SettingsError(f"{folder / INDEX} names no pipeline of diffusers; pipelines with own code are not opened")
    components: dict[str, Component] = {}
    absent: list[str] = []
    settings: dict[str, Any] = {}
    for name, value in index.items():
        if name.startswith("_"):
            continue
        if not _is_pair(value):
            settings[name] = value
        elif value[0] is None:
            absent.append(name)
        else:
            components[name] = _component(folder, name, str(value[0]), str(value[1]), variant)
    return Survey(folder, kind, components, tuple(absent), settings)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`. Raises `SettingsError` if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is damaged: it is not JSON; fetch it again") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path} is damaged: it is not a JSON object; fetch it again")
    return found


def _index(folder: Path) -> dict[str, Any]:
    if (folder / INDEX).is_file():
        return read_json(folder / INDEX)
    what = "is not a folder" if not folder.is_dir() else _instead(folder)
    raise SettingsError(f"{folder} {what}; a pipeline folder of diffusers holds {INDEX}")


def _instead(folder: Path) -> str:
    """Say what `folder` is, not being a pipeline."""
    inner = sorted(path.parent.name for path in folder.glob(f"*/{INDEX}"))
    if inner:
        return f"is no pipeline itself, but {', '.join(inner[:3])} in it is"
    if (folder / CONFIG).is_file():
        return "holds a single model, not a pipeline"
    if any(folder.glob("*.safetensors")):
        return "holds a single-file checkpoint: open it with from_single_file of diffusers once, and save_pretrained"
    pickled = _pickled(folder)
    return f"holds {pickled[0]}: pickles are never opened; {SAFE}" if pickled else "is no pipeline"


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(part is None or isinstance(part, str) for part in value)


def _component(folder: Path, name: str, library: str, kind: str, variant: str | None) -> Component:
    place = folder / name
    if not _NAME.fullmatch(name) or (place / f"{library}.py").exists():
        raise SettingsError(f"{folder / INDEX}: component {name[:40]!r} brings code of its own, which is not run")
    if not place.is_dir():
        raise SettingsError(f"{place} is missing, which {INDEX} names ({kind}); fetch the folder again")
    if not (place / CONFIG).is_file():
        if not any(place.glob("*.json")):
            raise SettingsError(f"{place} holds no configuration of a {kind}; fetch the folder again")
        for file in (SCHEDULER, TOKENIZER) if kind.startswith("CLIP") else (SCHEDULER,):
            # Only CLIP's prompts are filled up to the length that a tokenizer says; others' say that there is none.
            if (place / file).is_file():
                check_numbers(place / file, read_json(place / file))
        return Component(name, library, kind, place, {})
    config = read_json(place / CONFIG)
    if library == "diffusers" and config.get("_class_name", kind) != kind:
        told = f"{place / CONFIG} is of a {config['_class_name']}, where {INDEX} names a {kind}"
        raise SettingsError(f"{told}: these are parts of different models")
    # Feature extractors have such a config too, and no weights.
    if kind.endswith(("Processor", "Extractor", "Tokenizer", "TokenizerFast")):
        check_numbers(place / CONFIG, config)
        return Component(name, library, kind, place, config)
    paths, used = _weights(place, kind, variant)
    found = Component(name, library, kind, place, config, used, tuple(Header.of(path) for path in paths))
    check_numbers(place / CONFIG, config, found.elements)
    _check_types(found)
    return found


def _check_types(component: Component) -> None:
    for header in component.headers:
        for name, tensor in header.tensors.items():
            # Without what belongs to them they would be taken for plain numbers.
            if name.endswith("weight") and not tensor.is_float:
                told = f"{header.path}: {name} is of the type {tensor.dtype}, as quantised weights are"
                raise SettingsError(f"{told}; use a version in bfloat16, float16 or float32")


def _weights(place: Path, kind: str, variant: str | None) -> tuple[Sequence[Path], str | None]:
    """Return the files of the weights, and the variant that they are of."""
    for wanted, stem in product(dict.fromkeys((variant, None, *_variants(place))), STEMS):
        middle = f".{wanted}" if wanted else ""
        single = place / f"{stem}{middle}.safetensors"
        # Both spellings are found in the wild.
        for index in (place / f"{stem}.safetensors.index{middle}.json", place / f"{single.name}.index.json"):
            if index.is_file():
                return _shards(index), wanted
        if single.is_file():
            return [single], wanted
    pickled = _pickled(place)
    if pickled:
        raise SettingsError(f"{place} holds its weights as {pickled[0]} only: pickles are never opened; {SAFE}")
    raise SettingsError(f"{place} holds no weights of a {kind}: a file {STEMS[0]}.safetensors or model.safetensors")


def _variants(place: Path) -> Iterable[str]:
    """Name the variants that are there; one is taken without being asked for where nothing else is."""
    names = {path.name.split(".")[1] for path in place.glob("*.safetensors") if path.name.count(".") > 1}
    return sorted(name.partition("-")[0] for name in names)


def _shards(index: Path) -> list[Path]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise SettingsError(f"{index} is damaged: it names no files; fetch it again")
    names = sorted({str(name) for name in places.values()})
    for name in names:
        if not _FILE.fullmatch(name):
            raise SettingsError(f"{index} names {name[:60]!r}, which is no safetensors file beside it")
        if not (index.parent / name).is_file():
            raise SettingsError(f"{index.parent / name} is missing, a part of the weights ({len(names)} files)")
    return [index.parent / name for name in names]


def _pickled(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.suffix in PICKLES) if place.is_dir() else []
