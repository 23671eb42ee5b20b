"""The pages of the examples in a real browser: they wait where they should, and work afterwards."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page, WebSocket, expect, sync_playwright
from tests.examples.programs import EXAMPLES, running, served
from tests.journeys.system import free_port, until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--mute-audio"]
# A microphone that beeps, and that any page may use.
FLAGS += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
STAND_IN = [sys.executable, str(EXAMPLES / "voice_backend" / "ollama_stand_in.py"), "--port", "{port}"]
PATIENCE_MILLISECONDS = 30_000

# How many pieces of sound were sent, and how many were played.
COUNTERS = """
window.sent = window.played = 0;
const { send } = WebSocket.prototype;
WebSocket.prototype.send = function (data) { window.sent += typeof data !== "string"; return send.call(this, data); };
const { start } = AudioBufferSourceNode.prototype;
AudioBufferSourceNode.prototype.start = function (when) { window.played += 1; return start.call(this, when); };
"""


@pytest.fixture
def page() -> Iterator[Page]:
    """A page on which no script may fail."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    faults: list[str] = []
    # Closed with each test: while it is open, no other test could have an event loop of its own.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.on("pageerror", lambda error: faults.append(str(error)))
        yield page
        browser.close()
    assert faults == []


def test_the_plain_page_shows_a_banner_while_it_loads_and_works_afterwards(page: Page, tmp_path: Path) -> None:
    with served(tmp_path, "plain_page", "page:app") as program:
        program.wait_answering()
        page.goto(program.url)
        expect(page.get_by_role("progressbar")).to_be_visible(timeout=PATIENCE_MILLISECONDS)
        page.get_by_role("button", name="Is it prime?").click()
        expect(page.locator("output")).not_to_be_empty(timeout=PATIENCE_MILLISECONDS)
        expect(page.get_by_role("progressbar")).to_have_count(0, timeout=PATIENCE_MILLISECONDS)
        page.get_by_role("button", name="Is it prime?").click()
        expect(page.locator("output")).to_have_text("Yes", timeout=PATIENCE_MILLISECONDS)


def test_the_voice_page_opens_its_socket_only_once_ready_and_is_mended_by_retry(page: Page, tmp_path: Path) -> None:
    opened: list[WebSocket] = []
    page.on("websocket", lambda socket: opened.append(socket) if "/ws/conversation" in socket.url else None)
    port = free_port()
    environment = {"OLLAMA_HOST": f"127.0.0.1:{port}", "VOICE_CHECK_SECONDS": "0.2"}
    with ExitStack() as later, served(tmp_path, "voice_backend", "backend:app", environment=environment) as program:
        program.wait_answering()
        page.goto(program.url)
        retry = page.get_by_role("button", name="Retry")
        expect(retry).to_be_visible(timeout=PATIENCE_MILLISECONDS)
        expect(page.locator("#talk")).to_be_hidden()
        assert opened == []

        chat = later.enter_context(running(tmp_path, STAND_IN, {}, port))
        until(chat.answers, "the chat server answers", log=chat.log)
        retry.click()
        expect(page.locator("#talk")).to_be_visible(timeout=PATIENCE_MILLISECONDS)
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.get_by_label("Say something").fill("What is 6 times 7?")
        page.get_by_role("button", name="Say").click()
        expect(page.locator("#turns .reply")).to_have_text("That makes 42.", timeout=PATIENCE_MILLISECONDS)
        assert len(opened) == 1


def test_what_is_said_into_the_microphone_is_heard_answered_and_can_be_interrupted(page: Page, tmp_path: Path) -> None:
    page.add_init_script(COUNTERS)
    with running(tmp_path, [sys.executable, "-m", "tests.examples.talkative", "{port}"], {}) as program:
        program.wait_answering()
        page.goto(program.url)
        page.get_by_role("button", name="Speak").click()
        page.wait_for_function("document.querySelector('#speak').textContent === 'Send'")
        expect(page.get_by_placeholder("Listening …")).to_be_visible()
        page.wait_for_function("window.sent > 30")
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#turns .you")).to_have_text("a beep", timeout=PATIENCE_MILLISECONDS)
        expect(page.locator("#turns .reply")).to_contain_text("You said a beep.", timeout=PATIENCE_MILLISECONDS)
        page.wait_for_function("window.played > 0")
        expect(page.get_by_label("Conversation")).to_have_attribute("aria-busy", "true")
        expect(page.get_by_label("Conversation")).to_have_attribute("data-doing", "Answering …")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#turns .reply")).to_have_class("reply stopped", timeout=PATIENCE_MILLISECONDS)
        expect(page.get_by_label("Conversation")).to_have_attribute("aria-busy", "false")
        page.get_by_role("button", name="Start over").click()
        expect(page.locator("#turns .empty")).to_be_visible(timeout=PATIENCE_MILLISECONDS)
        expect(page.locator("#turns li")).to_have_count(1)
    expect(page.locator("#turns .error")).to_contain_text("The connection was closed", timeout=PATIENCE_MILLISECONDS)
    for button in page.get_by_role("button").all():
        expect(button).to_be_disabled()
