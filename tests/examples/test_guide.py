"""The guide for FastAPI: every block of Python on the page runs, and does what the text around it says."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi.testclient import TestClient
from tests.examples.programs import EXAMPLES, ROOT
from tests.journeys.system import until

PAGE = ROOT / "docs" / "guide" / "fastapi.md"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
FILE_NAME = re.compile(r"# ([\w/]+\.py)\n")
LIMIT_SECONDS = 60


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


SECTIONS = sections()


def blocks(section: str, language: str) -> list[str]:
    return [text for word, text in BLOCK.findall(SECTIONS[section]) if word == language]


WITH_CODE = [name for name in SECTIONS if blocks(name, "python")]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give what runs here folders of its own, and forget the modules that the page has in files."""
    monkeypatch.setenv("GLOWPLUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GLOWPLUG_DATA", str(tmp_path / "data"))
    monkeypatch.syspath_prepend(str(tmp_path))
    before, level = set(sys.modules), logging.getLogger("glowplug").level
    yield
    logging.getLogger("glowplug").setLevel(level)
    for name in set(sys.modules) - before:
        if (tmp_path / f"{name}.py").exists():
            del sys.modules[name]


def run(section: str, folder: Path) -> dict[str, Any]:
    """Run the blocks of a section one after the other, as one program; return what it defines."""
    defined: dict[str, Any] = {"__name__": "guide"}
    for text in blocks(section, "python"):
        named = FILE_NAME.match(text)
        if named:
            (folder / named[1]).write_text(text)
        else:
            exec(compile(text, f"{PAGE.name}: {section}", "exec"), defined)
    return defined


def settled(client: TestClient) -> dict[str, Any]:
    """Wait until nothing loads any more, and return the body."""

    def body() -> dict[str, Any]:
        found: dict[str, Any] = client.get("/api/ready").json()
        return found

    until(lambda: body()["ready"], "the example is ready", limit=LIMIT_SECONDS)
    return body()


def local(app: Any) -> TestClient:
    """Return a client on this machine: the only one that may retry and warm up without a token."""
    return TestClient(app, "http://127.0.0.1", client=("127.0.0.1", 50_000))


@pytest.mark.parametrize("section", WITH_CODE)
async def test_each_section_runs_and_becomes_ready(section: str, tmp_path: Path) -> None:
    defined = run(section, tmp_path)
    if section == "Tests":
        defined["test_speaking_waits_for_the_voice"]()
        return
    ready = defined["ready"]
    async with asyncio.timeout(LIMIT_SECONDS), ready:
        assert (await ready.wait_until_ready()).ready


def test_every_section_with_code_is_known_to_be_run() -> None:
    assert set(WITH_CODE) == {
        "Three lines", "Components", "Optional components", "Weights", "Checks of servers elsewhere",
        "A process of its own", "Prefix", "425 or 503", "Tests", "Tokens", "Starlette", "Logs and metrics",
    }  # fmt: skip


def test_three_lines_guard_a_route_and_give_the_value(tmp_path: Path) -> None:
    with TestClient(run("Three lines", tmp_path)["app"]) as client:
        settled(client)
        assert client.post("/speak", params={"text": "hi"}).json() == {"audio": "(hi)"}


def test_each_path_of_the_table_is_a_route(tmp_path: Path) -> None:
    app = run("Three lines", tmp_path)["app"]
    told = set(re.findall(r"`(?:POST |WS )?(/[\w/{}.\-\[\]]+)`", SECTIONS["Three lines"].partition("| ask |")[2]))
    expected = {path.replace("[/{component}]", "") for path in told}
    assert len(expected) >= 15
    with local(app) as client:
        settled(client)
        for path in sorted(expected - {"/api/ready/stream", "/ws/init/{client_id}"}):
            asked = path.format(component="tts", name="tts", client_id="1")
            verb = "POST" if path in ("/api/warmup", "/api/ready/retry") else "GET"
            assert client.request(verb, asked).status_code in (200, 409), path
        with client.websocket_connect("/ws/init/1") as socket:
            assert socket.receive_json()["phase"] == "ready"
        # Nothing to tell any more: the stream of what is ready begins and ends with one picture.
        assert client.get("/api/ready/stream").status_code == 200


async def test_components_load_in_stages_and_are_warmed_with_their_value(tmp_path: Path) -> None:
    ready = run("Components", tmp_path)["ready"]
    async with asyncio.timeout(LIMIT_SECONDS), ready:
        await ready.wait_until_ready()
        tts = ready.snapshot().services()["tts"]
        assert (tts["label"], tts["model"]) == ("Voice", "kokoro-82m")
        assert tts["warmup_time_ms"] >= 0
        assert ready["tts"].say("hi") == "HI"
        assert ready["store"] == "a connection"


async def test_an_optional_component_without_its_library_is_unavailable(tmp_path: Path) -> None:
    ready = run("Optional components", tmp_path)["ready"]
    async with asyncio.timeout(LIMIT_SECONDS), ready:
        await ready.wait_until_ready()
        async for snapshot in ready.subscribe():
            stt = snapshot.services()["stt"]
            if stt["status"] == "unavailable":
                break
        assert stt["reason"] == "not_installed"
        assert not ready.is_ready("stt")


