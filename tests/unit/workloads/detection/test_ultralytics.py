"""Ultralytics is for those who install it themselves: here it is not, and that is said together with its licence."""

from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.errors import InvalidInput, MissingExtra, SettingsError
from glowplug.load_context import LoadContext
from glowplug.workloads.detection import ultralytics_engine
from glowplug.workloads.detection.model import Detector
from glowplug.workloads.detection.ultralytics_engine import Network, UltralyticsEngine, chosen, installed


@pytest.fixture(autouse=True)
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it absent also where somebody has it."""
    monkeypatch.setattr(ultralytics_engine.importlib.util, "find_spec", lambda name: None)


def test_without_it_the_load_ends_with_the_command_and_the_licence() -> None:
    with pytest.raises(
        MissingExtra, match=r"pip install ultralytics\. Its licence, AGPL-3\.0, reaches your program too"
    ):
        Detector().load(LoadContext(options={"engine": "ultralytics"}))
    with pytest.raises(MissingExtra):
        installed()


def test_another_engine_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError, match="known engines are libreyolo, ultralytics"):
        Detector().load(LoadContext(options={"engine": "darknet"}))


def test_its_licence_stands_on_it() -> None:
    assert (UltralyticsEngine.name, UltralyticsEngine.licence) == ("ultralytics", "AGPL-3.0-only")


@pytest.mark.parametrize(
    ("model", "network"),
    [
        ("small", Network("yolov8", "n")),
        ("Large", Network("yolov8", "l")),
        ("yolov8s", Network("yolov8", "s")),
        ("yolo11n.pt", Network("yolo11", "n")),
        ("yolov9c.yaml", Network("yolov9", "c")),
    ],
)
def test_networks_have_the_names_that_it_knows_them_by(model: str, network: Network) -> None:
    assert chosen(model) == network
    assert network.file == f"{network.family}{network.size}.yaml"


@pytest.mark.parametrize(
    "model", ["", "yolox", "../yolov8n", "yolov8n.yaml/../x", "http://example.com/x.pt", "rtdetr-l"]
)
def test_nothing_else_is_a_network(model: str) -> None:
    with pytest.raises(InvalidInput, match=r"hyperparams\.model: .* is not known"):
        chosen(model)


def test_a_pickle_is_not_opened_here_either(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(b"PK\x03\x04" + b"x" * 100)
    with pytest.raises(InvalidInput, match="may run code when it is opened"):
        UltralyticsEngine().open(tmp_path / "best.pt", "cpu")
