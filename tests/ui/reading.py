"""What a person sees of an overlay, as assertions that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from playwright.async_api import Locator, Page, expect


def panel(page: Page) -> Locator:
    """Return what the overlay shows."""
    return page.locator("glowplug-overlay .panel")


async def says(page: Page, *texts: str) -> None:
    """Wait until all `texts` can be read on the overlay."""
    for text in texts:
        await expect(panel(page)).to_contain_text(text)
    await expect(panel(page)).to_be_visible()


async def is_state(page: Page, state: str) -> None:
    """Wait until the overlay has understood that this is how it stands."""
    await expect(page.locator("glowplug-overlay")).to_have_attribute("state", state)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a thing on the server's side is true."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
