"""What both kinds of processes begin with."""

from __future__ import annotations

import sys

import pytest

import glowplug
from glowplug import events
from glowplug.assembly import serve_gateway, serve_worker
from glowplug.assembly.opening import SWITCH_SECONDS, make_telemetry, quick_switches
from glowplug.settings import Settings


def test_threads_take_turns_quickly_inside_the_block_alone() -> None:
    usual = sys.getswitchinterval()
    with quick_switches():
        assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    assert sys.getswitchinterval() == pytest.approx(usual)


def test_turns_are_as_before_after_an_error_too() -> None:
    usual = sys.getswitchinterval()
    with pytest.raises(RuntimeError), quick_switches():
        raise RuntimeError("import failed")
    assert sys.getswitchinterval() == pytest.approx(usual)


async def test_no_token_appears_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    alerts = {"GLOWPLUG_ALERTS_WEBHOOK_URL": "https://h/hunter4", "GLOWPLUG_ALERTS_WEBHOOK_SECRET": "hunter5 hunter6"}
    settings = Settings.load({"GLOWPLUG_TOKEN": "api-hunter2", "GLOWPLUG_LOG_FORMAT": "logfmt", **alerts})
    async with make_telemetry(settings, "worker-hunter3"):
        said = "worker-hunter3, api-hunter2, https://h/hunter4, hunter5 and hunter6"
        events.emit("notice.failed", target="/x", error=f"refused {said}")
    said = capsys.readouterr().err
    assert "/x" in said
    assert "hunter" not in said


async def test_the_metrics_tell_the_version() -> None:
    async with make_telemetry(Settings.load({})) as telemetry:
        body, media_type = telemetry.metrics()
    assert f'version="{glowplug.__version__}"' in body.decode()
    assert media_type.startswith("text/plain")


def test_the_assembly_has_two_doors_and_says_so_of_others() -> None:
    assert callable(serve_gateway)
    assert callable(serve_worker)
    with pytest.raises(AttributeError, match="serve_tea"):
        _ = glowplug.assembly.serve_tea  # type: ignore[attr-defined]
