"""`glowplug status`: what is ready, what loads, what waits."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.unit.cli.commands import Command
from tests.unit.client.play import Play, playing

from glowplug.data_folder import DataFolder, GatewayLock
from glowplug.readiness.estimate import Estimate
from glowplug.readiness.progress import Progress


def test_all_ready_is_exit_code_0(glowplug: Command, play: Play) -> None:
    done = glowplug("status")
    assert done.code == 0
    head, row, queue = done.rows
    assert head == ["MODEL", "STATUS", "PROGRESS", "DETAIL"]
    assert row[:3] == ["play", "ready", "100 %"]
    assert queue == ["queue: 0 waiting, 0 running"]
    assert play.url


def test_status_is_one_json_document(glowplug: Command, play: Play) -> None:
    said = glowplug("status", "--json").json
    assert said["ready"] is True
    assert said["models"]["play"]["status"] == "ready"
    assert said["queue"] == {"queued": 0, "running": 0}
    assert play.url


def test_the_queue_is_counted(glowplug: Command, play: Play) -> None:
    job_id = glowplug("run", "play.hold", "--async").out.strip()
    assert glowplug("jobs", "show", job_id).code == 0
    said = glowplug("status", "--json").json["queue"]
    assert said["queued"] + said["running"] == 1
    play.release()


def test_what_loads_is_told_in_plain_words_and_exit_code_3(glowplug: Command, tmp_path: Path) -> None:
    with playing(tmp_path / "gateway") as play:
        glowplug.set("GLOWPLUG_URL", play.url)
        play.loading(percent=41.0, progress=Progress("read", 4e9, 9e9, "bytes"), estimate=Estimate(5.0, 9.0, 12.0))
        done = glowplug("status")
    assert done.code == 3
    (row,) = [row for row in done.rows if row[0] == "play"]
    assert row[1:3] == ["loading", "41 %"]
    assert row[3].startswith("Reading weights, 4.0 of 9.0 GB")
    assert "s left" in row[3]


def test_no_time_is_told_before_it_is_earned(glowplug: Command, tmp_path: Path) -> None:
    with playing(tmp_path / "gateway") as play:
        glowplug.set("GLOWPLUG_URL", play.url)
        play.loading(percent=41.0, progress=Progress("import"))
        done = glowplug("status")
    assert "Importing libraries" in done.out
    assert "left" not in done.out


def test_waiting_shows_the_loading_and_ends_when_all_is_ready(glowplug: Command, tmp_path: Path) -> None:
    with playing(tmp_path / "gateway") as play:
        glowplug.set("GLOWPLUG_URL", play.url)
        play.loading(percent=41.0, progress=Progress("import"))
        threading.Timer(0.5, play.ready).start()
        done = glowplug("status", "--wait", "--timeout", "20")
    assert done.code == 0
    assert "play: 41 % Importing libraries\n" in done.err
    assert "play: 100 % ready" in done.err
    assert "\x1b[" not in done.err


def test_waiting_for_what_is_ready_returns_at_once(glowplug: Command, play: Play) -> None:
    assert glowplug("status", "--wait").code == 0
    assert glowplug("status", "play", "--wait").code == 0
    assert play.url


def test_waiting_ends_in_time(glowplug: Command, tmp_path: Path) -> None:
    with playing(tmp_path / "gateway") as play:
        glowplug.set("GLOWPLUG_URL", play.url)
        play.loading()
        done = glowplug("status", "--wait", "--timeout", "0.3")
    assert done.code == 3
    assert "not ready after 0.3 s" in done.error


def test_a_load_that_failed_ends_the_waiting_with_the_reason(glowplug: Command, tmp_path: Path) -> None:
    with playing(tmp_path / "gateway") as play:
        glowplug.set("GLOWPLUG_URL", play.url)
        play.broken()
        done = glowplug("status", "--wait", "--timeout", "20")
        assert done.code == 3
        assert "no weights" in done.error
        assert "glowplug retry-load" in done.err
        assert "glowplug retry-load" in glowplug("status").err
        shown = glowplug("status")
    assert shown.code == 3
    assert "no weights" in shown.out


def test_a_gateway_that_is_not_up_yet_is_waited_for(glowplug: Command, tmp_path: Path) -> None:
    folder = DataFolder(glowplug.folder / "data")
    folder.prepare()
    with playing(tmp_path / "gateway") as play, GatewayLock(folder) as lock:
        play.ready()
        threading.Timer(0.3, lock.announce, [play.url]).start()
        done = glowplug("status", "--wait", "--timeout", "20")
    assert done.code == 0
    assert done.err.startswith("gateway: waiting, no gateway runs on the data folder")
    assert "gateway: 100 % answers\n" in done.err


def test_one_model_is_asked_for_by_name(glowplug: Command, play: Play) -> None:
    assert glowplug("status", "play").code == 0
    absent = glowplug("status", "nobody")
    assert absent.code == 3
    assert play.url
