"""For everybody: by keyboard, by ear, with less motion, in the dark, under a strict policy."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.async_api import Page, expect
from tests.servers.readiness_site import BoardSite, ScriptSite
from tests.ui.bodies import error, loading, ready
from tests.ui.conftest import Visit
from tests.ui.reading import is_state, panel, says

pytestmark = pytest.mark.asyncio(loop_scope="session")

CARD = '<glowplug-overlay src="/api/ready" delay="0"></glowplug-overlay>'
BLOCKING = CARD.replace("delay", 'mode="blocking" delay')
CSP = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; require-trusted-types-for 'script'"


@pytest.mark.parametrize("mode", ["card", "banner", "blocking"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_checker_of_accessibility_finds_nothing(
    script: ScriptSite, visit: Visit, mode: str, scheme: str
) -> None:
    script.say(loading(estimated_seconds=40, estimated_seconds_p90=60))
    markup = CARD.replace("delay", f'mode="{mode}" theme="{scheme}" delay')
    page = await visit(script, markup, color_scheme=scheme, reduced_motion="reduce")
    await says(page, "Getting ready")
    assert await _violations(page) == []
    script.say(error())
    await says(page, "This did not start")
    assert await _violations(page) == []


async def _violations(page: Page) -> list[str]:
    await page.add_script_tag(path=AXE_FILE_PATH)
    found = await page.evaluate("axe.run('glowplug-overlay')")
    return [f"{one['id']}: {node['html']}" for one in found["violations"] for node in one["nodes"]]


async def test_a_blocking_overlay_takes_the_page_and_gives_the_focus_back(script: ScriptSite, visit: Visit) -> None:
    script.say(loading())
    page = await visit(script, BLOCKING.replace('delay="0"', 'delay="300"'))
    await page.locator("#own").focus()
    await expect(page.get_by_role("dialog", name="Getting ready")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.id") != "own"
    await expect(page.get_by_role("dialog")).to_be_visible()
    script.say(ready())
    await expect(page.get_by_role("dialog")).to_be_hidden()
    assert await page.evaluate("document.activeElement.id") == "own"


async def test_a_blocking_overlay_that_is_taken_away_gives_the_focus_back_too(script: ScriptSite, visit: Visit) -> None:
    script.say(loading())
    page = await visit(script, BLOCKING.replace('delay="0"', 'delay="300"'))
    await page.locator("#own").focus()
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.evaluate("document.querySelector('glowplug-overlay').remove()")
    assert await page.evaluate("document.activeElement.id") == "own"


@pytest.mark.parametrize("mode", ["card", "banner"])
async def test_a_card_and_a_banner_leave_the_focus_where_it_is(script: ScriptSite, visit: Visit, mode: str) -> None:
    script.say(loading())
    page = await visit(script, CARD.replace('delay="0"', f'mode="{mode}" delay="300"'))
    await page.locator("#own").focus()
    await says(page, "Getting ready")
    assert await page.evaluate("document.activeElement.id") == "own"


async def test_retry_and_copy_are_reached_and_pressed_by_keyboard(script: ScriptSite, visit: Visit) -> None:
    script.say(error())
    page = await visit(script, BLOCKING)
    await says(page, "This did not start")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Retry")).to_be_focused()
    assert len(script.retry_headers) == 1
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Copy report")).to_be_focused()


@pytest.mark.parametrize("mode", ["card", "banner", "blocking"])
async def test_the_keyboard_stays_at_the_overlay_when_what_it_pressed_goes(
    script: ScriptSite, visit: Visit, mode: str
) -> None:
    script.say(error())
    page = await visit(script, CARD.replace("delay", f'mode="{mode}" delay'))
    retry = page.get_by_role("button", name="Retry")
    await retry.focus()
    script.say(loading())
    await expect(retry).to_be_hidden()
    focused = "document.querySelector('glowplug-overlay').shadowRoot.activeElement.getAttribute('part')"
    assert await page.evaluate(focused) == "frame"


async def test_buttons_are_large_enough_for_a_thumb(script: ScriptSite, visit: Visit) -> None:
    script.say(error())
    page = await visit(script, CARD, viewport={"width": 360, "height": 640})
    await says(page, "This did not start")
    for button in await page.locator("glowplug-overlay").get_by_role("button").all():
        box = await button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_listeners_are_told_of_quarters_and_the_end_but_not_too_often(script: ScriptSite, visit: Visit) -> None:
    script.say(loading(progress=10))
    page = await visit(script, CARD, clock=True)
    live = page.locator("glowplug-overlay [role=status]")
    await says(page, "Getting ready")
    await page.clock.run_for(11_000)
    await expect(live).to_have_text("Getting ready")
    script.say(loading(progress=30))
    await page.clock.run_for(2_000)
    await says(page, "30 %")
    script.say(loading(progress=55))
    await page.clock.run_for(2_000)
    await says(page, "55 %")
    await expect(live).to_have_text("Getting ready")
    await page.clock.run_for(10_000)
    await expect(live).to_have_text("Getting ready, 50 %")
    script.say(ready())
    await page.clock.run_for(2_000)
    await is_state(page, "ready")
    await page.clock.run_for(11_000)
    await expect(live).to_have_text("Ready")


async def test_where_less_motion_is_wished_nothing_moves(script: ScriptSite, visit: Visit) -> None:
    script.say(loading(progress=0))
    page = await visit(script, CARD, reduced_motion="reduce")
    await says(page, "Getting ready")
    moving = "all => all.filter(one => getComputedStyle(one).animationName !== 'none').length"
    assert await page.locator("glowplug-overlay .panel *").evaluate_all(moving) == 0


async def test_otherwise_an_unknown_bar_and_a_running_tick_move(script: ScriptSite, visit: Visit) -> None:
    script.say(loading(progress=0))
    page = await visit(script, CARD)
    await says(page, "Getting ready")
    moving = "all => all.map(one => getComputedStyle(one).animationName).filter(name => name !== 'none')"
    assert await page.locator("glowplug-overlay .panel *").evaluate_all(moving) == ["glow", "slide", "turn"]


@pytest.mark.parametrize("mode", ["card", "banner", "blocking"])
async def test_it_works_under_a_strict_policy(site: BoardSite, visit: Visit, mode: str) -> None:
    site.headers = {"Content-Security-Policy": CSP}
    page = await visit(site, CARD.replace("delay", f'mode="{mode}" delay'), before=BREACHES)
    await says(page, "Starting up")
    site.board.component("tts").stage("read")
    site.board.component("tts").advance(done=1, total=2, unit="parts")
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile(r"\d+"))
    width = "one => one.getBoundingClientRect().width / one.parentNode.getBoundingClientRect().width"
    await page.wait_for_function(
        f"({width})(document.querySelector('glowplug-overlay').shadowRoot.querySelector('.fill')) > .1"
    )
    assert await page.evaluate("breaches") == []


BREACHES = (
    "window.breaches=[];document.addEventListener('securitypolicyviolation',e=>breaches.push(e.violatedDirective))"
)


async def test_pages_from_right_to_left_are_mirrored(script: ScriptSite, visit: Visit) -> None:
    script.say(loading())
    page = await visit(script, CARD.replace("delay", 'dir="rtl" delay'))
    await says(page, "Getting ready")
    mark = await page.locator("glowplug-overlay .mark").bounding_box()
    title = await page.locator("glowplug-overlay #title").bounding_box()
    assert mark is not None
    assert title is not None
    assert mark["x"] > title["x"]


async def test_a_theme_is_followed_and_can_be_set(script: ScriptSite, visit: Visit) -> None:
    script.say(loading())
    page = await visit(script, CARD, color_scheme="dark")
    await says(page, "Getting ready")
    assert await _background(page) == "rgb(29, 27, 25)"
    await page.evaluate("document.querySelector('glowplug-overlay').setAttribute('theme', 'light')")
    assert await _background(page) == "rgb(255, 255, 255)"
    await page.evaluate("document.documentElement.style.setProperty('--glowplug-background', 'rgb(1, 2, 3)')")
    assert await _background(page) == "rgb(1, 2, 3)"


async def _background(page: Page) -> str:
    return str(await panel(page).evaluate("one => getComputedStyle(one).backgroundColor"))
