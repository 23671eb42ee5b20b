"""Which of the fault tests have a long form."""

from __future__ import annotations

import pytest

SHORT_ONLY = "test_faults_elsewhere"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long forms to the pairs that most people run: they take hours on all the others."""
    left_out = [item for item in items if SHORT_ONLY in item.nodeid and item.name.endswith("[long]")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
