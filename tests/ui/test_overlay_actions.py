"""What people can do: retry, copy a report, hide it; and what `replay` does for their requests."""

from __future__ import annotations

import json
import re

import pytest
from playwright.async_api import Page, expect
from tests.servers.readiness_site import BoardSite, ScriptSite
from tests.ui.bodies import error, loading
from tests.ui.conftest import Visit
from tests.ui.reading import is_state, panel, says, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

CARD = '<glowplug-overlay src="/api/ready" delay="0"></glowplug-overlay>'
REPLAY = '<glowplug-overlay src="/api/ready" replay></glowplug-overlay>'
OVERLAY = "document.querySelector('glowplug-overlay')"


async def _retry(page: Page) -> None:
    await page.get_by_role("button", name="Retry").click()


async def test_retry_loads_what_failed_again(site: BoardSite, visit: Visit) -> None:
    site.board.component("chat").ready()
    site.board.component("tts").fail("Out of memory", "out_of_memory")
    page = await visit(site, CARD)
    await says(page, "This did not start", "Speech initialization failed: Out of memory", "Free some memory")
    await _retry(page)
    await until(lambda: site.retried == [("tts",)])
    await says(page, "Getting ready")
    site.board.component("tts").ready()
    await is_state(page, "ready")


async def test_an_overlay_of_some_components_retries_those_alone(site: BoardSite, visit: Visit) -> None:
    for name in ("chat", "tts"):
        site.board.component(name).fail("Out of memory", "out_of_memory")
    page = await visit(site, CARD.replace("delay", 'components="chat" delay'))
    await says(page, "This did not start")
    await _retry(page)
    await until(lambda: site.retried == [("chat",)])


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "A token is needed"),
        (403, "A token is needed"),
        (500, "Failed (500)"),
    ],
)
async def test_a_refused_retry_says_why(script: ScriptSite, visit: Visit, status: int, words: str) -> None:
    script.say(error())
    script.retry_answer = (status, {})
    page = await visit(script, CARD)
    await _retry(page)
    await says(page, words)


async def test_a_retry_that_comes_too_soon_says_when_and_waits(script: ScriptSite, visit: Visit) -> None:
    script.say(error())
    script.retry_answer = (429, {"Retry-After": "4"})
    page = await visit(script, CARD, clock=True)
    await says(page, "This did not start")
    await _retry(page)
    await expect(panel(page)).to_contain_text(re.compile(r"Retry again in \d s"))
    button = page.get_by_role("button", name="Retry", exact=True)
    await expect(button).to_have_attribute("aria-disabled", "true")
    await button.click(force=True)
    await page.clock.run_for(6_000)
    await expect(button).to_have_attribute("aria-disabled", "false")
    assert len(script.retry_headers) == 1


async def test_the_page_may_send_headers_along_or_retry_by_itself(script: ScriptSite, visit: Visit) -> None:
    script.say(error())
    page = await visit(script, CARD)
    await page.evaluate(f"{OVERLAY}.headers = async () => ({{Authorization: 'Bearer secret'}})")
    await _retry(page)
    await until(lambda: len(script.retry_headers) == 1)
    assert script.retry_headers[0]["authorization"] == "Bearer secret"
    await page.evaluate(f"{OVERLAY}.addEventListener('retry', e => {{ e.preventDefault(); window.asked = true }})")
    await expect(page.get_by_role("button", name="Retry")).to_have_attribute("aria-disabled", "false")
    await _retry(page)
    assert await page.evaluate("asked") is True
    assert len(script.retry_headers) == 1


async def test_without_a_route_for_it_there_is_no_retry(script: ScriptSite, visit: Visit) -> None:
    script.say(error(links={}))
    page = await visit(script, CARD)
    await says(page, "This did not start")
    await expect(page.get_by_role("button", name="Retry")).to_have_count(0)


