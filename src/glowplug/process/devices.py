"""Which devices there are, and what lies on them, asked of the drivers: no library of models is imported for it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from glowplug.errors import SettingsError
from glowplug.process.cards import CPU, Card

Found = TypeVar("Found")
AUTO = "auto"
CUDA, MPS = "cuda", "mps"
UNIFIED_SHARE = 0.75
"""Of the memory that an Apple chip shares between all its parts, so much may be its GPU's."""
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def candidates(wanted: str, kinds: Sequence[str], model: str) -> list[Card]:
    """Return the devices that a model may be loaded onto: `wanted`, or the best kind of `kinds` that is here.

    Raises:
        SettingsError: there is no such device here.
    """
    kind = wanted.partition(":")[0]
    if kind not in (AUTO, CUDA, MPS, CPU):
        # Others, such as neuron, are the model's own business.
        return [Card(wanted, wanted)]
    if wanted == AUTO:
        for one in kinds:
            if found := _cards(one):
                return found
        raise SettingsError(f"{model} runs on {' or '.join(kinds)}, and there is none here")
    found = _cards(kind)
    chosen = [card for card in found if wanted in (kind, card.device)]
    if not chosen:
        there = ", ".join(card.device for card in found) or f"no {kind} device"
        raise SettingsError(f"worker.device = {wanted}: there is {there} here; set auto, cpu, or one that is there")
    return chosen


def used_bytes(identity: str) -> int | None:
    """Return what all programs together hold on a CUDA card, None if nobody can say."""
    return _asked(lambda nvml: int(nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByUUID(identity)).used))


def held_by(pid: int, identity: str) -> int | None:
    """Return what one process holds on a CUDA card; None if the driver does not say, as within some containers."""

    def held(nvml: Any) -> int | None:
        handle = nvml.nvmlDeviceGetHandleByUUID(identity)
        said = {one.pid: one.usedGpuMemory for one in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
        return said.get(pid)

    return _asked(held)


def visible(identities: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return which of all cards, in the order of their slots, CUDA shows as cuda:0, cuda:1 and so on.

    As CUDA does, `CUDA_VISIBLE_DEVICES` is read up to the first entry that names no card.
    """
    said = environment.get("CUDA_VISIBLE_DEVICES")
    if said is None:
        return list(identities)
    chosen: list[str] = []
    for entry in (word.strip() for word in said.split(",")):
        if entry.isdigit() and int(entry) < len(identities):
            found = [identities[int(entry)]]
        elif entry.startswith("MIG-"):
            found = [entry]
        else:
            found = [one for one in identities if entry.startswith("GPU-") and one.startswith(entry)]
        if len(found) != 1 or found[0] in chosen:
            break
        chosen += found
    return chosen


def _cards(kind: str) -> list[Card]:
    if kind == CPU:
        return [Card(CPU, CPU)]
    if kind == CUDA:
        return _cuda_cards() or _torch_cards()
    return _mps_cards() if kind == MPS else []


def _cuda_cards() -> list[Card]:
    # So that cuda:1 is the same card for the driver's tools, for us and for the model.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return (_asked(_shown_cards) if _torch_can() else None) or []


def _shown_cards(nvml: Any) -> list[Card]:
    handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
    shown = visible([_text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles], os.environ)
    memories = [nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByUUID(identity)) for identity in shown]
    return [
        Card(f"{CUDA}:{number}", identity, int(memory.total), int(memory.used))
        for number, (identity, memory) in enumerate(zip(shown, memories, strict=True))
    ]


def _torch_cards() -> list[Card]:
    """Return what torch knows where it is imported already: cards of a maker whose driver we do not ask."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    found = [(number, torch.cuda.get_device_properties(number)) for number in range(torch.cuda.device_count())]
    return [
        Card(f"{CUDA}:{number}", str(getattr(one, "uuid", f"{CUDA}:{number}")), int(one.total_memory))
        for number, one in found
    ]


def _mps_cards() -> list[Card]:
    if (platform.system(), platform.machine()) != ("Darwin", "arm64"):
        return []
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return [Card(MPS, MPS, int(memory * UNIFIED_SHARE))]


def _torch_can() -> bool:
    """Say whether torch, if it is what the model uses, can use a card at all: its CPU build stands on many machines."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return bool(torch.cuda.is_available())
    with suppress(metadata.PackageNotFoundError):
        return not metadata.version("torch").endswith("+cpu")
    return True


def _asked(question: Callable[[Any], Found]) -> Found | None:
    """Ask NVIDIA's management library; None where there is no such driver, or it does not know."""
    if not any(path.exists() for path in _DRIVERS):
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return question(pynvml)
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
