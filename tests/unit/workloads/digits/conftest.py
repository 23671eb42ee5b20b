"""The shipped model, loaded once."""

from __future__ import annotations

import pytest

from glowplug.load_context import LoadContext
from glowplug.workloads.digits.model import Digits


@pytest.fixture(scope="package")
def digits() -> Digits:
    model = Digits()
    model.load(LoadContext(options={"threads": "1"}))
    return model