@pytest.mark.parametrize("clipboard", ["allowed", "missing"])
async def test_a_report_can_be_copied(script: ScriptSite, visit: Visit, clipboard: str) -> None:
    script.say(error())
    before = "" if clipboard == "allowed" else "Object.defineProperty(navigator, 'clipboard', {value: undefined})"
    page = await visit(script, CARD, before=before, permissions=["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Copy report").click()
    await says(page, "Copied")
    await page.evaluate("document.body.append(Object.assign(document.createElement('textarea'), {id: 'paste'}))")
    await page.locator("#paste").focus()
    await page.keyboard.press("Control+V")
    report = json.loads(await page.locator("#paste").input_value())
    assert report["snapshot"]["state"] == "ERROR"
    assert report["connection"][0]["what"] == "asked: 200"
    assert report["page"] == f"{script.url}/"


async def test_hiding_lasts_until_something_fails(script: ScriptSite, visit: Visit) -> None:
    script.say(loading())
    page = await visit(script, CARD)
    await page.get_by_role("button", name="Hide").click()
    await expect(panel(page)).to_be_hidden()
    script.say(error())
    await says(page, "This did not start")


async def test_a_safe_request_that_came_too_early_is_sent_again_once_ready(site: BoardSite, visit: Visit) -> None:
    page = await visit(site, REPLAY)
    await page.wait_for_function("document.querySelector('glowplug-overlay').state")
    await page.evaluate("void fetch('/work').then(answer => answer.json()).then(body => window.work = body.done)")
    await until(lambda: site.worked == ["GET"])
    _finish(site)
    await page.wait_for_function("window.work === 'GET'")
    assert site.worked == ["GET", "GET"]


async def test_a_request_that_may_not_be_sent_twice_is_returned_as_it_is(site: BoardSite, visit: Visit) -> None:
    page = await visit(site, REPLAY)
    assert await page.evaluate("fetch('/work', {method: 'POST'}).then(answer => answer.status)") == 425
    assert site.worked == ["POST"]


async def test_with_an_idempotency_key_it_may(site: BoardSite, visit: Visit) -> None:
    page = await visit(site, REPLAY)
    await page.wait_for_function("document.querySelector('glowplug-overlay').state")
    await page.evaluate(
        "void fetch(new Request('/work', {method: 'POST', body: 'hello', headers: {'Idempotency-Key': 'k'}}))"
        ".then(answer => answer.json()).then(body => window.work = body.body)"
    )
    await until(lambda: site.worked == ["POST"])
    _finish(site)
    await page.wait_for_function("window.work === 'hello'")
    assert site.worked == ["POST", "POST"]


async def test_a_request_that_is_given_up_meanwhile_ends(site: BoardSite, visit: Visit) -> None:
    page = await visit(site, REPLAY)
    assert (
        await page.evaluate("fetch('/work', {signal: AbortSignal.timeout(300)}).catch(e => e.name)") == "TimeoutError"
    )
    assert site.worked == ["GET"]


async def test_when_the_load_fails_the_early_answer_is_handed_out(site: BoardSite, visit: Visit) -> None:
    page = await visit(site, REPLAY)
    await page.evaluate("void fetch('/work').then(answer => window.early = answer.status)")
    await until(lambda: site.worked == ["GET"])
    site.board.component("tts").fail("Out of memory", "out_of_memory")
    await page.wait_for_function("window.early === 425")


async def test_it_is_sent_a_bounded_number_of_times(site: BoardSite, visit: Visit) -> None:
    site.early_status = 503
    _finish(site)
    site.board.is_ready = lambda *names: False  # type: ignore[method-assign]
    page = await visit(site, REPLAY, clock=True)
    await is_state(page, "ready")
    await page.evaluate("void fetch('/work').then(answer => window.early = answer.status)")
    for count in range(1, 7):
        await until(lambda count=count: len(site.worked) >= count)
        await page.clock.run_for(4_000)
    await page.wait_for_function("window.early === 503")
    assert len(site.worked) == 6


async def test_without_the_attribute_fetch_is_left_alone(site: BoardSite, visit: Visit) -> None:
    page = await visit(site, CARD)
    native = "fetch.toString().includes('native code')"
    await page.wait_for_function("document.querySelector('glowplug-overlay').state")
    assert await page.evaluate(native)
    await page.evaluate(f"{OVERLAY}.setAttribute('replay', '')")
    assert not await page.evaluate(native)
    await page.evaluate(f"{OVERLAY}.remove()")
    assert await page.evaluate(native)


def _finish(site: BoardSite) -> None:
    for one in site.board.components:
        one.begin()
        one.ready()
