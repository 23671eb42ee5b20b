"""The link in one process, and the faults that it can be told to have."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.runtime.desks import ScriptedLink

from glowplug.errors import NotReady, Unreachable
from glowplug.link import Accepted, Claim, Claimed, Events, Finish, Register, Registered, Renew, Renewed
from glowplug.links.memory import MemoryLink
from glowplug.store import Want

CLAIM = Claim("w1", "i1", (Want(("echo.say",), 1),))


async def test_every_call_reaches_the_desk_and_its_answer_comes_back() -> None:
    desk = ScriptedLink()
    link = MemoryLink(desk)
    assert await link.register(Register("w1", "i1", 1, {})) == Registered(60.0)
    assert await link.claim(CLAIM) == Claimed()
    assert await link.renew(Renew("w1", "i1", ())) == Renewed(())
    assert await link.events(Events("w1", ())) == Accepted()
    assert await link.finish(Finish("w1", ())) == Accepted()
    assert [name for name, _ in desk.asked] == ["register", "claim", "renew", "events", "finish"]


async def test_a_message_arrives_as_a_copy_made_of_plain_json() -> None:
    desk = ScriptedLink()
    said = {"nested": [1, 2]}
    await MemoryLink(desk).register(Register("w1", "i1", 1, said))
    (arrived,) = desk.of("register")
    assert arrived.snapshot == said
    assert arrived.snapshot is not said


async def test_a_lost_request_never_reaches_the_desk_and_a_lost_answer_comes_too_late() -> None:
    desk = ScriptedLink()
    link = MemoryLink(desk)
    link.drop_requests("claim", 2)
    link.drop_answers("claim")
    for reached in (0, 0, 1):
        with pytest.raises(Unreachable):
            await link.claim(CLAIM)
        assert len(desk.of("claim")) == reached
    assert await link.claim(CLAIM) == Claimed()
    assert await link.renew(Renew("w1", "i1", ())) == Renewed(())


async def test_a_cut_fails_calls_that_wait_and_those_that_come_until_it_is_mended() -> None:
    desk = ScriptedLink()
    desk.hang.add("claim")
    link = MemoryLink(desk)
    waiting = asyncio.create_task(link.claim(CLAIM))
    await desk.until("claim")
    link.cut()
    with pytest.raises(Unreachable):
        await waiting
    with pytest.raises(Unreachable):
        await link.renew(Renew("w1", "i1", ()))
    link.mend()
    assert await link.renew(Renew("w1", "i1", ())) == Renewed(())
    desk.release("claim")


async def test_the_desks_own_error_passes_as_it_is() -> None:
    desk = ScriptedLink()
    desk.fail("claim", NotReady("later"))
    with pytest.raises(NotReady, match="later"):
        await MemoryLink(desk).claim(CLAIM)


async def test_a_caller_who_gives_up_takes_the_call_back() -> None:
    desk = ScriptedLink()
    desk.hang.add("claim")
    waiting = asyncio.create_task(MemoryLink(desk).claim(CLAIM))
    await desk.until("claim")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_it_can_be_led_to_another_desk() -> None:
    first, second = ScriptedLink(), ScriptedLink()
    link = MemoryLink(first)
    link.connect_to(second)
    await link.claim(CLAIM)
    assert (len(first.asked), len(second.asked)) == (0, 1)
