from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.workloads.detection.folders import BOX, NAMES, picture, write

from glowplug.errors import InvalidInput
from glowplug.workloads.detection import pictures
from glowplug.workloads.detection.dataset import CheckedDataset, checked


def refused(root: Path) -> list[str]:
    """Return the lines of the refusal, after the summary."""
    with pytest.raises(InvalidInput) as caught:
        checked(root)
    return caught.value.message.split("\n")


def warned(root: Path) -> list[str]:
    return [str(finding) for finding in checked(root).report.warnings]


def stems(data: CheckedDataset) -> tuple[list[str], list[str]]:
    return [one.image.stem for one in data.train], [one.image.stem for one in data.val]


def test_a_good_data_set_is_read_without_a_word(tmp_path: Path) -> None:
    data = checked(write(tmp_path))
    assert data.names == ("circle", "square")
    assert stems(data) == (["a", "b"], ["c"])
    assert list(data.report.lines()) == ["no errors; no warnings"]
    assert data.notes == ()
    assert all(sample.label is not None for sample in data.train)


def test_each_picture_is_told_of_once_it_is_checked(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    checked(write(tmp_path), watch=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_what_the_watcher_raises_ends_the_check(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checked(write(tmp_path), watch=stop)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("0 0.5 0.5 0.2", "4 columns; a box has 5: class x y width height"),
        ("0 0.5 0.5 0.2 0.2 0.1", "6 columns; a box has 5: class x y width height"),
        ("2 0.5 0.5 0.2 0.2", "class 2 has no name; the last class is 1"),
        ("-1 0.5 0.5 0.2 0.2", "'-1' is not the number of a class"),
        ("0.5 0.5 0.5 0.2 0.2", "'0.5' is not the number of a class"),
        ("99999999999999999999 0.5 0.5 0.2 0.2", "'99999999999999999999' is not the number of a class"),
        ("0 nan 0.5 0.2 0.2", "'nan' is not a number"),
        ("0 inf 0.5 0.2 0.2", "'inf' is not a number"),
        ("0 left 0.5 0.2 0.2", "'left' is not a number"),
        ("0 0.5 0.5 0.2 0.2_1", "'0.2_1' is not a number"),
        ("0 80 0.5 0.2 0.2", "80 is not from 0 to 1; divide pixels by the picture's size"),
        ("0 -0.5 0.5 0.2 0.2", "-0.5 is not from 0 to 1; divide pixels by the picture's size"),
        ("0 0.5 0.5 0 0.2", "the width or the height is not above 0"),
        ("0 0.1 0.1 0.9 0.1 2 0.9", "2 is not from 0 to 1; divide pixels by the picture's size"),
    ],
)
def test_a_wrong_line_is_named_with_its_file_and_number(tmp_path: Path, line: str, what: str) -> None:
    root = write(tmp_path, {"train/a": BOX, "val/b": f"{BOX}\n{line}\n"})
    assert refused(root)[1:] == [f"labels/val/b.txt:4: error: {what}"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("0 0.5 0.5 0.2 0.2", "the same as line 1"),
        ("1 0.95 0.5 0.2 0.2", "the box reaches beyond the picture and is cut off there"),
    ],
)
def test_an_odd_line_is_warned_of_and_taken(tmp_path: Path, line: str, what: str) -> None:
    root = write(tmp_path, {"train/a": f"{BOX}{line}\n", "val/b": BOX})
    assert warned(root) == [f"labels/train/a.txt:3: warning: {what}"]


def test_polygons_are_taken_as_their_boxes_and_counted(tmp_path: Path) -> None:
    root = write(tmp_path, {"train/a": f"{BOX}0 0.1 0.1 0.9 0.1 0.5 0.9\n", "val/b": BOX})
    assert warned(root) == ["data.yaml: warning: 1 polygons to train are read as their boxes"]


def test_a_picture_without_a_label_file_is_warned_of_as_background(tmp_path: Path) -> None:
    root = write(tmp_path, {"train/a": BOX, "train/b": None, "val/c": BOX})
    data = checked(root)
    assert [sample.label for sample in data.train][1] is None
    assert warned(root) == [
        "images/train/b.png: warning: has no label file, so it counts as showing nothing of the classes"
    ]


