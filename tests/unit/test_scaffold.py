"""The first model of a newcomer is one that works."""

from __future__ import annotations

import ast
import importlib.util
import re
import stat
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from glowplug.errors import SettingsError
from glowplug.scaffold import write_model


def loaded(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"written_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Context:
    """Stands in for both contexts of a model."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def stage(self, name: str) -> Any:
        assert name
        return nullcontext()

    def check(self) -> None:
        """Never canceled."""

    def progress(self, done: int, total: int) -> None:
        self.steps.append((done, total))


def test_it_is_a_class_that_loads_and_greets(tmp_path: Path) -> None:
    model, context = loaded(write_model("captioner", tmp_path)).Captioner(), Context()
    model.load(context)
    assert model.greet(context, name="Ada", times=2) == "Hello, Ada! Hello, Ada!"
    assert context.steps == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("name", "file", "title"),
    [
        ("captioner", "captioner.py", "Captioner"),
        ("My Model", "my_model.py", "MyModel"),
        ("  image-to-text ", "image_to_text.py", "ImageToText"),
        ("Net2", "net2.py", "Net2"),
    ],
)
def test_any_readable_name_becomes_a_file_and_a_class(tmp_path: Path, name: str, file: str, title: str) -> None:
    path = write_model(name, tmp_path)
    assert path == tmp_path / file
    classes = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    assert classes == [title]


def test_the_file_says_how_to_run_it_with_its_own_name(tmp_path: Path) -> None:
    text = write_model("My Model", tmp_path).read_text()
    assert "glowplug up my_model.py --reload" in text
    assert re.search(r"glowplug run mymodel\.greet", text)


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    assert write_model("../escape/..", tmp_path) == tmp_path / "escape.py"


@pytest.mark.parametrize("name", ["", "  ", "2fast", "class", "!!!"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="cannot name a model"):
        write_model(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "captioner.py").write_text("precious")
    with pytest.raises(SettingsError, match="there already"):
        write_model("captioner", tmp_path)
    assert (tmp_path / "captioner.py").read_text() == "precious"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot write"):
        write_model("captioner", tmp_path / "none")


def test_the_file_is_plain_text_for_an_editor(tmp_path: Path) -> None:
    path = write_model("captioner", tmp_path)
    assert path.read_text().endswith("\n")
    assert "\t" not in path.read_text()
    assert not path.stat().st_mode & stat.S_IXUSR
