"""The page of the roof lists every setting as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_settings_table_is_what_settings_py_says() -> None:
    page = (ROOT / "docs" / "architecture" / "4-roof.md").read_text(encoding="utf-8")
    table = page.partition("<!-- settings -->\n")[2].partition("<!-- /settings -->")[0].strip()
    printed = subprocess.run(
        [sys.executable, "scripts/settings-table"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()
    assert table == printed