def test_an_empty_label_file_says_that_nothing_is_there(tmp_path: Path) -> None:
    assert warned(write(tmp_path, {"train/a": BOX, "train/b": "\n", "val/c": BOX})) == []


def test_pictures_without_any_label_cannot_be_trained_on(tmp_path: Path) -> None:
    root = write(tmp_path, {"train/a": None, "train/b": None, "val/c": BOX})
    (told,) = refused(root)[1:]
    assert told.startswith(
        "data.yaml: error: not one box to train in 2 pictures; the labels of images/a.jpg are looked"
    )


def test_a_class_without_a_box_is_warned_of_in_each_split(tmp_path: Path) -> None:
    root = write(tmp_path, {"train/a": "0 0.5 0.5 0.2 0.2\n", "val/b": "0 0.5 0.5 0.2 0.2\n"})
    assert warned(root) == [
        "data.yaml:1: warning: class 1 (square) has no box to train",
        "data.yaml:1: warning: class 1 (square) has no box to val",
    ]


def test_a_label_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "labels/train/a.txt").write_bytes(b"\xff\xfe0\x00")
    assert refused(root)[1].startswith("labels/train/a.txt: error: not UTF-8")


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"not a picture at all", b"\x89PNG\r\n\x1a\n"])
def test_a_broken_picture_is_an_error(tmp_path: Path, data: bytes) -> None:
    root = write(tmp_path)
    (root / "images/train/a.png").write_bytes(data)
    assert refused(root)[1].startswith("images/train/a.png: error: ")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_picture_that_is_cut_off_is_an_error(tmp_path: Path, suffix: str) -> None:
    root = write(tmp_path)
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    path = root / f"images/train/d.{suffix}"
    noise.save(path)
    path.write_bytes(path.read_bytes()[:-400])
    assert refused(root)[1].startswith(f"images/train/d.{suffix}: error: broken")


def test_a_kind_of_tiff_that_engines_cannot_read_is_an_error(tmp_path: Path) -> None:
    root = write(tmp_path)
    Image.new("RGB", (16, 16)).save(root / "images/train/d.tif", compression="zstd")
    assert "images/train/d.tif: error: a TIFF of a kind that training cannot read; save it as PNG" in refused(root)


def test_a_picture_that_would_be_nothing_once_it_is_made_small_is_an_error(tmp_path: Path) -> None:
    root = write(tmp_path)
    Image.new("RGB", (9000, 8)).save(root / "images/train/a.png")
    assert refused(root)[1] == "images/train/a.png: error: 9000 x 8 pixels; one side may be 32 times the other"


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "LARGEST_PIXELS", 100)
    assert refused(write(tmp_path))[1] == "images/train/a.png: error: 16 x 16 pixels, more than 100"


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    assert refused(write(tmp_path))[1] == "images/train/a.png: error: more than 80000000 pixels"


def test_a_picture_of_a_few_pixels_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path)
    picture(root / "images/val/c.png", side=4)
    assert refused(root)[1] == "images/val/c.png: error: 4 x 4 pixels; 8 on a side are the least"


def test_a_picture_that_its_exif_data_turns_is_warned_of(tmp_path: Path) -> None:
    root = write(tmp_path)
    image = Image.new("RGB", (16, 24))
    exif = image.getexif()
    exif[pictures.ORIENTATION] = 6
    image.save(root / "images/train/a.jpg", exif=exif)
    turned = next(
        line for line in warned(root) if line.startswith("images/train/a.jpg: warning: is turned by its EXIF")
    )
    assert turned.endswith("which training does not follow, but with engine=ultralytics it does; store it upright")


