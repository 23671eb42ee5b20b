"""What the page on observability says is so."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from glowplug.clock import ManualClock
from glowplug.doors.signatures import keys_of, new_id, new_secret, signed
from glowplug.doors.webhook import DEFAULT_POLICY
from glowplug.events import EVENTS
from glowplug.readiness import Board
from glowplug.web.alerts import change

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guide" / "observability.md").read_text(encoding="utf-8")


def marked(name: str) -> str:
    """Return what stands between two marks of the page, without the fences of a block."""
    text = PAGE.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- /{name} -->")[0].strip()
    return text.partition("\n")[2].rpartition("\n```")[0] if text.startswith("```") else text


def test_the_metrics_table_is_what_the_catalogue_says() -> None:
    printed = subprocess.run(
        [sys.executable, "scripts/metrics-table"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()
    assert marked("metrics") == printed


def test_the_lines_of_the_log_are_of_the_catalogue_with_all_their_fields() -> None:
    for line in marked("lines").splitlines():
        fields = dict(word.split("=", 1) for word in line.split(" "))
        spec = EVENTS[fields.pop("event")]
        assert fields.pop("level") == spec.level
        assert set(fields) == {"timestamp", *spec.fields}


def test_the_event_has_the_fields_that_are_sent() -> None:
    clock = ManualClock()
    board = Board(clock)
    tts = board.add("tts", model="kokoro")
    tts.warming()
    before = board.snapshot()
    tts.ready()
    sent = change(before, board.snapshot(), 1.0, "speech-7d9f")
    shown = json.loads(marked("event"))
    assert sent is not None
    assert list(shown) == list(sent)
    assert list(shown["data"]) == list(sent["data"])
    assert list(shown["data"]["components"]["tts"]) == list(sent["data"]["components"]["tts"])
    assert shown["data"]["message"] == sent["data"]["message"]


async def test_the_receiver_takes_what_is_signed_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = new_secret()
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    module = ModuleType("receiver")
    # FastAPI reads the annotations of a route by the module that it was written in.
    monkeypatch.setitem(sys.modules, "receiver", module)
    exec(compile(marked("receiver"), "observability.md", "exec"), module.__dict__)
    body = marked("event").encode()
    good = signed(new_id(), int(time.time()), body, keys_of(secret))
    transport = httpx.ASGITransport(app=module.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://ops") as client:
        answers = [
            await client.post("/hooks/glowplug", content=body, headers=good),
            await client.post("/hooks/glowplug", content=body, headers=good),
            await client.post("/hooks/glowplug", content=body + b" ", headers=good),
            await client.post("/hooks/glowplug", content=body),
        ]
    assert [answer.status_code for answer in answers] == [204, 204, 400, 400]
    assert capsys.readouterr().out == "WARMING_UP → READY All systems ready\n"


def test_the_lines_for_the_library_set_up_a_log() -> None:
    program = (
        f"{marked('library')}\n"
        "from glowplug.events import emit\n"
        "from glowplug.telemetry import LibraryTelemetry\n"
        "LibraryTelemetry().install()\n"
        "emit('component.phase', component='tts', phase='read', seconds=0.601)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stderr.endswith("DEBUG   glowplug: tts: stage read took 0.601 s\n")
    assert logging.getLevelName(logging.DEBUG) in done.stderr


def test_the_rules_of_the_webhook_are_its_defaults() -> None:
    policy = DEFAULT_POLICY
    assert f"within {policy.timeout_seconds:g} s" in PAGE
    assert f"pauses of {policy.base_seconds:g} s to {policy.cap_seconds / 60:g} min" in PAGE
    assert policy.patience_seconds == 3600
    assert f"{policy.max_queued} events at most" in PAGE
    assert policy.leave_seconds == 3


@pytest.mark.parametrize(
    "path", ["deploy/grafana/glowplug.json", "deploy/prometheus/alerts.yml", "src/glowplug/events.py"]
)
def test_what_the_page_leads_to_is_there(path: str) -> None:
    assert f"../../{path}" in PAGE
    assert (ROOT / path).is_file()
