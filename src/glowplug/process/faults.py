"""What foreign exceptions mean: the border between a model's code and the rest of the house."""

from __future__ import annotations

import errno
import gc
import importlib
import re
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from glowplug.errors import DiskFull, GlowplugError, OutOfMemory, Stop, TaskFailed
from glowplug.readiness.component_snapshot import ErrorClass

LONGEST_MESSAGE = 500
_NOT_THE_MODELS = (str(Path(__file__).parent), str(Path(importlib.__file__).parent), "<frozen importlib")
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))
_NETWORK = frozenset(
    (errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPIPE)
)
_NETWORK_NAMES = frozenset(
    (
        "ChunkedEncodingError",
        "ClientConnectionError",
        "ConnectError",
        "ConnectTimeout",
        "ConnectionError",
        "IncompleteRead",
        "NameResolutionError",
        "ProtocolError",
        "ReadTimeout",
        "RemoteProtocolError",
        "URLError",
        "gaierror",
    )
)
"""Classes of the usual network libraries that share no base with one another."""
_FULL = re.compile(
    r"out of memory|can't allocate memory|not enough memory|failed to allocate memory|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
"""How torch, ONNX Runtime, CTranslate2 and cuBLAS word it in a plain RuntimeError."""


def cleaned(text: str) -> str:
    """Return text that can be sent: undecodable bytes of file names and the like are replaced."""
    return text.encode(errors="replace").decode()


def one_line(error: BaseException) -> str:
    """Return an exception as its traceback's last line would, bounded."""
    text = cleaned(" ".join(_words(error).split()))
    return f"{type(error).__name__}: {text}"[:LONGEST_MESSAGE] if text else type(error).__name__


def story(error: BaseException) -> str:
    """Return the traceback, from where the model's own code begins."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_NOT_THE_MODELS):
        frames = frames.tb_next
    return cleaned("".join(traceback.format_exception(type(error), error, frames)).rstrip())


def load_class(error: BaseException) -> ErrorClass:
    """Say what kind of thing went wrong in a load."""
    chain = _chain(error)
    if any(_is_out_of_memory(link) for link in chain):
        return ErrorClass.OUT_OF_MEMORY
    if isinstance(error, GlowplugError):
        return ErrorClass.TRANSIENT if error.retryable else ErrorClass.PERMANENT
    # A refused connection may be hidden behind a library's "cannot find the model", so causes count too.
    return ErrorClass.TRANSIENT if any(_is_network(link) for link in chain) else ErrorClass.PERMANENT


def load_message(error: BaseException) -> str:
    """Return what to tell people of a failed load, in one line."""
    if isinstance(error, GlowplugError):
        return cleaned(error.message)
    return f"Out of memory ({one_line(error)})" if _is_out_of_memory(error) else one_line(error)


def task_error(error: BaseException) -> GlowplugError:
    """Translate what a task raised into an error of ours."""
    if isinstance(error, GlowplugError):
        return error
    name = type(error).__name__
    if any(_is_out_of_memory(link) for link in _chain(error)):
        return OutOfMemory(f"out of memory: {one_line(error)}; ask for less at once")
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return DiskFull(f"no room on the disk: {one_line(error)}", error_class=name)
    if isinstance(error, (SystemExit, Stop)):
        return TaskFailed(f"the task ended with {one_line(error)}", error_class=name)
    return TaskFailed(one_line(error), error_class=name)


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


def free_memory(error: BaseException) -> None:
    """Let go of what the calls behind an error held, on the device too; the model itself stays."""
    for link in _chain(error):
        # Its frames keep every tensor of the failed call alive.
        traceback.clear_frames(link.__traceback__)
    gc.collect()
    empty_caches()


def empty_caches() -> None:
    """Give the blocks that torch keeps for the next call back to the device, where torch is in use."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    # A device that has just failed may fail here too, and the call's own error is the one to tell.
    with suppress(Exception):
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
    with suppress(Exception):
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - its class is left to tell
        return ""


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        return True
    # onnxruntime's own exceptions are no RuntimeErrors; what is about the disk is told apart by its number.
    return isinstance(error, Exception) and not isinstance(error, OSError) and bool(_FULL.search(_words(error)))


def _is_network(error: BaseException) -> bool:
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    named = any(kind.__name__ in _NETWORK_NAMES for kind in type(error).__mro__)
    return named or (isinstance(error, OSError) and error.errno in _NETWORK)
