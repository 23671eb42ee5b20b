"""What a data set says of itself: the class names and where the splits are, from its data.yaml or from its folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from glowplug.workloads.detection.class_names import LONGEST_NAME
from glowplug.workloads.detection.labels import MOST_CLASSES
from glowplug.workloads.detection.report import Report

FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
LARGEST_BYTES = 1 << 20
DEEPEST = 16
UNFIT = "not YAML as it is read here: without aliases (*name), tags (!name) and deep nesting"
NOTHING = ("", "~", "null", "Null", "NULL")
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
"""What the folders of a split are called, the usual name first."""


@dataclass(frozen=True, slots=True)
class Description:
    """Class names (None where nobody said) and the picture folders of each split, relative to the root."""

    file: str
    names: tuple[str, ...] | None
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)

    def line(self, key: str) -> int | None:
        """Return the line of a key in the file."""
        return self.lines.get(key)


def described(root: Path, report: Report) -> Description:
    """Return what the data set in `root` says of itself; what is wrong with that goes into the report."""
    found = [name for name in FILES if (root / name).is_file() and not (root / name).is_symlink()]
    if not found:
        return Description(FILES[0], None, _by_folder(root))
    file = found[0]
    held, lines = _loaded(root / file, file, report)
    names = _names(held, file, lines, report)
    splits = {split: _folders(root, held, split, (file, lines, report)) for split in SPLITS}
    if not any(splits.values()):
        splits = _by_folder(root)
    return Description(file, names, splits, lines)


def _by_folder(root: Path) -> dict[str, tuple[str, ...]]:
    """Find images/train and train/images and the like; pictures in images/ itself are for training."""
    splits: dict[str, tuple[str, ...]] = {}
    for split, names in SPLITS.items():
        usual = [f"images/{name}" for name in names] + [f"{name}/images" for name in names]
        splits[split] = tuple(folder for folder in usual if (root / folder).is_dir())[:1]
    if not splits["train"] and (root / "images").is_dir():
        splits["train"] = ("images",)
    return splits


def _loaded(path: Path, file: str, report: Report) -> tuple[Mapping[str, Any], dict[str, int]]:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            report.error("data.yaml", file, None, f"more than {LARGEST_BYTES} bytes")
            return {}, {}
        text = path.read_text(encoding="utf-8")
        if (line := _unfit(text)) is not None:
            report.error("data.yaml", file, line, UNFIT)
            return {}, {}
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        held = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - makes texts, lists and dicts alone
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error)
        report.error("data.yaml", file, mark.line + 1 if mark else None, f"not YAML: {what}")
        return {}, {}
    if not isinstance(held, dict) or not isinstance(node, yaml.MappingNode):
        report.error("data.yaml", file, 1, "not a mapping with names, train and val")
        return {}, {}
    given = {name: value for name, value in held.items() if value not in NOTHING}
    return given, {str(key.value): key.start_mark.line + 1 for key, _ in node.value}


def _unfit(text: str) -> int | None:
    """Return the line of the first alias or tag, or of deep nesting: such files take minutes or gigabytes."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST or isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            return event.start_mark.line + 1 if event.start_mark is not None else 1
    return None


def _names(held: Mapping[str, Any], file: str, lines: Mapping[str, int], report: Report) -> tuple[str, ...] | None:
    given, line = held.get("names"), lines.get("names")
    if given is None:
        report.warning("names", file, None, "no names; classes are called class_0 and so on")
        return None
    if isinstance(given, dict):
        numbers = [str(number) for number in range(len(given))]
        if set(given) != set(numbers):
            report.error("names", file, line, "the numbers of the names are not 0, 1, 2 and so on")
            return None
        given = [given[number] for number in numbers]
    if not isinstance(given, list) or not given or len(given) > MOST_CLASSES:
        report.error("names", file, line, f"names is not a list of 1 to {MOST_CLASSES} class names")
        return None
    names = tuple(str(name) for name in given)
    if any(not name.strip() or len(name) > LONGEST_NAME or not name.isprintable() for name in names):
        report.error("names", file, line, "a class name is empty, too long or cannot be printed")
    if len(set(names)) < len(names):
        report.warning("names", file, line, "two classes have the same name")
    if "nc" in held and held["nc"] != str(len(names)):
        told = f"nc is {str(held['nc'])[:20]}, but there are {len(names)} names"
        report.error("names", file, lines.get("nc"), told)
    return names


def _folders(
    root: Path, held: Mapping[str, Any], split: str, at: tuple[str, Mapping[str, int], Report]
) -> tuple[str, ...]:
    file, lines, report = at
    key = next((key for key in SPLITS[split] if held.get(key)), split)
    given = held.get(key)
    folders = []
    for text in given if isinstance(given, list) else [given] if given else []:
        base = held.get("path") or "."
        folder, wrong = _inside(root, base if isinstance(base, str) else ".", text)
        if wrong:
            kind = "path outside the root" if "outside" in wrong else "split"
            report.error(kind, file, lines.get(key), f"{key}: {wrong}")
        else:
            folders.append(folder)
    return tuple(folders)


def _inside(root: Path, base: str, text: object) -> tuple[str, str]:
    """Return the folder that `text` names below the root, or what is wrong with it."""
    if not isinstance(text, str) or not text.isprintable():
        return "", "not the name of a folder"
    if text.endswith(".txt"):
        return "", f"{text[:80]!r} is a list of files; name a folder of pictures"
    # `path` often is the absolute path on the machine where the data set was made, which says nothing here.
    parts = [*(() if base.startswith("/") else PurePosixPath(base).parts), *PurePosixPath(text).parts]
    plain = [part for part in parts if part not in (".", "..", "/")]
    if text.startswith(("/", "\\", "~")) or ".." in parts or ":" in text:
        inner = "/".join(plain[-2:])
        hint = f"; write {inner}" if inner and (root / inner).is_dir() else ""
        return "", f"{text[:80]!r} lies outside the data set{hint}"
    if not (root / "/".join(plain)).is_dir():
        return "", f"there is no folder {'/'.join(plain)[:80]!r}"
    return "/".join(plain) or ".", ""


def inferred_names(numbers: Sequence[int]) -> tuple[str, ...]:
    """Return names for classes that nobody named."""
    return tuple(f"class_{number}" for number in range(max(numbers, default=-1) + 1))
