"""What a model's process does to itself first: die with its parent, go first when memory ends, leave signals alone."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

EXIT_HOST_GONE = 70
OOM_SCORE = 800
_PR_SET_PDEATHSIG = 1


def protect(parent_pid: int, *, dies_with_parent: bool) -> None:
    """Prepare this process. It ends at once if `parent_pid` is not its parent any more."""
    if dies_with_parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before the line above; then nobody would ever send the signal.
    if os.getppid() != parent_pid:
        os._exit(EXIT_HOST_GONE)
    _go_first_when_memory_ends()
    _leave_signals_to_the_host()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    faulthandler.enable(all_threads=False)


def _go_first_when_memory_ends() -> None:
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))


def _leave_signals_to_the_host() -> None:
    # Ctrl-C and a service manager's SIGTERM reach the whole group, but a step and its checkpoint should end first.
    # Handlers that do nothing, unlike SIG_IGN, are not inherited by programs that the model starts.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    os.register_at_fork(after_in_child=_restore_signals)


def _restore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
