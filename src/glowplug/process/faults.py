"""What foreign exceptions mean: the border between a model's code and the rest of the house."""

from __future__ import annotations

import errno
import importlib
import traceback
from pathlib import Path

from glowplug.errors import DiskFull, GlowplugError, Stop, TaskFailed
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


def cleaned(text: str) -> str:
    """Return text that can be sent: undecodable bytes of file names and the like are replaced."""
    return text.encode(errors="replace").decode()


def one_line(error: BaseException) -> str:
    """Return an exception as its traceback's last line would, bounded."""
    text = cleaned(" ".join(str(error).split()))
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
        return error.message
    return f"Out of memory ({one_line(error)})" if _is_out_of_memory(error) else one_line(error)


def task_error(error: BaseException) -> GlowplugError:
    """Translate what a task raised into an error of ours."""
    if isinstance(error, GlowplugError):
        return error
    name = type(error).__name__
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


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__


def _is_network(error: BaseException) -> bool:
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    named = any(kind.__name__ in _NETWORK_NAMES for kind in type(error).__mro__)
    return named or (isinstance(error, OSError) and error.errno in _NETWORK)
