"""The measurements for machines with a card say so on a machine without one."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from benchmarks.gpu.__main__ import NO_CARD, main


def test_a_machine_without_a_card_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False)))
    assert main([]) == 3
    assert capsys.readouterr().err.strip() == NO_CARD


def test_a_machine_without_torch_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["--runs", "1"]) == 3
    assert "pip install 'glowplug[diffusion]'" in capsys.readouterr().err
