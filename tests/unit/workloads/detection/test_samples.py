from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from glowplug.workloads.detection.dataset import checked
from glowplug.workloads.detection.samples import NAMES, Recipe, write

FEW = Recipe({"train": 12, "val": 4, "test": 4}, side=64)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_samples_pass_the_check_without_a_word(tmp_path: Path) -> None:
    data = checked(write(tmp_path, FEW))
    assert data.names == NAMES
    assert (len(data.train), len(data.val)) == (12, 4)
    assert list(data.report.lines()) == ["no errors; no warnings"]


def test_the_same_seed_draws_the_same_pictures_and_another_one_others(tmp_path: Path) -> None:
    one, same = (contents(write(tmp_path / name, FEW)) for name in ("one", "same"))
    other = contents(write(tmp_path / "other", Recipe(FEW.pictures, side=64, seed=1)))
    assert one == same
    assert one != other


def test_the_splits_share_no_picture(tmp_path: Path) -> None:
    pictures = [data for name, data in contents(write(tmp_path, FEW)).items() if name.endswith(".png")]
    assert len(set(pictures)) == 20


def test_a_box_holds_its_shape(tmp_path: Path) -> None:
    write(tmp_path, Recipe({"train": 20}, side=64, most_shapes=1))
    for label in sorted((tmp_path / "labels/train").iterdir()):
        _, x, y, wide, high = map(float, label.read_text().split())
        image = Image.open(tmp_path / "images/train" / f"{label.stem}.png")
        middle, corner = image.getpixel((int(x * 64), int(y * 64))), image.getpixel((0, 0))
        assert sum(abs(one - other) for one, other in zip(middle, corner, strict=True)) > 50  # type: ignore[arg-type]
        assert abs(wide - high) < 1e-5


def test_the_command_writes_a_data_set(tmp_path: Path) -> None:
    numbers = ["--train", "2", "--val", "2", "--test", "0", "--side", "48"]
    command = [sys.executable, "-m", "glowplug.workloads.detection.samples", str(tmp_path / "x"), *numbers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == str(tmp_path / "x")
    with Image.open(tmp_path / "x/images/train/0001.png") as image:
        assert image.size == (48, 48)
