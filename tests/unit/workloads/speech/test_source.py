"""Where the speech-to-text model comes from."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from glowplug.errors import SettingsError, Unreachable
from glowplug.workloads.speech import source
from glowplug.workloads.speech.stt import Stt


def test_an_address_and_a_folder_are_the_platforms_to_fetch_and_read(tmp_path: Path) -> None:
    assert Stt.sources({"source": "s3://models/whisper"}) == {"model": "s3://models/whisper"}
    assert Stt.sources({"source": str(tmp_path)}) == {"model": str(tmp_path)}
    assert Stt.sources({"source": "owner/name"}) == {}
    assert Stt.sources({}) == {}


def test_a_subclass_may_declare_its_weights() -> None:
    class Declared(Stt):
        weights: ClassVar = {"model": "s3://models/other"}

    assert Declared.sources({}) == {"model": "s3://models/other"}


def test_the_package_holds_a_whole_model() -> None:
    folder = source.folder_of("package")
    assert source.checked(folder) == folder


@pytest.mark.parametrize("named", ["/no/such/folder", "./nope", "~/nope-nope", "a/b/c", "what ever", "gigantic"])
def test_a_source_that_is_nothing_is_refused(named: str) -> None:
    with pytest.raises(SettingsError, match="option source="):
        source.folder_of(named)


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Unreachable, match="did not give nobody/nothing"):
        source.folder_of("nobody/nothing")


def test_a_folder_of_something_else_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SettingsError, match=r"has no model\.bin and no tokenizer\.json"):
        source.checked(tmp_path)
