"""What the overlay says: honest times, plain words, in the reader's language."""

# ruff: noqa: RUF001 - a range is written with its own dash

from __future__ import annotations

import re

import pytest
from playwright.async_api import Locator, Page, expect
from tests.servers.readiness_site import ScriptSite
from tests.ui.bodies import chat, error, failed, loading, ready, tts
from tests.ui.conftest import Visit
from tests.ui.reading import is_state, panel, says, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

CARD = '<glowplug-overlay src="/api/ready" delay="0"></glowplug-overlay>'


async def _streaming(script: ScriptSite, visit: Visit, **changes: object) -> Page:
    script.say(loading(**changes))
    page = await visit(script, CARD, clock=True)
    await until(lambda: script.front.count("/stream") == 1)
    await says(page, "Getting ready")
    await page.clock.pause_at(await page.evaluate("Date.now() / 1000 + 1"))
    script.say(script.body)
    return page


async def _heard(page: Page, script: ScriptSite, **changes: object) -> None:
    script.say(loading(**changes))
    await page.wait_for_function(
        "n => document.querySelector('glowplug-overlay').snapshot.progress === n", arg=changes["progress"], polling=20
    )


def _eta(page: Page) -> Locator:
    return page.locator("glowplug-overlay .eta")


async def test_no_time_is_promised_before_it_is_earned(script: ScriptSite, visit: Visit) -> None:
    page = await _streaming(script, visit)
    await says(page, "Loading for 12 s")
    await expect(_eta(page)).to_have_text("")


async def test_a_promise_is_a_range_and_counts_down_by_itself(script: ScriptSite, visit: Visit) -> None:
    page = await _streaming(script, visit, estimated_seconds=40, estimated_seconds_p90=60, progress=44)
    await expect(_eta(page)).to_have_text("about 40–60 s left")
    await page.clock.run_for(10_000)
    await expect(_eta(page)).to_have_text("about 30–50 s left")
    await says(page, "Loading for 22 s")


async def test_it_never_turns_negative_and_ends_in_words(script: ScriptSite, visit: Visit) -> None:
    page = await _streaming(script, visit, estimated_seconds=3, estimated_seconds_p90=9, progress=44)
    await page.clock.run_for(5_000)
    await expect(_eta(page)).to_have_text(re.compile(r"less than [345] s left"))
    await page.clock.run_for(6_000)
    await expect(_eta(page)).to_have_text("Longer than usual")


async def test_a_small_correction_upward_is_not_shown(script: ScriptSite, visit: Visit) -> None:
    page = await _streaming(script, visit, estimated_seconds=20, estimated_seconds_p90=30, progress=44)
    await page.clock.run_for(2_000)
    await _heard(page, script, estimated_seconds=19, estimated_seconds_p90=29, progress=45)
    await expect(_eta(page)).to_have_text(re.compile(r"about 1[5-8]–30 s left"))
    await page.clock.run_for(3_000)
    await expect(_eta(page)).to_have_text(re.compile(r"about 1[2-5]–25 s left"))


async def test_a_large_correction_upward_says_so(script: ScriptSite, visit: Visit) -> None:
    page = await _streaming(script, visit, estimated_seconds=10, estimated_seconds_p90=15, progress=44)
    await _heard(page, script, estimated_seconds=40, estimated_seconds_p90=60, progress=45)
    await expect(_eta(page)).to_have_text("Slower than thought: about 40–60 s left")
    await _heard(page, script, estimated_seconds=5, estimated_seconds_p90=8, progress=46)
    await expect(_eta(page)).to_have_text("about 5–8 s left")


async def test_an_overrun_is_told_in_the_servers_words_instead_of_a_number(script: ScriptSite, visit: Visit) -> None:
    page = await _streaming(script, visit, estimated_seconds=10, estimated_seconds_p90=15, progress=44)
    words = "Longer than usual: 95 s, usually under 60 s"
    await _heard(page, script, estimated_seconds=30, estimated_seconds_p90=40, message=words, progress=45)
    await says(page, words, "Copy report")
    await expect(_eta(page)).to_have_text("")


async def test_what_is_older_than_two_heartbeats_is_greyed_and_held(script: ScriptSite, visit: Visit) -> None:
    page = await _streaming(script, visit, estimated_seconds=80, estimated_seconds_p90=90, progress=44)
    script.front.status = 502
    await page.clock.run_for(20_000)
    await is_state(page, "unreachable")
    await page.clock.run_for(11_000)
    await expect(panel(page)).to_have_class(re.compile("stale"))
    held = await _eta(page).text_content()
    await page.clock.run_for(30_000)
    await says(page, held or "")
    assert held == "about 50–60 s left"


async def test_the_bar_is_undetermined_until_there_is_evidence(script: ScriptSite, visit: Visit) -> None:
    page = await _streaming(script, visit, progress=0)
    bar = page.get_by_role("progressbar", name="Loading progress")
    await expect(bar).to_be_visible()
    assert await bar.get_attribute("aria-valuenow") is None
    await _heard(page, script, progress=43)
    await expect(bar).to_have_attribute("aria-valuenow", "43")


