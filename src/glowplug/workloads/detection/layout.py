"""A checked data set as the engines read it: pictures and labels side by side, as links, with a data.yaml."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from glowplug.errors import SettingsError
from glowplug.workloads.detection.dataset import CheckedDataset, Sample


def laid_out(data: CheckedDataset, folder: Path) -> Path:
    """Write the links below `folder`, which must not be there yet; returns the data.yaml.

    Links are numbered: the names of a data set may clash once its splits were made here. What the check did not look
    at is not linked, so that an engine sees nothing else.

    Raises:
        SettingsError: engines would look elsewhere for the labels.
    """
    if "images" in folder.parts:
        # They look for the labels of a/images/b in a/labels/b, wherever in a path that stands.
        raise SettingsError(f"no folder above {folder} may be called 'images'; move the data folder")
    for split, samples in (("train", data.train), ("val", data.val)):
        _link(samples, folder / split)
    described = folder / "data.yaml"
    names = json.dumps(list(data.names))
    described.write_text(f"path: {json.dumps(str(folder))}\ntrain: train\nval: val\nnames: {names}\n")
    return described


def _link(samples: Sequence[Sample], folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, sample in enumerate(samples):
        stem = f"{number:07}"
        (folder / f"{stem}{sample.image.suffix.lower()}").symlink_to(sample.image.resolve())
        if sample.label is not None:
            (folder / f"{stem}.txt").symlink_to(sample.label.resolve())
