"""Looking after what was ready once: a server elsewhere may go, and come back, while this application stays."""

from __future__ import annotations

import asyncio
from typing import Any

from glowplug.app.loader import Place
from glowplug.app.performing import Function, Raised
from glowplug.process.faults import load_message
from glowplug.readiness.component_snapshot import ErrorClass

ANSWER_SECONDS = 10.0
"""How long a check may take before what it asks counts as gone."""


async def keep_checking(place: Place, value: Any) -> None:
    """Call the component's check again and again, and tell the component when its answer changes."""
    options, component = place.options, place.component
    assert options.check is not None
    check = Function.of(options.check, f"{place.name}: check")
    while True:
        await place.whole.clock.sleep(options.check_every)
        # Somebody may ask for a new attempt meanwhile, of which this answer says nothing.
        attempt = component.attempt
        wrong = await _ask(check, place, value)
        if wrong is not None and component.status.can_serve:
            component.fail(wrong, ErrorClass.TRANSIENT, attempt=attempt)
        elif wrong is None and component.status.is_failed:
            component.ready(attempt=attempt)


async def _ask(check: Function, place: Place, value: Any) -> str | None:
    """Return what is wrong, None if the check went well. A check that hangs is waited for: one is enough."""
    asking = asyncio.create_task(_answer(check, place, value), name=f"check {place.name}")
    try:
        await asyncio.wait({asking}, timeout=ANSWER_SECONDS)
        if not asking.done():
            if place.component.status.can_serve:
                place.component.fail(f"no answer within {ANSWER_SECONDS:g} s", ErrorClass.TRANSIENT)
            await asyncio.wait({asking})
    finally:
        asking.cancel()
    return asking.result()


async def _answer(check: Function, place: Place, value: Any) -> str | None:
    try:
        answer = await check.perform(value, thread=f"check {place.name}")
    except Raised as raised:
        return load_message(raised.error)
    return "its check says that it does not work" if answer is False else None
