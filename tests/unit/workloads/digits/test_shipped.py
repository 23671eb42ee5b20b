"""The files in the package are the ones that the README tells how to make."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import pytest

PACKAGE = files("glowplug.workloads.digits")


@pytest.mark.parametrize("name", ["generator.onnx", "classifier.onnx"])
def test_the_readme_states_size_and_hash_of_what_is_shipped(name: str) -> None:
    data = (PACKAGE / "weights" / name).read_bytes()
    line = next(line for line in (PACKAGE / "README.md").read_text().splitlines() if f"weights/{name}" in line)
    assert hashlib.sha256(data).hexdigest() in line
    assert f"{len(data):,}".replace(",", " ") in line


def test_what_is_shipped_stays_small() -> None:
    assert (
        sum(len((PACKAGE / "weights" / name).read_bytes()) for name in ("generator.onnx", "classifier.onnx"))
        < 4_500_000
    )