def test_a_link_that_leads_outside_is_an_error_and_is_not_opened(tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    picture(tmp_path / "secret.png")
    (root / "images/train/x.png").symlink_to(tmp_path / "secret.png")
    (root / "images/train/y").symlink_to(tmp_path)
    (root / "labels/train/b.txt").unlink()
    (root / "labels/train/b.txt").symlink_to("/etc/passwd")
    assert sorted(refused(root)[1:]) == [
        "images/train/x.png: error: a link that leads outside; copy it",
        "images/train/y: error: a link that leads outside; copy it",
        "labels/train/b.txt: error: a link that leads outside",
    ]


def test_a_link_within_the_root_is_followed(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "images/val/d.png").symlink_to(root / "images/train/a.png")
    (root / "labels/val/d.txt").write_text(BOX)
    assert stems(checked(root))[1] == ["c", "d"]


@pytest.mark.parametrize(
    ("train", "hint"),
    [
        ("../images/train", "; write images/train"),
        ("/etc", ""),
        ("images/../../x", ""),
        ("C:/data", ""),
        ("~/data", ""),
    ],
)
def test_a_split_outside_the_root_is_an_error_at_its_line(tmp_path: Path, train: str, hint: str) -> None:
    root = write(tmp_path, yaml=f"{NAMES}train: {json.dumps(train)}\nval: images/val\n")
    assert refused(root)[1] == f"data.yaml:2: error: train: {train!r} lies outside the data set{hint}"


def test_an_absolute_path_of_the_machine_where_the_set_was_made_says_nothing(tmp_path: Path) -> None:
    root = write(tmp_path, yaml=f"path: /home/somebody/set\ntrain: images/train\nval: images/val\n{NAMES}")
    assert stems(checked(root)) == (["a", "b"], ["c"])


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("names: [", "data.yaml:1: error: not YAML"),
        ("- a\n- b\n", "data.yaml:1: error: not a mapping with names, train and val"),
        ("x: 1\nnames: 7\n", "data.yaml:2: error: names is not a list of 1 to 10000 class names"),
        ("names: []\n", "data.yaml:1: error: names is not a list of 1 to 10000 class names"),
        ("names: {0: a, 2: b}\n", "data.yaml:1: error: the numbers of the names are not 0, 1, 2 and so on"),
        ("names: {0: a, cat: b}\n", "data.yaml:1: error: the numbers of the names are not 0, 1, 2 and so on"),
        ("names: ['', b]\n", "data.yaml:1: error: a class name is empty, too long or cannot be printed"),
        ("names: [a, b]\nnc: 3\n", "data.yaml:2: error: nc is 3, but there are 2 names"),
        ("names: [a, b]\ntrain: list.txt\n", "data.yaml:2: error: train: 'list.txt' is a list of files"),
        ("names: [a, b]\ntrain: nowhere\n", "data.yaml:2: error: train: there is no folder 'nowhere'"),
        ("names: [a, b]\ntrain: 7\n", "data.yaml:2: error: train: there is no folder '7'"),
        ("names: [a, b]\ntrain: {a: b}\n", "data.yaml:2: error: train: not the name of a folder"),
        ("names: [a, b]\nnc: 0xffff\n", "data.yaml:2: error: nc is 0xffff, but there are 2 names"),
        (f"x: 1\nnames: {'[' * 100_000}\n", "data.yaml:2: error: not YAML as it is read here"),
        ("a: &a [x]\nnames: [a, *a]\n", "data.yaml:2: error: not YAML as it is read here"),
        ("a: &a {x: 1}\nb: {<<: [*a, *a]}\n", "data.yaml:2: error: not YAML as it is read here"),
        ("names: !!python/object/apply:os.system [ls]\n", "data.yaml:1: error: not YAML"),
    ],
)
def test_a_wrong_description_is_an_error_at_its_line(tmp_path: Path, yaml: str, said: str) -> None:
    assert any(line.startswith(said) for line in refused(write(tmp_path, yaml=yaml)))


def test_names_may_be_numbered(tmp_path: Path) -> None:
    assert checked(write(tmp_path, yaml="names:\n  1: square\n  0: circle\n")).names == ("circle", "square")


def test_without_a_description_folders_and_labels_say_it(tmp_path: Path) -> None:
    data = checked(write(tmp_path, yaml=None))
    assert data.names == ("class_0", "class_1")
    assert stems(data) == (["a", "b"], ["c"])


