"""The script itself, as it is served."""

from __future__ import annotations

import gzip
import re

from glowplug.web.overlay import SCRIPT


def test_the_script_is_under_twelve_kilobytes_compressed() -> None:
    assert len(gzip.compress(SCRIPT.read_bytes())) < 12_288


def test_the_script_asks_for_nothing_from_anywhere_else() -> None:
    text = SCRIPT.read_text()
    assert re.findall(r"https?://[^'\"` ]+", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"\bimport\b|@import|url\(", text)
