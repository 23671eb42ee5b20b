"""How a pipeline is loaded, decided from what it needs and what is at hand. Pure; tested over a table of cards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

from glowplug.errors import SettingsError
from glowplug.workloads.diffusion.estimate import TILE_PIXELS, Need

RESERVE_BYTES = 256 << 20
"""Left free on every device: others on it, and what no estimate sees."""
WORKSPACE_BYTES = 256 << 20
"""What the libraries of a card take for themselves."""
GIB = 1 << 30
_OFFLOAD_WORDS = {
    "none": "all of it on the device",
    "model": "one network at a time on the device, the others in host memory",
    "sequential": "layer by layer on the device, the rest in host memory, which is slow",
}


@dataclass(frozen=True, slots=True)
class Room:
    """What is at hand: free bytes of the `device` ("cuda", "mps", "cpu") and of the host; `bfloat16` if it is fast."""

    device: str
    device_bytes: int
    host_bytes: int
    bfloat16: bool = True


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator chose; "auto" and None leave it to us."""

    dtype: str = "auto"
    offload: str = "auto"
    tiling: bool | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision, and what it is expected to take. `tight` says that it was asked for though it may not fit."""

    device: str
    dtype: str
    offload: str
    tiled: bool
    device_bytes: int
    host_bytes: int
    room: Room = field(repr=False)
    tight: bool = False

    @property
    def fits(self) -> bool:
        """Say whether there is room, some of it left free."""
        return self.device_bytes + RESERVE_BYTES <= self.room.device_bytes and self.host_bytes <= self.room.host_bytes

    def words(self) -> str:
        """Say it in a sentence or two."""
        where = _OFFLOAD_WORDS[self.offload] if self.device != "cpu" else "all of it in host memory"
        said = f"{self.dtype} on {self.device}, {where}; at its peak about {in_words(self.device_bytes)}"
        said += f" of the {in_words(self.room.device_bytes)} that are free"
        if self.host_bytes:
            said += f", and {in_words(self.host_bytes)} of {in_words(self.room.host_bytes)} in host memory"
        if self.tiled:
            said += f"; large pictures are decoded in tiles of {TILE_PIXELS} pixels"
        return said + ("; this was asked for, and may run out of memory" if self.tight else "")


def planned(need: Need, room: Room, wish: Wish) -> Plan:
    """Return the first way that fits, best first: everything on the device, then tiles, then offloading.

    What was asked for is done even if the estimate says no, unless the weights alone are too large.

    Raises:
        SettingsError: it does not fit in any way that was left open; the message has the figures.
    """
    ways = [_plan(need, room, *choice) for choice in _choices(need, room, wish)]
    for way in ways:
        if way.fits:
            return way
    if wish.offload != "auto":
        for way in reversed(ways):
            if _weights_fit(need, way):
                return Plan(way.device, way.dtype, way.offload, way.tiled, way.device_bytes, way.host_bytes, room, True)
    raise SettingsError(_refusal(need, room, wish, min(ways, key=lambda way: way.device_bytes)))


def preferred_bytes(need: Need, wish: Wish) -> int:
    """Return what the pipeline takes on a card that has room for whatever it likes best."""
    ample = Room("cuda", 1 << 50, 1 << 50)
    return planned(need, ample, wish).device_bytes


def pixels_at_once(need: Need, plan: Plan) -> int:
    """Return how many pixels may be drawn together in the room that the plan leaves; 0 is one picture at a time.

    Pictures are decoded one by one, so that only the steps take more. A processor gains nothing by it.
    """
    if plan.device == "cpu" or plan.tight:
        return 0
    step = max(1, need.working_bytes(plan.dtype, tiled=plan.tiled)[need.denoiser])
    spare = plan.room.device_bytes - RESERVE_BYTES - plan.device_bytes
    return (1 + spare // step) * need.pixels**2


def in_words(count_bytes: int) -> str:
    """Return a figure for people."""
    return f"{count_bytes / GIB:.1f} GiB" if count_bytes >= GIB else f"{count_bytes / (1 << 20):.0f} MiB"


def _choices(need: Need, room: Room, wish: Wish) -> Iterator[tuple[str, str, bool]]:
    dtypes = _dtypes(need, room) if wish.dtype == "auto" else (wish.dtype,)
    offloads: tuple[str, ...] = ("none", "model", "sequential") if room.device == "cuda" else ("none",)
    if wish.offload != "auto" and room.device != "cpu":
        offloads = (wish.offload,)
    tilings = (False, True) if wish.tiling is None else (wish.tiling,)
    for offload, dtype, tiled in product(offloads, dtypes, tilings):
        yield dtype, offload, tiled


def _dtypes(need: Need, room: Room) -> tuple[str, ...]:
    if room.device == "cpu":
        half_first = room.bfloat16 and need.file_dtype == "bfloat16"
        return ("bfloat16", "float32") if half_first else ("float32", "bfloat16")
    if need.prefers is not None:
        return (need.prefers,)
    if need.file_dtype == "bfloat16" and room.bfloat16:
        return ("bfloat16",)
    return ("float16",)


def _plan(need: Need, room: Room, dtype: str, offload: str, tiled: bool) -> Plan:
    working = need.working_bytes(dtype, tiled=tiled)
    device = _device_bytes(need, dtype, offload, working) + (0 if room.device == "cpu" else WORKSPACE_BYTES)
    host = 0 if offload == "none" else need.weights_bytes(dtype)
    return Plan(room.device, dtype, offload, tiled, device, host, room)


def _device_bytes(need: Need, dtype: str, offload: str, working: dict[str, int]) -> int:
    if offload == "none":
        return need.weights_bytes(dtype) + max(working.values())
    if offload == "model":
        return max(part.weights_bytes(dtype) + working.get(part.name, 0) for part in need.parts)
    return max(_streamed(need, dtype) + extra for extra in working.values())


def _streamed(need: Need, dtype: str) -> int:
    # A layer is there while the one before it leaves.
    return 2 * max(part.largest * part.weights_bytes(dtype) // max(1, part.elements) for part in need.parts)


def _weights_fit(need: Need, way: Plan) -> bool:
    bare = _device_bytes(need, way.dtype, way.offload, {"": 0})
    return bare <= way.room.device_bytes and way.host_bytes <= way.room.host_bytes


def _refusal(need: Need, room: Room, wish: Wish, least: Plan) -> str:
    asked = ", ".join(f"{name}={value}" for name, value in (("dtype", wish.dtype), ("offload", wish.offload)))
    said = (
        f"the model does not fit: with {least.dtype}, offload {least.offload}, it takes {in_words(least.device_bytes)}"
    )
    said += f" on {room.device} at {need.pixels} pixels, where {in_words(room.device_bytes)} are free"
    if least.host_bytes:
        said += f", and {in_words(least.host_bytes)} of host memory, where {in_words(room.host_bytes)} are free"
    left = "" if (wish.dtype, wish.offload) == ("auto", "auto") else f" (asked for: {asked}; auto may find another way)"
    return f"{said}{left}; free memory, lower default_size, or take a smaller model"