async def test_each_component_has_its_tick_label_model_and_stage(script: ScriptSite, visit: Visit) -> None:
    services = {
        "chat": chat(),
        "tts": tts(),
        "stt": tts(label="Dictation", status="unavailable", reason="not_installed", required=False, message=None),
        "vad": tts(label="Pauses", status="pending", progress=None, reason="in 8 s (2 of 5)", message=None),
    }
    script.say(loading(services=services))
    page = await visit(script, CARD)
    rows = page.locator("glowplug-overlay .row")
    await expect(rows).to_have_text(
        [
            re.compile("Chat.*tiny-chat.*Ready"),
            re.compile("Speech.*tiny-voice.*Loading · 43 %.*Reading weights, 3.1 of 9.8 GB"),
            re.compile("Dictation.*optional.*Not installed"),
            re.compile("Pauses.*Waiting.*Trying again in 8 s"),
        ]
    )
    icons = await rows.locator(".tick").evaluate_all("all => all.map(one => one.dataset.icon)")
    assert icons == ["ready", "loading", "unavailable", "pending"]
    await says(page, "Ready to use: Chat")


async def test_a_component_asked_for_that_is_not_there_is_named_in_words(script: ScriptSite, visit: Visit) -> None:
    absent = tts(label="Dictation", status="unavailable", reason="not_installed", required=False, message=None)
    script.say(loading(services={"stt": absent}))
    page = await visit(script, CARD.replace("<glowplug-overlay", '<glowplug-overlay components="stt"'))
    await says(page, "This did not start", "Not installed")
    assert "not_installed" not in await panel(page).inner_text()


async def test_only_the_components_asked_for_decide(script: ScriptSite, visit: Visit) -> None:
    script.say(loading(services={"chat": tts(label="Chat"), "tts": failed(label="Speech")}))
    page = await visit(script, CARD.replace("delay", 'components="chat" delay'))
    await says(page, "Getting ready")
    await expect(page.locator("glowplug-overlay .row")).to_have_count(1)
    script.say(loading(services={"chat": chat(), "tts": failed()}))
    await is_state(page, "ready")


async def test_a_component_that_the_server_does_not_know_is_named(script: ScriptSite, visit: Visit) -> None:
    script.say(loading())
    page = await visit(script, CARD.replace("delay", 'components="chatt" delay'))
    await says(page, "chatt", "Unknown to the server")


async def test_german_pages_read_german(script: ScriptSite, visit: Visit) -> None:
    script.say(loading(estimated_seconds=40, estimated_seconds_p90=60))
    page = await visit(script, CARD.replace("delay", 'lang="de-AT" delay'))
    await says(page, "Wird vorbereitet", "Die KI-Modelle werden geladen", "Gewichte werden gelesen, 3.1 von 9.8 GB")
    await says(page, "noch etwa 40–60 s", "Schon bereit: Chat", "Lädt seit")
    script.say(error())
    await says(page, "Der Start ist misslungen", "Speech konnte nicht starten: Zu wenig Speicher", "Noch einmal")


async def test_strings_can_be_given_for_one_overlay_or_a_whole_language(script: ScriptSite, visit: Visit) -> None:
    script.say(loading())
    page = await visit(script, CARD)
    await says(page, "Getting ready")
    await page.evaluate("document.querySelector('glowplug-overlay').strings = {loading: 'One moment'}")
    await says(page, "One moment", "Loading for")
    await page.evaluate(
        "customElements.get('glowplug-overlay').strings.fr = {loading: 'Un instant', status: {ready: 'Prêt'}}"
    )
    await page.evaluate("Object.assign(document.querySelector('glowplug-overlay'), {strings: null, lang: 'fr'})")
    await says(page, "Un instant", "Prêt", "Loading for")


async def test_a_banner_tells_the_running_stage_in_its_one_line(script: ScriptSite, visit: Visit) -> None:
    script.say(loading())
    page = await visit(script, CARD.replace("delay", 'mode="banner" delay'))
    await says(page, "Speech: Reading weights, 3.1 of 9.8 GB")


async def test_what_the_page_puts_into_the_slots_is_shown(script: ScriptSite, visit: Visit) -> None:
    script.say(loading())
    slots = '<b slot="title">Hold on</b><i slot="while-waiting">Read this</i><a slot="actions" href="#">Elsewhere</a>'
    page = await visit(script, CARD.replace("></", f'>{slots}<u slot="error">Call us</u></'))
    for text in ("Hold on", "Read this", "Elsewhere"):
        await expect(page.get_by_text(text)).to_be_visible()
    await expect(page.get_by_text("Call us")).to_be_hidden()
    script.say(error())
    await expect(page.get_by_text("Call us")).to_be_visible()


async def test_events_carry_what_happened(script: ScriptSite, visit: Visit) -> None:
    script.say(loading())
    page = await visit(script, CARD, before=HEAR)
    await says(page, "Getting ready")
    script.say(error())
    await says(page, "This did not start")
    script.say(ready())
    await page.evaluate("document.querySelector('glowplug-overlay').refresh()")
    await is_state(page, "ready")
    heard = await page.evaluate("heard")
    assert [one for one in heard if one[0] != "progress"] == [
        ["failed", "Speech initialization failed: Out of memory"],
        ["ready", True],
    ]
    assert heard[0] == ["progress", 43]


HEAR = """window.heard=[];
const hear=(n,f)=>addEventListener(n,e=>heard.push([n,f(e.detail)]),true);
hear('progress',d=>d.progress);hear('failed',d=>d.message);hear('ready',d=>d.snapshot.ready)"""
