"""One board, many who watch it: all get the newest, and one who does not read is nobody's burden but his own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.journeys.readers import Crowd, Reader
from tests.journeys.system import PATIENCE_SECONDS, System, free_port, until

SERVER = Path(__file__).parents[1] / "servers" / "told_board.py"
EACH_KIND = 50
STALLED = 5
WINDOW_BYTES = 4096
UPDATES = 1_500
BALLAST_BYTES = 12_000
PADDING = b"...."


class Told(System):
    """An app whose board is updated by lines of its input."""

    def begin(self) -> None:
        self.app(SERVER, stdin=subprocess.PIPE)
        until(lambda: self.answers("/livez"), "the app answers", log=self.log)

    def update(self, count: int = 1, every_seconds: float = 0.0, ballast_bytes: int = 0) -> None:
        entrance = self.programs[0].stdin
        assert entrance is not None
        entrance.write(f"{count} {every_seconds} {ballast_bytes}\n".encode())
        entrance.flush()

    def end_load(self) -> None:
        entrance = self.programs[0].stdin
        assert entrance is not None
        entrance.close()

    def memory_bytes(self) -> int:
        resident: int = psutil.Process(self.programs[0].pid).memory_info().rss
        return resident


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path, free_port())
    try:
        made.begin()
        yield made
    finally:
        made.stop()


@pytest.fixture
def crowd(told: Told) -> Iterator[Crowd]:
    with Crowd(told.port) as made:
        yield made


def begun(crowd: Crowd, readers: list[Reader]) -> list[Reader]:
    """Return the readers once each of them has its first picture."""
    assert crowd.read(PATIENCE_SECONDS, lambda: all(reader.messages for reader in readers))
    return readers


def level(crowd: Crowd, readers: list[Reader]) -> None:
    """Read until all have the last update: the one whose note is short."""
    assert crowd.read(PATIENCE_SECONDS, lambda: all(reader.newest and is_short(reader) for reader in readers))
    assert len({reader.newest for reader in readers}) == 1


def is_short(reader: Reader) -> bool:
    return PADDING not in reader.newest_message


def test_each_reader_gets_each_update_when_there_is_time_between_them(told: Told, crowd: Crowd) -> None:
    readers = begun(crowd, crowd.join(EACH_KIND, EACH_KIND))
    for count in range(1, 6):
        told.update()
        assert crowd.read(PATIENCE_SECONDS, lambda count=count: all(len(one.delays) == count for one in readers))
    assert {reader.status for reader in readers} == {b"200", b"101"}
    assert {tuple(reader.delays) for reader in readers} == {tuple(readers[0].delays)}


def test_readers_that_stop_hold_up_nobody_and_cost_no_memory(told: Told, crowd: Crowd) -> None:
    stalled = begun(crowd, crowd.join(STALLED, STALLED, window_bytes=WINDOW_BYTES))
    reading = begun(crowd, crowd.join(EACH_KIND - STALLED, EACH_KIND - STALLED))
    crowd.stall(stalled)
    before = told.memory_bytes()
    told.update(UPDATES, 0.001, BALLAST_BYTES)
    told.update()
    level(crowd, reading)
    assert told.memory_bytes() - before < UPDATES * BALLAST_BYTES * len(stalled) / 2
    assert crowd.gone == []


def test_a_reader_that_reads_again_gets_the_newest_and_not_all_that_it_missed(told: Told, crowd: Crowd) -> None:
    stalled = begun(crowd, crowd.join(STALLED, STALLED, window_bytes=WINDOW_BYTES))
    reading = begun(crowd, crowd.join(1, 1))
    crowd.stall(stalled)
    told.update(UPDATES, 0.001, BALLAST_BYTES)
    told.update()
    level(crowd, reading)
    crowd.resume(stalled)
    level(crowd, [*reading, *stalled])
    assert max(reader.messages for reader in stalled) < UPDATES / 2


def test_all_are_told_of_the_end_and_let_go(told: Told, crowd: Crowd) -> None:
    readers = begun(crowd, crowd.join(EACH_KIND, EACH_KIND))
    told.end_load()
    assert crowd.read(PATIENCE_SECONDS, lambda: len(crowd.gone) == len(readers))
    said = [json.loads(reader.newest_message) for reader in readers]
    assert all(one["services"]["model"]["ready"] for one in said)
    assert {one.get("state", one.get("phase")) for one in said} == {"READY", "ready"}
