"""A target names a model; one that does not gets one clear line."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glowplug.errors import SettingsError
from glowplug.process.target import resolve

ONE = "from glowplug import Model\nclass One(Model):\n    pass\n"
TWO = ONE + "class Two(Model):\n    pass\n"


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Importing a target changes the path and the modules: put both back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(tmp_path: Path, name: str, text: str) -> str:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_file_with_one_model_needs_no_name(tmp_path: Path) -> None:
    assert resolve(write(tmp_path, "a_model.py", ONE)).__name__ == "One"


def test_a_file_and_a_class(tmp_path: Path) -> None:
    assert resolve(write(tmp_path, "a_model.py", TWO) + ":Two").__name__ == "Two"


def test_a_module_is_looked_for_in_the_folder_we_are_in(tmp_path: Path) -> None:
    write(tmp_path, "a_package/__init__.py", "")
    write(tmp_path, "a_package/inside.py", TWO)
    assert resolve("a_package.inside:One").__name__ == "One"


def test_a_model_that_is_only_imported_counts_where_there_is_no_own(tmp_path: Path) -> None:
    write(tmp_path, "a_package/inside.py", ONE)
    write(tmp_path, "a_package/__init__.py", "from a_package.inside import One\n")
    assert resolve("a_package").__name__ == "One"


def test_own_models_go_before_imported_ones(tmp_path: Path) -> None:
    write(tmp_path, "base_model.py", ONE)
    mine = "from base_model import One\nclass Mine(One):\n    pass\n"
    assert resolve(write(tmp_path, "my_model.py", mine)).__name__ == "Mine"


def test_a_file_finds_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "elsewhere/a_neighbour.py", "VALUE = 1\n")
    target = write(tmp_path, "elsewhere/a_model.py", "import a_neighbour\n" + ONE)
    assert resolve(target).__name__ == "One"


@pytest.mark.parametrize("name", ["json.py", "my-model.py", "glowplug.py"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    assert resolve(write(tmp_path, f"models/{name}", ONE)).__name__ == "One"


def test_an_entry_point_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "an_installed_model.py", ONE)
    monkeypatch.syspath_prepend(str(tmp_path))
    points = importlib.metadata.EntryPoints(
        [importlib.metadata.EntryPoint("captioner", "an_installed_model:One", "glowplug.models")]
    )
    monkeypatch.setattr(importlib.metadata, "entry_points", points.select)
    assert resolve("captioner").__name__ == "One"


@pytest.mark.parametrize(
    ("text", "suffix", "said"),
    [
        ("x = 1\n", "", "no subclass of glowplug.Model in it; write `class MyModel(Model): ...`"),
        ("from glowplug import Model\n", "", "no subclass of glowplug.Model in it"),
        (TWO, "", "more than one model in it; name one: {target}:One, {target}:Two"),
        (ONE, ":Three", "there is no Three in it; name one: One"),
        ("class One: pass\n", ":One", "not a subclass of glowplug.Model"),
        ("from glowplug import Model\n", ":Model", "not a subclass of glowplug.Model"),
        ("def broken(:\n", "", "{target}:1: syntax error: invalid syntax"),
        ("x = 1\nclass A(\n", "", "{target}:2: syntax error: '(' was never closed"),
    ],
)
def test_a_file_that_names_no_model_is_refused_clearly(tmp_path: Path, text: str, suffix: str, said: str) -> None:
    target = write(tmp_path, "a_model.py", text)
    with pytest.raises(SettingsError) as refused:
        resolve(target + suffix)
    assert said.format(target=target) in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("not_there.py", "no such file: not_there.py"),
        ("not_there.at_all:Model", "no module named 'not_there.at_all'"),
        ("not_there", "no model, entry point or module named 'not_there'"),
        ("json.not_there", "no module named 'json.not_there'"),
        ("", "not a target: ''"),
        (".relative", "not a target: '.relative'"),
        ("s3://bucket/x", "not a target: 's3://bucket/x'"),
        ("json", "no subclass of glowplug.Model"),
    ],
)
def test_a_target_that_is_nothing_is_refused_clearly(target: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        resolve(target)
    assert said in refused.value.message


def test_a_library_that_the_target_misses_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_there"):
        resolve(write(tmp_path, "a_model.py", "import a_library_that_is_not_there\n"))


def test_what_the_target_raises_passes_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        resolve(write(tmp_path, "a_model.py", "1 / 0\n"))
