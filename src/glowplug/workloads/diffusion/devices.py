"""What devices there are, and what room they have."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from glowplug.errors import SettingsError, Unavailable
from glowplug.workloads.diffusion.plan import Room

_LIMIT, _USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
_NATIVE_BFLOAT16 = (8, 0)
"""The compute capability from which a card computes in bfloat16 itself."""


def device_of(asked: str) -> str:
    """Return the device to load to: `asked`, or the best there is for "auto".

    Raises:
        SettingsError: there is no such kind of device.
        Unavailable: this machine has none.
    """
    if asked in ("", "auto"):
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = asked.partition(":")[0]
    if kind not in ("cuda", "mps", "cpu"):
        raise SettingsError(f"device {asked!r}: images run on cuda, mps or cpu")
    if kind == "cuda" and not torch.cuda.is_available():
        raise Unavailable("device cuda: torch sees no card; set the device to cpu, or install a torch built for CUDA")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise Unavailable("device mps: torch sees no Apple GPU; set the device to cpu")
    return asked


def use(device: str) -> None:
    """Make a numbered card the one that is meant where code says only "cuda"."""
    meant = torch.device(device)
    if meant.type == "cuda" and meant.index is not None:
        torch.cuda.set_device(meant)


def room_on(device: str, allowed_bytes: int | None = None) -> Room:
    """Return the memory at hand on `device`, at most `allowed_bytes` of it, and on the host."""
    room = _free(device)
    return room if allowed_bytes is None else replace(room, device_bytes=min(room.device_bytes, allowed_bytes))


def _free(device: str) -> Room:
    host = host_bytes()
    kind = device.partition(":")[0]
    if kind == "cuda":
        free, _ = torch.cuda.mem_get_info(torch.device(device))
        native = torch.cuda.get_device_capability(torch.device(device)) >= _NATIVE_BFLOAT16
        return Room("cuda", free, host, native)
    if kind == "mps":
        spare = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return Room("mps", min(spare, host), host, bfloat16=False)
    return Room("cpu", host, host, _fast_bfloat16())


def host_bytes() -> int:
    """Return what the host can spare, within the limit of our container."""
    free = psutil.virtual_memory().available
    with suppress(OSError, ValueError):
        free = min(free, int(_LIMIT.read_text()) - int(_USED.read_text()))
    return max(0, int(free))


def _fast_bfloat16() -> bool:
    with suppress(AttributeError, RuntimeError):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch says it nowhere else
    return False