async def test_weights_are_paths_in_the_context(tmp_path: Path) -> None:
    ready = run("Weights", tmp_path)["ready"]
    async with asyncio.timeout(LIMIT_SECONDS), ready:
        await ready.wait_until_ready()
        assert ready["net"] == 1000


async def test_a_server_elsewhere_is_shown_as_gone_while_the_whole_stays_ready(tmp_path: Path) -> None:
    # Checked every five seconds on the page; a test has less time.
    blocks_of = BLOCK.findall(SECTIONS["Checks of servers elsewhere"])
    defined: dict[str, Any] = {}
    exec("".join(text for word, text in blocks_of if word == "python").replace("5.0", "0.01"), defined)
    ready = defined["ready"]
    async with asyncio.timeout(LIMIT_SECONDS), ready:
        await ready.wait_until_ready()
        chat = ready["chat"]
        for alive in (False, True):
            chat.alive = alive
            async for snapshot in ready.subscribe():
                if snapshot.services()["chat"]["ready"] is alive:
                    break
            assert ready.is_ready()
            assert ready.is_ready("chat") is alive
    del tmp_path


async def test_a_model_in_its_own_process_is_called_by_its_handle(tmp_path: Path) -> None:
    defined = run("A process of its own", tmp_path)
    ready = defined["ready"]
    async with asyncio.timeout(LIMIT_SECONDS), ready:
        await ready.wait_until_ready()
        assert await defined["shout"]("hi") == "HI!"


def test_a_prefix_moves_every_path_below_itself(tmp_path: Path) -> None:
    first = blocks("Prefix", "python")[0]
    defined: dict[str, Any] = {}
    exec(first, defined)
    with TestClient(defined["app"]) as client:
        assert client.get("/speech/livez").status_code == 200
        until(lambda: client.get("/speech/readyz").status_code == 200, "it is ready")
        body = client.get("/speech/api/ready").json()
        assert httpx.URL("http://a/speech/api/ready").join(body["links"]["stream"]).path == "/speech/api/ready/stream"
        assert client.get("/livez").status_code == 404
    del tmp_path


def test_an_app_keeps_the_lifespan_it_has(tmp_path: Path) -> None:
    app = run("Prefix", tmp_path)["app"]
    with TestClient(app) as client:
        assert app.state.database == "open"
        settled(client)
    assert app.state.database == "closed"


def test_one_word_makes_it_503(tmp_path: Path) -> None:
    defined = run("425 or 503", tmp_path)
    from glowplug.testing import pretend

    with pretend(defined["ready"]), TestClient(defined["app"]) as client:
        answer = client.get("/api/v1/admin/ready")
    assert answer.status_code == 503
    for word in ("status", "message", "ready", "progress", "estimated_seconds", "phase", "type"):
        assert word in answer.json()
        assert f'"{word}"' in SECTIONS["425 or 503"]


def test_the_probes_of_the_page_are_those_of_the_manifest() -> None:
    (text,) = blocks("Kubernetes", "yaml")
    (deployment,) = [
        one
        for one in yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "fastapi-app.yaml").read_text())
        if one["kind"] == "Deployment"
    ]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for probe, told in yaml.safe_load(text).items():
        assert told.items() <= container[probe].items()


def test_a_token_opens_what_costs_compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_TOKEN", "secret")
    with TestClient(run("Tokens", tmp_path)["app"]) as client:
        settled(client)
        assert client.post("/api/warmup").status_code == 401
        assert client.post("/api/warmup", headers={"authorization": "Bearer secret"}).status_code == 200


def test_starlette_has_the_same_routes(tmp_path: Path) -> None:
    app = run("Starlette", tmp_path)["app"]
    with TestClient(app) as client:
        assert settled(client)["ready"] is True
        assert client.get("/readyz").status_code == 200


def test_the_metrics_that_the_page_names_are_told(tmp_path: Path) -> None:
    with TestClient(run("Logs and metrics", tmp_path)["app"]) as client:
        settled(client)
        told = client.get("/metrics").text
    names = re.findall(r"`(glowplug_\w+)`", SECTIONS["Logs and metrics"])
    assert len(names) >= 3
    # A counter of failures has nothing to count yet, but its name is there.
    assert [name for name in names if name not in told] == []


def test_each_transition_is_a_line_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(run("Logs and metrics", tmp_path)["app"]) as client:
        settled(client)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("glowplug")]
    assert any("tts" in line and "ready" in line for line in lines), lines


def test_what_the_page_points_at_is_there() -> None:
    text = PAGE.read_text()
    paths = set(re.findall(r"`((?:examples|deploy)/[\w./-]+)`", text))
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    anchors = set(re.findall(r"\]\(#([\w-]+)\)", text))
    assert anchors <= {name.lower().replace(" ", "-") for name in SECTIONS}
    assert EXAMPLES.is_dir()
