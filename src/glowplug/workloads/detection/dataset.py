"""A data set in YOLO's format, looked through file by file and line by line before anything is trained on it.

    images/train/a.jpg   labels/train/a.txt   data.yaml (names, train, val)
    images/val/b.jpg     labels/val/b.txt     or none: then the folders say it

Roboflow's order (train/images, train/labels) is read too. Nothing outside the root is opened, whatever a data.yaml or
a symbolic link says.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from glowplug.workloads.detection import labels, pictures
from glowplug.workloads.detection.description import Description, described, inferred_names
from glowplug.workloads.detection.report import Report

READERS = 4
BACKGROUND = "picture without a label file"
LABELS_LIE = "the labels of images/a.jpg are looked for in labels/a.txt"

Watch = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture and its label file; without one it shows nothing of the classes."""

    image: Path
    label: Path | None


@dataclass(frozen=True, slots=True)
class CheckedDataset:
    """A data set that can be trained on. `digest` is equal for equal splits, names and labels."""

    names: tuple[str, ...]
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    digest: str
    report: Report = field(default_factory=Report)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Seen:
    """A sample, its path below the root, and what its label file holds."""

    sample: Sample
    shown: str
    read: labels.Read
    picture_wrong: tuple[pictures.Wrong, ...]


def checked(root: Path, *, seed: int = 0, val_share: float = 0.2, watch: Watch | None = None) -> CheckedDataset:
    """Return the data set in `root`, after a look into every file; `watch(done, total)` hears of each picture.

    Without a val split, `val_share` of the training pictures become one, by `seed`.

    Raises:
        InvalidInput: it cannot be trained on; the message lists what is wrong, file by file and line by line.
    """
    report, root = Report(), root.resolve()
    description = described(root, report)
    found = {split: list(_found(root, folders, report)) for split, folders in description.splits.items()}
    classes = None if description.names is None else len(description.names)
    seen: dict[str, list[_Seen]] = {}
    total, done = sum(len(samples) for samples in found.values()), 0
    for split, samples in found.items():
        seen[split] = []
        for one in _looked_at(root, samples, classes):
            _note(one, report)
            seen[split].append(one)
            done += 1
            if watch is not None:
                watch(done, total)
    names = description.names or inferred_names([label.number for one in _all(seen) for label in one.read.labels])
    notes = _completed(seen, seed, val_share)
    _judge(description, names, seen, report)
    report.raise_errors()
    splits = {split: tuple(one.sample for one in samples) for split, samples in seen.items()}
    return CheckedDataset(names, splits["train"], splits["val"], _digest(names, seen), report, notes)


def _found(root: Path, folders: Sequence[str], report: Report) -> Iterator[Sample]:
    paths = (path for folder in folders for path in _files(root, root / folder, report))
    for path in paths:
        if path.suffix.lower() not in pictures.SUFFIXES:
            continue
        label = _label_of(root, path)
        outside = label.is_file() and not label.resolve().is_relative_to(root)
        if outside:
            report.error("path outside the root", _shown(root, label), None, "a link that leads outside")
        yield Sample(path, label if label.is_file() and not outside else None)


def _files(root: Path, folder: Path, report: Report) -> Iterator[Path]:
    """Yield the files below `folder` in order, but no link that leads out of the root."""
    if not folder.resolve().is_relative_to(root):
        report.error("path outside the root", _shown(root, folder), None, "a link that leads outside; copy it")
        return
    for place, inner, files in os.walk(folder):
        inner.sort()
        for name in sorted([*files, *(name for name in inner if Path(place, name).is_symlink())]):
            path = Path(place, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                report.error("path outside the root", _shown(root, path), None, "a link that leads outside; copy it")
            elif path.is_file():
                yield path


def _label_of(root: Path, image: Path) -> Path:
    """Return where the label file of a picture would be: in labels/ instead of the last images/, or beside it."""
    parts = list(image.relative_to(root).with_suffix(".txt").parts)
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return root.joinpath(*parts)


def _looked_at(root: Path, samples: Sequence[Sample], classes: int | None) -> Iterator[_Seen]:
    readers = ThreadPoolExecutor(READERS)
    try:
        yield from readers.map(lambda sample: _look(root, sample, classes), samples)
    finally:
        readers.shutdown(cancel_futures=True)


def _look(root: Path, sample: Sample, classes: int | None) -> _Seen:
    read = labels.Read((), ())
    if sample.label is not None:
        read = labels.read(sample.label, _shown(root, sample.label), classes)
    return _Seen(sample, _shown(root, sample.image), read, tuple(pictures.wrong_with(sample.image)))


def _note(one: _Seen, report: Report) -> None:
    for severity, kind, what in one.picture_wrong:
        (report.error if severity == "error" else report.warning)(kind, one.shown, None, what)
    for finding in one.read.findings:
        report.add(finding)
    if one.sample.label is None:
        report.warning(BACKGROUND, one.shown, None, "has no label file, so it counts as showing nothing of the classes")


def _completed(seen: dict[str, list[_Seen]], seed: int, val_share: float) -> tuple[str, ...]:
    """Make the val split where there is none; returns what is to be said of that."""
    if seen["val"] or len(seen["train"]) < 2:
        return ()
    count = min(max(round(len(seen["train"]) * val_share), 1), len(seen["train"]) - 1)
    taken = set(random.Random(seed).sample(range(len(seen["train"])), count))  # noqa: S311 - a split, no secret
    seen["val"] = [one for number, one in enumerate(seen["train"]) if number in taken]
    seen["train"] = [one for number, one in enumerate(seen["train"]) if number not in taken]
    return (f"no val split: {count} of the training pictures were taken for it, by seed {seed}",)


def _judge(description: Description, names: Sequence[str], seen: dict[str, list[_Seen]], report: Report) -> None:
    """Look at the data set as a whole."""
    shared = {one.shown for one in seen["train"]} & {one.shown for one in seen["val"]}
    if shared:
        what = f"{len(shared)} pictures are trained on too, so that the numbers of val say little"
        report.warning("splits that overlap", description.file, description.line("val"), what)
    for split, samples in seen.items():
        line = description.line(split)
        boxes = Counter(label.number for one in samples for label in one.read.labels)
        polygons = sum(label.polygon for one in samples for label in one.read.labels)
        if not samples:
            report.error("empty split", description.file, line, f"no pictures to {split}; put some into images/{split}")
        elif not boxes and not report.errors:
            what = f"not one box to {split} in {len(samples)} pictures; {LABELS_LIE}"
            report.error("empty split", description.file, line, what)
        elif boxes:
            for number in sorted(set(range(len(names))) - set(boxes)):
                what = f"class {number} ({names[number]}) has no box to {split}"
                report.warning("empty class", description.file, description.line("names"), what)
        if polygons:
            report.warning(
                "polygons", description.file, line, f"{polygons} polygons to {split} are read as their boxes"
            )


def _digest(names: Sequence[str], seen: dict[str, list[_Seen]]) -> str:
    digest = hashlib.sha256(repr(tuple(names)).encode())
    for split, samples in seen.items():
        for one in samples:
            label = b"" if one.sample.label is None else one.sample.label.read_bytes()
            digest.update(repr((split, one.shown, one.sample.image.stat().st_size)).encode() + label)
    return digest.hexdigest()


def _all(seen: dict[str, list[_Seen]]) -> Iterator[_Seen]:
    for samples in seen.values():
        yield from samples


def _shown(root: Path, path: Path) -> str:
    shown = path.relative_to(root).as_posix()
    return shown if shown.isprintable() else repr(shown)
