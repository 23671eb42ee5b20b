"""Signs of life of a process, seen from outside: a load that holds the interpreter's lock cannot speak for itself."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

BUSY_SECONDS = 0.02
"""Less CPU time than this between two looks is idling, not work."""


class Vitals:
    """What the system knows of process `pid` and the processes under it."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._cpu_seconds = 0.0
        self._read_bytes = 0
        self._oom_kills = oom_kills()

    def moved(self) -> bool:
        """Say whether it has computed or read anything worth the name since the last look."""
        with suppress(psutil.Error):
            cpu, read = self._cpu(), self._read()
            moved = cpu - self._cpu_seconds >= BUSY_SECONDS or read > self._read_bytes
            self._cpu_seconds, self._read_bytes = cpu, read
            return moved
        return False

    def memory_bytes(self) -> int:
        """Return the memory that only ending the process would give back.

        Mapped files are not in it, though they are in the resident size: weights that are mapped can be dropped and
        read again. For the same reason this is watched instead of limiting the address space, which a driver or a
        mapped checkpoint fills without using memory.
        """
        with suppress(psutil.Error):
            memory = self._process.memory_info()
            return int(memory.rss - getattr(memory, "shared", 0))
        return 0

    def kernel_ran_out_of_memory(self) -> bool:
        """Say whether the kernel has killed anything for want of memory since the process began."""
        return oom_kills() > self._oom_kills

    def _cpu(self) -> float:
        times = [self._process.cpu_times()]
        for child in self._process.children(recursive=True):
            with suppress(psutil.Error):
                times.append(child.cpu_times())
        return sum(time.user + time.system for time in times)

    def _read(self) -> int:
        # Counts reads from the page cache too; where the system has no such counter, CPU time must do.
        counters = self._process.io_counters() if hasattr(self._process, "io_counters") else None
        return int(getattr(counters, "read_chars", 0))


def oom_kills() -> int:
    """Return how often the kernel has killed a process for want of memory, as far as it says so."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
