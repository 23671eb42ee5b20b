"""Parts whose libraries are extras: nothing is imported before it is used, and what is missing is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from glowplug.errors import MissingExtra
from glowplug.workloads.extras import Deferred


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> Deferred:
    (folder / f"{name}.py").write_text(text)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return Deferred(name, "digits-train", "digits.train")


def test_a_deferred_part_is_imported_at_its_first_use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = write(folder, "deferred_part_one", "answer = 42\n", monkeypatch)
    assert "deferred_part_one" not in sys.modules
    assert part.answer == 42
    assert "deferred_part_one" in sys.modules


def test_a_missing_library_is_told_as_the_install_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = write(folder, "deferred_part_two", "import a_library_that_nobody_has\n", monkeypatch)
    with pytest.raises(MissingExtra) as caught:
        _ = part.answer
    assert caught.value.message == "digits.train needs an extra: pip install 'glowplug[digits-train]'"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_missing_module_of_our_own_is_no_missing_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = write(folder, "deferred_part_three", "import glowplug.no_such_module\n", monkeypatch)
    with pytest.raises(ModuleNotFoundError):
        _ = part.answer


def test_a_name_that_the_part_lacks_is_an_attribute_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = write(folder, "deferred_part_four", "answer = 42\n", monkeypatch)
    with pytest.raises(AttributeError, match="question"):
        _ = part.question