def test_the_order_of_folders_that_roboflow_writes_is_read_too(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        picture(tmp_path / split / "images/a.png")
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels/a.txt").write_text(BOX)
    (tmp_path / "data.yaml").write_text(f"train: train/images\nval: valid/images\n{NAMES}")
    assert warned(tmp_path) == []


def test_without_a_val_split_one_is_made_by_seed_and_said(tmp_path: Path) -> None:
    root = write(tmp_path, {f"train/{number:02}": BOX for number in range(20)})
    one, same, other = checked(root, seed=1), checked(root, seed=1), checked(root, seed=2)
    assert (len(one.train), len(one.val)) == (16, 4)
    assert stems(one) == stems(same)
    assert stems(one) != stems(other)
    assert not set(stems(one)[0]) & set(stems(one)[1])
    assert one.notes == ("no val split: 4 of the training pictures were taken for it, by seed 1",)


def test_pictures_that_lie_in_images_itself_are_for_training(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"images/{name}.png")
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / f"labels/{name}.txt").write_text(BOX)
    assert [len(samples) for samples in stems(checked(tmp_path))] == [1, 1]


def test_an_empty_folder_is_told_what_it_lacks(tmp_path: Path) -> None:
    assert refused(tmp_path)[1:] == [
        f"data.yaml: error: no pictures to {split}; put some into images/{split}" for split in ("train", "val")
    ]


def test_a_long_report_is_bounded_and_counts_the_rest(tmp_path: Path) -> None:
    root = write(tmp_path, {"train/a": "0 0.5 0.5 0.2\n" * 30 + "9 0.5 0.5 0.2 0.2\n", "val/b": BOX})
    lines = refused(root)
    assert lines[0] == "dataset: 31 errors: wrong columns 30, unknown class"
    assert len(lines) == 22
    assert lines[-1] == "and 11 more"


def test_the_digest_follows_labels_names_and_splits(tmp_path: Path) -> None:
    root = write(tmp_path)
    digests = [checked(root).digest, checked(root).digest]
    (root / "labels/train/a.txt").write_text("0 0.5 0.5 0.3 0.2\n1 0.2 0.2 0.1 0.1\n")
    digests.append(checked(root).digest)
    (root / "data.yaml").write_text('names: ["disc", "square"]\n')
    digests.append(checked(root).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_class_names_are_read_as_they_are_written(tmp_path: Path) -> None:
    data = checked(write(tmp_path, yaml="names: [no, 0x10, 1:30]\nval: null\ntest:\n"))
    assert data.names == ("no", "0x10", "1:30")


def test_a_label_file_of_nothing_but_wrong_lines_is_not_read_to_its_end(tmp_path: Path) -> None:
    root = write(tmp_path, {"train/a": "a\n" * 5000, "val/b": BOX})
    with pytest.raises(InvalidInput) as caught:
        checked(root)
    assert caught.value.message.startswith("dataset: 1001 errors: wrong columns 1000, hopeless label file")


def test_a_crowd_of_odd_lines_is_read_to_its_end(tmp_path: Path) -> None:
    root = write(tmp_path, {"train/a": "0 0.5 0.5 0.2 0.2\n" * 2000, "val/b": BOX})
    assert checked(root).report.counts["warning", "box twice"] == 1999


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_lines_end_as_on_windows_or_as_on_old_macs(tmp_path: Path, end: str) -> None:
    root = write(tmp_path)
    (root / "labels/train/a.txt").write_bytes((BOX + "0 0.3 0.3 0.1 0.1\n").replace("\n", end).encode())
    assert warned(root) == []


def test_a_byte_order_mark_is_told_as_such(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "labels/train/a.txt").write_bytes(b"\xef\xbb\xbf" + BOX.encode())
    assert refused(root)[1:] == ["labels/train/a.txt:1: error: begins with a byte order mark; save it without"]


@pytest.mark.parametrize("inner", ["labels/train", "images/train", "images"])
def test_a_folder_that_is_a_link_leading_outside_is_not_opened(tmp_path: Path, inner: str) -> None:
    root, elsewhere = write(tmp_path / "set"), write(tmp_path / "elsewhere")
    shutil.rmtree(root / inner)
    (root / inner).symlink_to(elsewhere / inner)
    assert "a link that leads outside" in refused(root)[1]


def test_pictures_that_are_in_both_splits_are_warned_of(tmp_path: Path) -> None:
    root = write(tmp_path, yaml=f"{NAMES}train: images/train\nval: images/train\n")
    assert warned(root) == [
        "data.yaml:3: warning: 2 pictures are trained on too, so that the numbers of val say little"
    ]
