"""One Chromium for all tests of pages, which reaches this machine alone."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright
from tests.servers.readiness_site import BoardSite, ScriptSite, Site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
# What the browser itself writes to the console when a request fails.
OF_THE_NETWORK = re.compile(
    r"Failed to load resource|net::|WebSocket connection to|blocked by CORS|EventSource's response"
)
Visit = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A Chromium without a window."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[BoardSite]:
    """A site over a real board."""
    site = BoardSite()
    async with site.served():
        yield site


@pytest_asyncio.fixture(loop_scope="session")
async def script() -> AsyncIterator[ScriptSite]:
    """A site that says what the test has it say."""
    script = ScriptSite()
    async with script.served():
        yield script


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """Open a page of a site; no script on it may fail, and nothing outside this machine may be asked for."""
    contexts, faults, strangers = [], [], []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" and not OF_THE_NETWORK.search(message.text):
            faults.append(message.text)

    async def visit(site: Site, markup: str = "", *, clock: bool = False, before: str = "", **options: Any) -> Page:
        site.markup = markup or site.markup
        context = await browser.new_context(**options)
        contexts.append(context)
        context.on("request", lambda request: strangers.append(request.url) if _is_strange(request.url) else None)
        page = await context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", heard)
        if clock:
            await page.clock.install()
        if before:
            await page.add_init_script(before)
        await page.goto(site.url)
        return page

    yield visit
    for context in contexts:
        await context.close()
    assert faults == []
    assert strangers == []


def _is_strange(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in ("127.0.0.1", "localhost")
