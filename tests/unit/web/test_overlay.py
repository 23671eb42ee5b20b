"""The overlay's script: browsers keep it, and ask each time whether it changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from tests.unit.web.callers import asking

from glowplug.readiness import Board
from glowplug.web import overlay
from glowplug.web.parts import ReadinessParts
from glowplug.web.routes import readiness_routes

PATH = "/glowplug/overlay.js"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = tmp_path / "overlay.js"
    script.write_text("export const word = 'größe'\n")
    monkeypatch.setattr(overlay, "SCRIPT", script)
    overlay._read.cache_clear()
    return script


@pytest.fixture
def app(board: Board) -> Starlette:
    return Starlette(routes=readiness_routes(ReadinessParts(own=board)))


async def test_the_script_is_sent_as_a_module_that_any_page_may_use(app: Starlette, script: Path) -> None:
    async with asking(app) as client:
        answer = await client.get(PATH)
    assert answer.content == script.read_bytes()
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("form", ["{tag}", "W/{tag}", '"old", {tag}'])
async def test_who_has_it_already_gets_no_copy(app: Starlette, script: Path, form: str) -> None:
    async with asking(app) as client:
        tag = (await client.get(PATH)).headers["etag"]
        again = await client.get(PATH, headers={"if-none-match": form.format(tag=tag)})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)


async def test_a_new_release_is_noticed(app: Starlette, script: Path) -> None:
    async with asking(app) as client:
        tag = (await client.get(PATH)).headers["etag"]
        script.write_text("export const word = 'neu'\n")
        overlay._read.cache_clear()
        again = await client.get(PATH, headers={"if-none-match": tag})
    assert (again.status_code, again.text) == (200, "export const word = 'neu'\n")


async def test_an_installation_without_it_says_so(app: Starlette, script: Path) -> None:
    script.unlink()
    async with asking(app) as client:
        answer = await client.get(PATH)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
