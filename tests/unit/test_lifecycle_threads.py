"""Blocking work in threads, and what becomes of it when its caller is canceled."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from glowplug.lifecycle import in_thread

pytestmark = pytest.mark.timeout(20)


async def test_the_result_comes_back_from_another_thread() -> None:
    assert await in_thread(None, threading.get_ident) != threading.get_ident()
    assert await in_thread(None, int, "ff", base=16) == 255


async def test_an_error_comes_back_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(None, lambda: 1 // 0)


async def test_an_executor_of_ones_own_is_used() -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as threads:
        assert (await in_thread(threads, lambda: threading.current_thread().name)).startswith("mine")


@pytest.mark.parametrize("fails", [False, True])
async def test_a_canceled_caller_waits_for_the_thread_however_often_it_is_canceled(fails: bool) -> None:
    entered, go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def work() -> None:
        entered.set()
        assert go_on.wait(10)
        done.append("done")
        if fails:
            raise ValueError

    task = asyncio.create_task(in_thread(None, work))
    while not entered.is_set():
        await asyncio.sleep(0.001)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["done"]
