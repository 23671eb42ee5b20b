"""What the overlay hears, over which connection, and what it does when there is none."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect
from tests.servers.readiness_site import BoardSite, ScriptSite
from tests.ui.bodies import loading, ready, tts
from tests.ui.conftest import Visit
from tests.ui.reading import is_state, panel, says, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

CARD = '<glowplug-overlay src="/api/ready" delay="0"></glowplug-overlay>'
LATER = "window.seen=[];for(const n of ['ready','progress','failed'])addEventListener(n,e=>seen.push(n),true)"


async def test_a_load_is_told_while_it_happens_and_the_overlay_goes_away_when_it_is_over(
    site: BoardSite, visit: Visit
) -> None:
    page = await visit(site, CARD, before=LATER)
    await says(page, "Starting up")
    voice = site.board.component("tts")
    voice.begin()
    voice.stage("read")
    voice.advance(done=4.1e9, total=9.8e9, unit="bytes")
    await says(page, "Reading weights, 4.1 of 9.8 GB")
    site.board.component("chat").ready()
    await says(page, "Ready to use: Chat")
    voice.warming()
    await says(page, "Almost ready")
    voice.ready()
    await expect(page.locator("glowplug-overlay .frame")).to_be_hidden()
    assert await page.evaluate("seen.filter(n => n === 'ready').length") == 1
    assert await page.evaluate("seen.includes('progress')")
    assert site.front.count("/api/ready/stream") == 1


async def test_nothing_is_shown_when_it_is_ready_within_the_delay(script: ScriptSite, visit: Visit) -> None:
    script.say(ready())
    page = await visit(script, '<glowplug-overlay src="/api/ready"></glowplug-overlay>', before=WATCH_SHOWN)
    await is_state(page, "ready")
    await page.wait_for_timeout(450)
    assert await page.evaluate("shown") is False


WATCH_SHOWN = """window.shown=false;requestAnimationFrame(function look(){
const f=document.querySelector('glowplug-overlay')?.shadowRoot?.querySelector('.frame');
if(f&&!f.hidden)shown=true;requestAnimationFrame(look)})"""


async def test_where_streams_are_blocked_the_web_socket_is_heard(site: BoardSite, visit: Visit) -> None:
    site.front.blocked = {"/stream"}
    page = await visit(site, CARD)
    await _told(page, site)
    assert site.front.count("/ws/init/page-") == 1


async def test_where_a_proxy_keeps_a_stream_to_itself_the_web_socket_is_heard(site: BoardSite, visit: Visit) -> None:
    site.front.swallowed = {"/stream"}
    page = await visit(site, CARD, clock=True)
    await until(lambda: site.front.count("/api/ready/stream") == 1)
    await page.clock.run_for(5_000)
    await _told(page, site)
    assert site.front.count("/ws/init/page-") == 1


async def test_where_both_are_blocked_it_asks_again_and_again(site: BoardSite, visit: Visit) -> None:
    site.front.blocked = {"/stream", "/ws/"}
    page = await visit(site, CARD)
    await _told(page, site)
    assert site.front.seen.count("/api/ready") >= 3
    assert (site.front.count("/api/ready/stream"), site.front.count("/ws/")) == (1, 1)


@pytest.mark.parametrize("status", [502, 503, 504, 404])
async def test_an_answer_that_is_no_readiness_means_starting_or_unreachable(
    site: BoardSite, visit: Visit, status: int
) -> None:
    site.front.status = status
    page = await visit(site, CARD)
    await says(page, "Server is starting or unreachable")
    await says(page, f"This page keeps trying. ({status})")
    site.front.status = None
    await page.get_by_role("button", name="Try now").click()
    await _told(page, site)


async def test_it_comes_through_ninety_seconds_of_a_proxys_own_page(site: BoardSite, visit: Visit) -> None:
    site.front.status = 502
    page = await visit(site, CARD, clock=True)
    await says(page, "Server is starting or unreachable")
    for _ in range(6):
        asked = site.front.seen.count("/api/ready")
        await page.clock.run_for(15_000)
        await until(lambda asked=asked: site.front.seen.count("/api/ready") > asked)
    await expect(panel(page)).to_contain_text(re.compile(r"Waiting for 1 min \d+ s"))
    site.front.status = None
    await page.clock.run_for(3_000)
    await _told(page, site)


async def test_a_server_lost_in_the_middle_leaves_the_last_truth_in_view_with_its_age(
    site: BoardSite, visit: Visit
) -> None:
    voice = site.board.component("tts")
    voice.begin()
    voice.stage("read")
    page = await visit(site, CARD, clock=True)
    await says(page, "Reading weights")
    site.front.status = 502
    site.front.cut()
    await says(page, "Server is starting or unreachable")
    await page.clock.run_for(4_000)
    await says(page, "Reading weights")
    await expect(panel(page)).to_contain_text(re.compile(r"Last heard \d s ago"))
    site.front.status = None
    await page.clock.run_for(3_000)
    await _told(page, site)


async def test_offline_is_said_and_being_back_is_noticed_at_once(site: BoardSite, visit: Visit) -> None:
    page = await visit(site, CARD)
    await says(page, "Starting up")
    await page.context.set_offline(True)
    await says(page, "You are offline")
    await page.context.set_offline(False)
    await is_state(page, "connecting")
    await _told(page, site)


async def test_a_page_of_another_origin_is_told_too(site: BoardSite, visit: Visit) -> None:
    other = ScriptSite()
    async with other.served():
        page = await visit(other, CARD.replace("/api/ready", f"{site.url}/api/ready"))
        await _told(page, site)
    assert site.front.count("/api/ready/stream") == 1


async def test_an_answer_that_another_origin_may_not_read_counts_as_no_answer(script: ScriptSite, visit: Visit) -> None:
    script.say(loading())
    other = ScriptSite()
    async with other.served():
        page = await visit(other, CARD.replace("/api/ready", f"{script.url}/api/ready"))
        await says(page, "Server is starting or unreachable")
        script.cross_origin = {"Access-Control-Allow-Origin": "*"}
        await says(page, "Getting ready")


async def test_the_links_of_a_probe_lead_to_the_whole(script: ScriptSite, visit: Visit) -> None:
    script.say(loading())
    page = await visit(script, CARD.replace("/api/ready", "/ready"))
    await says(page, "Reading weights")


async def test_a_page_with_three_overlays_asks_once(site: BoardSite, visit: Visit) -> None:
    page = await visit(site, CARD * 2 + CARD.replace("delay", 'components="chat" delay'))
    await expect(panel(page)).to_have_count(3)
    await expect(page.locator("glowplug-overlay >> .frame:visible")).to_have_count(3)
    await until(lambda: site.front.count("/api/ready/stream") > 0)
    site.board.component("chat").ready()
    await expect(page.locator("glowplug-overlay >> .frame:visible")).to_have_count(2)
    site.board.component("tts").ready()
    await expect(page.locator("glowplug-overlay >> .frame:visible")).to_have_count(0)
    assert site.front.count("/api/ready/stream") == 1


async def test_a_silent_stream_is_checked_by_asking(script: ScriptSite, visit: Visit) -> None:
    script.say(loading())
    page = await visit(script, CARD, clock=True)
    await until(lambda: script.front.count("/stream") == 1)
    await says(page, "Getting ready")
    asked = script.front.count("/api/ready")
    await page.clock.run_for(15_000)
    await until(lambda: script.front.count("/api/ready") == asked + 1)
    assert script.front.count("/stream") == 1


async def test_after_sleep_it_asks_at_once(script: ScriptSite, visit: Visit) -> None:
    script.say(loading())
    page = await visit(script, CARD, clock=True)
    await until(lambda: script.front.count("/stream") == 1)
    # Heard on the stream: one that has said nothing yet would be given up instead of asked about.
    script.say(loading(progress=50))
    await says(page, "50 %")
    script.body = loading(progress=77)
    await page.clock.fast_forward(3_600_000)
    await says(page, "77 %")


async def test_a_hidden_page_leaves_its_stream_to_others_and_comes_back_to_it(site: BoardSite, visit: Visit) -> None:
    page = await visit(site, CARD)
    await until(lambda: site.front.count("/api/ready/stream") == 1)
    await page.evaluate(TURN.format("true"))
    await until(lambda: site.front.count("/api/ready") > 3)
    await page.evaluate(TURN.format("false"))
    await until(lambda: site.front.count("/api/ready/stream") == 2)
    await _told(page, site)


TURN = """Object.defineProperty(document, 'hidden', {{value: {}, configurable: true}});
document.dispatchEvent(new Event('visibilitychange'))"""


async def test_what_was_retried_elsewhere_is_seen_after_a_failure(site: BoardSite, visit: Visit) -> None:
    site.board.component("tts").fail("Out of memory", "out_of_memory")
    page = await visit(site, CARD)
    await says(page, "This did not start")
    await _told(page, site)


async def test_a_watching_overlay_comes_back_when_it_is_not_ready_any_more(script: ScriptSite, visit: Visit) -> None:
    script.say(ready())
    page = await visit(script, CARD.replace("delay", "watch delay"), clock=True)
    await is_state(page, "ready")
    script.body = loading()
    await page.clock.run_for(16_000)
    await says(page, "Getting ready")
    script.say(ready())
    await page.clock.run_for(2_000)
    await is_state(page, "ready")
    await page.clock.run_for(1_100)
    await expect(page.locator("glowplug-overlay .frame")).to_be_hidden()


async def test_refresh_brings_it_back_too(script: ScriptSite, visit: Visit) -> None:
    script.say(ready())
    page = await visit(script, CARD)
    await is_state(page, "ready")
    asked = script.front.count("/api/ready")
    script.body = loading()
    await page.evaluate("document.querySelector('glowplug-overlay').refresh()")
    await says(page, "Getting ready")
    assert script.front.count("/api/ready") > asked


async def test_an_app_waits_with_its_own_sockets_until_it_is_ready(site: BoardSite, visit: Visit) -> None:
    page = await visit(site, "<p></p>")
    await page.evaluate(
        "void import('/glowplug/overlay.js').then(({whenReady}) => whenReady('/api/ready', {components: 'chat'}))"
        ".then(body => window.open1 = body.services.chat.ready)"
    )
    await until(lambda: site.front.count("/api/ready/stream") == 1)
    assert await page.evaluate("window.open1") is None
    site.board.component("chat").ready()
    await page.wait_for_function("window.open1 === true")


async def test_a_wait_that_is_given_up_ends_with_the_reason(site: BoardSite, visit: Visit) -> None:
    page = await visit(site, "<p></p>")
    reason = await page.evaluate(
        "import('/glowplug/overlay.js')"
        ".then(({whenReady}) => whenReady('/api/ready', {signal: AbortSignal.timeout(50)}))"
        ".catch(error => error.name)"
    )
    assert reason == "TimeoutError"


async def test_changed_attributes_are_followed(script: ScriptSite, visit: Visit) -> None:
    script.say(loading(services={"tts": tts(), "chat": tts(label="Chat")}))
    page = await visit(script, CARD)
    await expect(page.locator("glowplug-overlay .row")).to_have_count(2)
    await page.evaluate("document.querySelector('glowplug-overlay').components = ['chat']")
    await expect(page.locator("glowplug-overlay .row")).to_have_count(1)
    await page.evaluate("document.querySelector('glowplug-overlay').mode = 'blocking'")
    await expect(page.get_by_role("dialog")).to_be_visible()


async def _told(page: Page, site: BoardSite) -> None:
    """See the page follow the board to its end."""
    voice = site.board.component("tts")
    if not voice.status.is_running:
        voice.begin()
    voice.stage("read")
    await says(page, "Reading weights")
    site.board.component("chat").ready()
    voice.ready()
    await is_state(page, "ready")
