"""Foreign exceptions are translated at the border."""

from __future__ import annotations

import errno
import socket
import sys
import urllib.error
from pathlib import Path

import httpx
import pytest

from glowplug.errors import (
    Canceled,
    DiskFull,
    InvalidInput,
    MissingExtra,
    NotFound,
    OutOfMemory,
    SettingsError,
    TaskFailed,
    Unreachable,
)
from glowplug.process.faults import LONGEST_MESSAGE, cleaned, load_class, load_message, one_line, story, task_error
from glowplug.process.target import resolve
from glowplug.readiness.component_snapshot import ErrorClass


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(), ErrorClass.TRANSIENT),
        (TimeoutError(), ErrorClass.TRANSIENT),
        (socket.gaierror(-2, "Name or service not known"), ErrorClass.TRANSIENT),
        (urllib.error.URLError("no route"), ErrorClass.TRANSIENT),
        (httpx.ConnectError("refused"), ErrorClass.TRANSIENT),
        (httpx.ReadTimeout("late"), ErrorClass.TRANSIENT),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), ErrorClass.TRANSIENT),
        (caused(OSError("we could not find the model"), ConnectionResetError()), ErrorClass.TRANSIENT),
        (Unreachable("the bucket does not answer"), ErrorClass.TRANSIENT),
        (NotFound("no such bucket"), ErrorClass.PERMANENT),
        (MissingExtra.of("digits", "the digits model"), ErrorClass.PERMANENT),
        (ImportError("no torch"), ErrorClass.PERMANENT),
        (FileNotFoundError("net.safetensors"), ErrorClass.PERMANENT),
        (ValueError("shape"), ErrorClass.PERMANENT),
        (MemoryError(), ErrorClass.OUT_OF_MEMORY),
        (OutOfMemoryError("CUDA out of memory"), ErrorClass.OUT_OF_MEMORY),
        (caused(RuntimeError("cannot load"), MemoryError()), ErrorClass.OUT_OF_MEMORY),
        (SystemExit(1), ErrorClass.PERMANENT),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_failed_load_has_a_class(error: BaseException, kind: ErrorClass) -> None:
    assert load_class(error) is kind


def test_a_chain_of_causes_may_be_a_ring() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert load_class(first) is ErrorClass.PERMANENT


def test_a_failed_load_is_told_in_one_line() -> None:
    assert load_message(ValueError("two\n  lines")) == "ValueError: two lines"
    assert load_message(KeyError()) == "KeyError"
    assert load_message(InvalidInput("already clear")) == "already clear"
    assert load_message(OutOfMemoryError("2 GB")) == "Out of memory (OutOfMemoryError: 2 GB)"
    assert len(load_message(ValueError("x" * 10_000))) == LONGEST_MESSAGE


def test_a_task_that_raises_has_failed_with_the_name_of_what_it_raised() -> None:
    error = task_error(KeyError("colour"))
    assert (type(error), error.message, error.data) == (
        TaskFailed,
        "KeyError: 'colour'",
        {"error_class": "KeyError"},
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA failed with error out of memory"),
        Exception("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 1024"),
        caused(ValueError("cannot decode"), MemoryError()),
    ],
    ids=lambda error: f"{type(error).__name__} {str(error)[:20]}",
)
def test_want_of_memory_is_told_as_such_whoever_words_it(error: Exception) -> None:
    told = task_error(error)
    assert (type(told), told.data) == (OutOfMemory, {})


def test_a_disk_that_speaks_of_memory_is_no_want_of_memory() -> None:
    assert type(task_error(OSError(errno.EIO, "Cannot allocate: out of memory"))) is TaskFailed


def test_errors_of_ours_stay_as_they_are() -> None:
    ours = InvalidInput("no")
    assert task_error(ours) is ours


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_told_as_such(number: int) -> None:
    assert type(task_error(OSError(number, "no room"))) is DiskFull


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), Canceled()])
def test_what_is_no_exception_becomes_a_failure_too(error: BaseException) -> None:
    assert type(task_error(error)) is TaskFailed


def test_text_can_always_be_sent() -> None:
    assert cleaned("a\udc80b") == "a?b"
    assert one_line(ValueError("a\udc80b")) == "ValueError: a?b"
    assert story(ValueError("a\udc80b")).encode()


def test_a_story_begins_in_the_models_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    target = tmp_path / "a_broken_model.py"
    target.write_text("def load():\n    1 / 0\nload()\n")
    with pytest.raises(ZeroDivisionError) as raised:
        resolve(str(target))
    assert raised.value.__traceback__ is not None
    told = story(raised.value.with_traceback(raised.value.__traceback__.tb_next))
    assert told.startswith(f'Traceback (most recent call last):\n  File "{target}", line 3')
    assert told.endswith("ZeroDivisionError: division by zero")


def test_a_story_without_any_code_of_the_models_is_its_last_line() -> None:
    with pytest.raises(SettingsError) as raised:
        resolve("not_there.py")
    assert raised.value.__traceback__ is not None
    told = story(raised.value.with_traceback(raised.value.__traceback__.tb_next))
    assert told.startswith("glowplug.errors.SettingsError: no such file: not_there.py")
