"""The page in plain HTML: served at once, with an overlay that is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.examples.programs import EXAMPLES, Program, served

FOLDER = EXAMPLES / "plain_page"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Program]:
    with served(tmp_path, "plain_page", "page:app") as program:
        program.wait_answering()
        yield program


def test_the_app_is_as_small_as_its_readme_says() -> None:
    code = (FOLDER / "page.py").read_text().split('"""', 2)[2]
    assert len([line for line in code.splitlines() if line.strip()]) == 14
    assert "fourteen lines" in (FOLDER / "README.md").read_text()


def test_the_page_and_its_overlay_are_served_while_the_model_loads(page: Program) -> None:
    assert page.body()["ready"] is False
    html = page.http.get("/").text
    assert "<glowplug-overlay" in html
    (script,) = re.findall(r'<script type="module" src="([^"]+)"', html)
    module = page.http.get(script)
    assert module.status_code == 200
    assert module.headers["content-type"].startswith("text/javascript")


def test_the_overlay_asks_for_components_and_an_address_that_exist(page: Program) -> None:
    html = page.http.get("/").text
    source, components = re.findall(r'<glowplug-overlay src="([^"]+)" components="([^"]+)"', html)[0]
    assert set(components.split(",")) == set(page.http.get(source).json()["services"])


def test_the_primes_are_too_early_and_then_right(page: Program) -> None:
    early = page.http.get("/primes/7919")
    assert early.status_code == 425
    assert early.json()["message"]
    page.wait_ready()
    answers = {n: page.http.get(f"/primes/{n}").json()["prime"] for n in (2, 7919, 7920, 499_979, -3)}
    assert answers == {2: True, 7919: True, 7920: False, 499_979: True, -3: False}
    assert page.http.get("/primes/x").status_code == 422
