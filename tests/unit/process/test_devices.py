"""Which devices a model may go to, asked of a driver that is played here."""

from __future__ import annotations

import mmap
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from glowplug.errors import SettingsError
from glowplug.process import devices
from glowplug.process.cards import Card
from glowplug.process.devices import candidates, held_by, used_bytes, visible
from glowplug.process.gauge import CONTEXT_BYTES, Gauge

EVERY = ("cuda", "mps", "cpu")
CPU = [Card("cpu", "cpu")]


class NVMLError(Exception):
    """As the driver's library calls it."""


@dataclass
class Driver:
    """NVIDIA's library as far as we call it: cards by identity with total and used, and who holds what."""

    cards: dict[str, tuple[int, int]]
    holders: dict[int, int | None] = field(default_factory=dict)
    broken: bool = False
    NVMLError = NVMLError

    def nvmlInit(self) -> None:  # noqa: N802
        if self.broken:
            raise NVMLError

    def nvmlShutdown(self) -> None:  # noqa: N802
        """Nothing to do."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, number: int) -> str:  # noqa: N802
        return list(self.cards)[number]

    def nvmlDeviceGetHandleByUUID(self, identity: str) -> str:  # noqa: N802
        if identity not in self.cards:
            raise NVMLError
        return identity

    def nvmlDeviceGetUUID(self, handle: str) -> bytes:  # noqa: N802
        return handle.encode()

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802
        total, used = self.cards[handle]
        return SimpleNamespace(total=total, used=used)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in self.holders.items()]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Driver:
    """Put a driver with two cards in place; torch, which cannot use them here, is out of sight."""
    played = Driver({"GPU-aa": (24, 1), "GPU-bb": (48, 2)})
    monkeypatch.setitem(sys.modules, "pynvml", played)
    monkeypatch.setattr(devices, "_DRIVERS", (tmp_path,))
    monkeypatch.setattr(devices, "_torch_can", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return played


def test_a_machine_without_cards_has_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_DRIVERS", ())
    assert candidates("auto", EVERY, "net") == candidates("cpu", EVERY, "net") == CPU
    with pytest.raises(SettingsError, match="there is no cuda device here; set auto"):
        candidates("cuda:0", EVERY, "net")
    with pytest.raises(SettingsError, match="net runs on cuda, and there is none here"):
        candidates("auto", ("cuda",), "net")


@pytest.mark.usefixtures("driver")
def test_the_best_that_is_there_is_taken() -> None:
    both = [Card("cuda:0", "GPU-aa", 24, 1), Card("cuda:1", "GPU-bb", 48, 2)]
    assert candidates("auto", EVERY, "net") == candidates("cuda", EVERY, "net") == both
    assert candidates("cuda:1", EVERY, "net") == both[1:]
    assert candidates("auto", ("cpu",), "net") == candidates("cpu", EVERY, "net") == CPU
    with pytest.raises(SettingsError, match="there is cuda:0, cuda:1 here"):
        candidates("cuda:2", EVERY, "net")


@pytest.mark.usefixtures("driver")
def test_hidden_cards_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert candidates("auto", EVERY, "net") == [Card("cuda:0", "GPU-bb", 48, 2)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert candidates("auto", EVERY, "net") == CPU


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("1,0", ["GPU-bb", "GPU-aa"]),
        ("0,-1,1", ["GPU-aa"]),
        ("7", []),
        ("GPU-b", ["GPU-bb"]),
        ("GPU-", []),
        ("0,0", ["GPU-aa"]),
        ("MIG-x", ["MIG-x"]),
        ("NoDevFiles", []),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(said: str, expected: list[str]) -> None:
    assert visible(["GPU-aa", "GPU-bb"], {"CUDA_VISIBLE_DEVICES": said}) == expected


def test_a_driver_that_fails_is_no_driver(driver: Driver) -> None:
    driver.broken = True
    assert candidates("auto", EVERY, "net") == CPU
    assert used_bytes("GPU-aa") is None


def test_torch_without_cuda_keeps_to_the_processor(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.setattr(devices, "_DRIVERS", (Path("/"),))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False)))
    assert candidates("auto", EVERY, "net") == CPU


def test_cards_of_another_maker_are_known_from_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    about = SimpleNamespace(total_memory=16, uuid="u1")
    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 1, get_device_properties=lambda number: about
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(devices, "_DRIVERS", ())
    assert candidates("auto", EVERY, "net") == [Card("cuda:0", "u1", 16)]


def test_an_apple_chip_gives_three_quarters_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_DRIVERS", ())
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}[name])
    assert candidates("auto", EVERY, "net") == [Card("mps", "mps", 3_072_000)]


def test_devices_of_other_kinds_are_the_models_own_business() -> None:
    assert candidates("neuron:0", EVERY, "net") == [Card("neuron:0", "neuron:0")]


def test_what_a_process_holds_is_what_the_driver_says(driver: Driver) -> None:
    driver.holders = {5: 7, 6: None}
    assert (held_by(5, "GPU-aa"), held_by(6, "GPU-aa"), held_by(1, "GPU-aa"), held_by(5, "none")) == (
        7,
        None,
        None,
        None,
    )
    assert used_bytes("GPU-bb") == 2


def test_where_the_driver_does_not_say_torch_does(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(is_initialized=lambda: True, memory_reserved=lambda device: 1000)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    gauge = Gauge(Card("cuda:0", "GPU-aa", 24, 1), bounded=True)
    assert gauge.held_bytes() == CONTEXT_BYTES + 1000
    monkeypatch.setitem(sys.modules, "torch", None)
    driver.cards["GPU-aa"] = (24, 9)
    assert gauge.held_bytes() == 8


def test_memory_without_a_bound_is_not_measured() -> None:
    gauge = Gauge(Card("cpu", "cpu"), bounded=False)
    assert (gauge.held_bytes(), gauge.news()) == (None, None)


def test_a_change_is_news_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glowplug.process.gauge.LOOK_SECONDS", 0.0)
    gauge = Gauge(Card("cpu", "cpu"), bounded=True)
    before = gauge.held_bytes() or 0
    # Pages of its own: what an allocator has kept from before would not show.
    with mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        block.write(b"x" * len(block))
        held = gauge.news()
        assert held is not None
        assert held - before > 16 << 20
        assert gauge.news() is None
