"""The registry: who is there, who is ready, and what a restart remembers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.gateway.house import ECHO, Told, picture, policy, settle

from glowplug.clock import ManualClock
from glowplug.errors import DiskFull, InvalidInput
from glowplug.gateway.registry import Registry, checked_url, probe_record, status_body
from glowplug.link import Register
from glowplug.readiness import State, Status
from glowplug.store import WorkerRecord
from glowplug.stores.memory import MemoryStore

MAX_AGE = 300.0
PROBE = 30.0


class CountingStore(MemoryStore):
    """Counts the records that were written, and refuses them while `full`."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.saved: list[WorkerRecord] = []
        self.full = False

    async def save_worker(self, record: WorkerRecord) -> None:
        if self.full:
            raise DiskFull("no room")
        self.saved.append(record)
        await super().save_worker(record)


class Office:
    """A registry with its store and clock."""

    def __init__(self, store: CountingStore | None = None, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.store = store or CountingStore(clock=self.clock)
        self.registry = Registry(self.store, self.clock, policy())
        self.changes: list[str] = []
        self.registry.on_change = self.changes.append
        self._sequence = 0

    async def register(self, status: Status = Status.READY, **more: Any) -> bool:
        self._sequence += 1
        fields = {
            "instance_id": "w1",
            "incarnation": "one",
            "sequence": self._sequence,
            "snapshot": picture(status),
            "models": (ECHO,),
            "url": "http://127.0.0.1:9",
        }
        return await self.registry.register(Register(**(fields | more)))  # type: ignore[arg-type]

    async def notice(self, status: str = "ready", **more: Any) -> None:
        fields = {"instance_id": "s1", "status": status, "last_seen": self.clock.now(), "model_name": "flux"}
        await self.registry.noticed(WorkerRecord(**(fields | more)))

    def status(self, instance_id: str = "w1") -> str:
        entry = self.registry.get(instance_id)
        assert entry is not None
        return entry.record.status


@pytest.fixture
async def office() -> Office:
    return Office()


class TestAnnouncements:
    async def test_a_worker_is_known_by_its_process(self, office: Office) -> None:
        assert await office.register()
        assert office.registry.knows("w1", "one")
        assert not office.registry.knows("w1", "two")
        assert not office.registry.knows("w2", "one")

    async def test_a_new_process_is_told_from_a_repeat(self, office: Office, told: Told) -> None:
        assert await office.register()
        assert not await office.register()
        assert await office.register(incarnation="two")
        assert told.of("worker.registered") == [{"worker": "w1", "models": ["echo"]}] * 2

    @pytest.mark.parametrize(
        ("status", "word"),
        [
            (Status.PENDING, "loading"),
            (Status.FETCHING, "loading"),
            (Status.WARMING, "loading"),
            (Status.READY, "ready"),
            (Status.ERROR, "error"),
        ],
    )
    async def test_the_status_follows_the_picture(self, office: Office, status: Status, word: str) -> None:
        await office.register(status)
        assert office.status() == word

    async def test_a_draining_worker_is_called_so_and_has_nothing_ready(self, office: Office) -> None:
        await office.register(snapshot=picture(draining=True))
        assert office.status() == "draining"
        assert office.registry.ready_models("w1") == frozenset()

    async def test_an_error_is_told_and_goes_with_the_next_good_picture(self, office: Office) -> None:
        await office.register(Status.ERROR)
        entry = office.registry.get("w1")
        assert entry is not None
        assert "no weights" in (entry.record.error or "")
        await office.register(Status.READY)
        assert entry.record.error is None

    async def test_every_change_is_heard_before_it_is_written(self, office: Office) -> None:
        office.store.full = True
        with pytest.raises(DiskFull):
            await office.register()
        assert office.changes == ["w1"]
        assert office.registry.ready_models("w1") == {"echo"}

    async def test_what_could_not_be_written_is_written_with_the_next_announcement(self, office: Office) -> None:
        office.store.full = True
        with pytest.raises(DiskFull):
            await office.register()
        office.store.full = False
        await office.register()
        assert [record.status for record in await office.store.workers()] == ["ready"]

    async def test_progress_alone_is_not_written(self, office: Office) -> None:
        for _ in range(20):
            await office.register(Status.LOADING)
        assert len(office.store.saved) == 1
        await office.register(Status.READY)
        assert [record.status for record in office.store.saved] == ["loading", "ready"]

    async def test_a_status_is_told_once_per_change(self, office: Office, told: Told) -> None:
        for status in (Status.LOADING, Status.LOADING, Status.READY, Status.READY):
            await office.register(status)
        assert told.of("worker.status") == [
            {"worker": "w1", "status": "loading", "previous": ""},
            {"worker": "w1", "status": "ready", "previous": "loading"},
        ]

    async def test_writes_of_one_worker_do_not_overtake_each_other(self, office: Office) -> None:
        await asyncio.gather(*(office.register(one) for one in (Status.LOADING, Status.WARMING, Status.READY)))
        assert [record.status for record in await office.store.workers()] == ["ready"]


class TestTheBoard:
    async def test_a_model_is_ready_when_one_worker_has_it_ready(self, office: Office) -> None:
        await office.register(Status.LOADING)
        assert office.registry.board.snapshot().state is State.LOADING_MODELS
        await office.register(Status.READY, instance_id="w2")
        assert office.registry.board.is_ready("echo")

    async def test_a_worker_that_goes_takes_its_models_with_it(self, office: Office) -> None:
        await office.register()
        await office.registry.leave("w1", "its process ended")
        assert office.registry.board.snapshot().components == ()
        assert office.registry.unfinished_models() == frozenset()

    async def test_a_watcher_hears_at_once(self, office: Office) -> None:
        async with asyncio.timeout(20), office.registry.board.subscribe() as news:
            await anext(news)
            await office.register()
            assert (await anext(news)).ready


class TestNotices:
    async def test_a_service_without_a_link_is_ready_by_its_notice(self, office: Office) -> None:
        await office.notice(load_time_seconds=12.5, url="http://127.0.0.1:9")
        entry = office.registry.get("s1")
        assert entry is not None
        assert (entry.record.status, entry.ready_models) == ("ready", {"flux"})
        component = office.registry.board.snapshot().find("flux")
        assert component is not None
        assert component.timings.load_time_ms == 12_500

    async def test_it_is_handed_no_jobs_for_it_never_announced_itself_on_the_link(self, office: Office) -> None:
        await office.notice()
        assert office.registry.ready_models("s1") == frozenset()

    async def test_ready_clears_the_error_and_an_error_keeps_the_rest(self, office: Office) -> None:
        await office.notice(load_time_seconds=3.0, url="http://127.0.0.1:9")
        await office.notice("error", model_name=None, error="CUDA out of memory")
        body = status_body(office.registry)["services"][0]
        assert (body["status"], body["error"], body["modelName"], body["loadTime"]) == (
            "error",
            "CUDA out of memory",
            "flux",
            3.0,
        )
        await office.notice()
        body = status_body(office.registry)["services"][0]
        assert (body["status"], body["error"], body["url"]) == ("ready", None, "http://127.0.0.1:9")

    async def test_a_notice_brings_back_who_was_given_up(self, office: Office) -> None:
        await office.notice()
        await office.clock.advance(MAX_AGE + 1)
        await office.registry.age()
        assert office.status("s1") == "offline"
        await office.notice()
        await office.registry.age()
        assert office.status("s1") == "ready"


class TestAge:
    async def test_a_worker_unseen_for_too_long_is_offline(self, office: Office) -> None:
        await office.register()
        await office.clock.advance(MAX_AGE)
        await office.registry.age()
        assert office.status() == "ready"
        await office.clock.advance(1)
        await office.registry.age()
        assert office.status() == "offline"
        assert office.registry.pick("echo") is None

    async def test_a_sign_of_life_keeps_it(self, office: Office) -> None:
        await office.register()
        for _ in range(5):
            await office.clock.advance(MAX_AGE - 1)
            office.registry.seen("w1")
            await office.registry.age()
        assert office.status() == "ready"

    async def test_a_sign_of_life_brings_it_back_as_what_it_last_said(self, office: Office) -> None:
        await office.register()
        await office.clock.advance(MAX_AGE + 1)
        await office.registry.age()
        office.registry.seen("w1")
        assert office.status() == "ready"
        assert office.registry.board.is_ready("echo")

    async def test_a_jumping_wall_clock_makes_nobody_old(self, office: Office) -> None:
        await office.register()
        office.clock.jump(office.clock.now() + timedelta(days=3))
        await office.registry.age()
        assert office.status() == "ready"

    async def test_those_long_gone_are_forgotten(self, office: Office) -> None:
        await office.register()
        await office.clock.advance(MAX_AGE + 1)
        await office.registry.age()
        await office.clock.advance(24 * 3600)
        await office.registry.age()
        assert office.registry.get("w1") is None
        assert await office.store.workers() == []

    async def test_when_it_was_seen_is_written_now_and_then(self, office: Office) -> None:
        await office.register()
        for _ in range(4):
            await office.clock.advance(50)
            office.registry.seen("w1")
            await office.registry.age()
        written = (await office.store.workers())[0].last_seen
        assert office.clock.now() - written <= timedelta(seconds=MAX_AGE / 5)
        assert len(office.store.saved) < 5

    async def test_a_stranger_is_not_seen(self, office: Office) -> None:
        office.registry.seen("nobody")
        await office.registry.probed("nobody", None)
        assert list(office.registry) == []


class TestProbes:
    async def test_three_failures_in_a_row_make_a_service_offline(self, office: Office) -> None:
        await office.notice(url="http://127.0.0.1:9")
        for expected in ("ready", "ready", "offline"):
            await office.registry.probed("s1", None)
            assert office.status("s1") == expected

    async def test_a_good_probe_starts_the_count_again(self, office: Office) -> None:
        await office.notice(url="http://127.0.0.1:9")
        for good in (False, False, True, False, False):
            entry = office.registry.get("s1")
            assert entry is not None
            await office.registry.probed("s1", replace(entry.record, failed_probes=0) if good else None)
        assert office.status("s1") == "ready"

    async def test_a_good_probe_refreshes_when_it_was_seen(self, office: Office) -> None:
        await office.notice(url="http://127.0.0.1:9")
        await office.clock.advance(PROBE)
        entry = office.registry.get("s1")
        assert entry is not None
        await office.registry.probed("s1", probe_record(entry.record, {"status": "healthy"}, office.clock.now()))
        assert entry.record.last_seen == office.clock.now()
        assert entry.seen == office.clock.monotonic()

    async def test_a_worker_that_is_heard_on_the_link_stays_but_gets_no_direct_calls(self, office: Office) -> None:
        await office.register()
        for _ in range(3):
            await office.registry.probed("w1", None)
        assert office.status() == "ready"
        assert office.registry.pick("echo") is None
        assert office.registry.ready_models("w1") == {"echo"}

    async def test_a_probe_does_not_overrule_what_came_over_the_link(self, office: Office) -> None:
        await office.register(Status.LOADING)
        entry = office.registry.get("w1")
        assert entry is not None
        await office.registry.probed("w1", probe_record(entry.record, {"status": "healthy"}, office.clock.now()))
        assert office.status() == "loading"

    @pytest.mark.parametrize(
        ("health", "status", "error"),
        [
            ({"status": "healthy", "ready_for_requests": True}, "ready", None),
            ({"status": "loading", "ready_for_requests": False}, "loading", None),
            ({"status": "initializing"}, "loading", None),
            ({"status": "unhealthy", "error": "Out of memory"}, "error", "Out of memory"),
            ({"status": "draining"}, "draining", None),
            ({"status": "healthy", "ready_for_requests": False}, "loading", None),
            ({}, "loading", None),
        ],
    )
    def test_what_a_health_page_means(self, health: dict[str, Any], status: str, error: str | None) -> None:
        before = WorkerRecord(instance_id="s1", last_seen=ManualClock().now(), failed_probes=2)
        after = probe_record(before, health, before.last_seen)
        assert (after.status, after.error, after.failed_probes) == (status, error, 0)

    def test_a_health_page_tells_the_model(self) -> None:
        before = WorkerRecord(instance_id="s1", last_seen=ManualClock().now(), model_name="old")
        assert probe_record(before, {"model_name": "new"}, before.last_seen).model_name == "new"
        assert probe_record(before, {"model_name": 7}, before.last_seen).model_name == "old"


class TestPicking:
    async def test_the_worker_with_the_fewest_outstanding_calls_is_picked(self, office: Office) -> None:
        for name in ("w1", "w2", "w3"):
            await office.register(instance_id=name)
        for name, outstanding in (("w1", 2), ("w2", 0), ("w3", 1)):
            entry = office.registry.get(name)
            assert entry is not None
            entry.outstanding = outstanding
        picked = office.registry.pick("echo")
        assert picked is not None
        assert picked.record.instance_id == "w2"
        second = office.registry.pick("echo", without=["w2"])
        assert second is not None
        assert second.record.instance_id == "w3"

    async def test_of_equals_one_with_a_free_slot_is_picked(self, office: Office) -> None:
        for name in ("w1", "w2", "w3"):
            await office.register(instance_id=name)
        office.registry.offers = lambda instance_id, model: (instance_id, model) in {("w2", "echo"), ("w3", "echo")}
        picked = office.registry.pick("echo")
        assert picked is not None
        assert picked.record.instance_id == "w2"
        picked.outstanding = 1
        again = office.registry.pick("echo")
        assert again is not None
        assert again.record.instance_id == "w3"
        again.outstanding = 1
        last = office.registry.pick("echo")
        assert last is not None
        assert last.record.instance_id == "w1"

    async def test_only_workers_with_an_address_are_picked(self, office: Office) -> None:
        await office.register(url=None)
        assert office.registry.pick("echo") is None

    @pytest.mark.parametrize("status", [Status.LOADING, Status.ERROR, Status.SLEEPING])
    async def test_only_ready_models_are_picked(self, office: Office, status: Status) -> None:
        await office.register(status)
        assert office.registry.pick("echo") is None

    async def test_another_model_is_not_picked(self, office: Office) -> None:
        await office.register()
        assert office.registry.pick("other") is None


class TestRestart:
    async def test_a_restarted_gateway_forgets_nobody(self, office: Office) -> None:
        await office.register()
        await office.notice(url="http://127.0.0.1:8")
        second = Office(office.store, office.clock)
        async with second.registry:
            assert [entry.record.instance_id for entry in second.registry] == ["s1", "w1"]
            assert status_body(second.registry)["ready_count"] == 2

    async def test_but_calls_no_model_ready_by_memory_alone(self, office: Office) -> None:
        await office.register()
        second = Office(office.store, office.clock)
        async with second.registry:
            assert not second.registry.board.snapshot().ready
            assert second.registry.pick("echo") is None
            await second.register()
            assert second.registry.board.is_ready("echo")
            assert second.registry.pick("echo") is not None

    async def test_a_probe_that_agrees_with_the_memory_is_enough_for_direct_calls(self, office: Office) -> None:
        await office.register()
        second = Office(office.store, office.clock)
        async with second.registry:
            entry = second.registry.get("w1")
            assert entry is not None
            for said, able in (("loading", False), ("healthy", True)):
                found = probe_record(entry.record, {"status": said}, second.clock.now())
                await second.registry.probed("w1", found)
                assert (second.registry.pick("echo") is not None) == able
            assert second.registry.ready_models("w1") == frozenset()

    async def test_a_service_without_a_link_is_ready_again_once_probed(self, office: Office) -> None:
        await office.notice(url="http://127.0.0.1:8")
        second = Office(office.store, office.clock)
        async with second.registry:
            assert second.registry.pick("flux") is None
            entry = second.registry.get("s1")
            assert entry is not None
            found = probe_record(entry.record, {"status": "healthy"}, second.clock.now())
            await second.registry.probed("s1", found)
            assert second.registry.pick("flux") is not None

    async def test_but_hands_nobody_jobs_who_has_not_announced_himself_again(self, office: Office) -> None:
        await office.register()
        second = Office(office.store, office.clock)
        async with second.registry:
            assert not second.registry.knows("w1", "one")
            assert second.registry.ready_models("w1") == frozenset()

    async def test_a_picture_that_cannot_be_read_any_more_stops_nothing(self, office: Office) -> None:
        strange = WorkerRecord(instance_id="w1", status="ready", last_seen=office.clock.now(), snapshot={"old": 1})
        await office.store.save_worker(strange)
        second = Office(office.store, office.clock)
        async with second.registry:
            assert second.status() == "ready"
            assert second.registry.pick("echo") is None
            await second.register()
            assert second.registry.pick("echo") is not None

    async def test_time_that_passed_while_it_was_down_counts(self, office: Office) -> None:
        await office.register()
        await office.clock.advance(MAX_AGE + 1)
        second = Office(office.store, office.clock)
        async with second.registry:
            await second.registry.age()
            assert second.status() == "offline"

    async def test_a_clock_that_was_set_back_meanwhile_does_no_harm(self, office: Office) -> None:
        await office.register()
        office.clock.jump(office.clock.now() - timedelta(days=1))
        second = Office(office.store, office.clock)
        async with second.registry:
            await second.registry.age()
            assert second.status() == "ready"

    async def test_the_same_process_is_no_new_one_to_a_restarted_gateway(self, office: Office) -> None:
        await office.register()
        second = Office(office.store, office.clock)
        async with second.registry:
            assert not await second.register()
            assert second.registry.knows("w1", "one")


class TestTheStatusBody:
    async def test_it_has_exactly_the_documented_fields(self, office: Office) -> None:
        await office.notice(load_time_seconds=12.5, url="http://127.0.0.1:9")
        assert status_body(office.registry) == {
            "services": [
                {
                    "instanceId": "s1",
                    "status": "ready",
                    "lastSeen": "2026-01-01T00:00:00.000Z",
                    "modelName": "flux",
                    "loadTime": 12.5,
                    "error": None,
                    "url": "http://127.0.0.1:9",
                }
            ],
            "ready_count": 1,
        }

    async def test_it_counts_only_the_ready(self, office: Office) -> None:
        await office.notice()
        await office.notice("error", instance_id="s2", error="x")
        assert status_body(office.registry)["ready_count"] == 1

    async def test_nobody_is_an_empty_list(self, office: Office) -> None:
        assert status_body(office.registry) == {"services": [], "ready_count": 0}


@pytest.mark.parametrize("url", ["http://10.0.0.1:8000", "https://worker.example", "http://[::1]:8000"])
def test_an_address_is_taken_without_its_final_slash(url: str) -> None:
    assert checked_url(url + "/") == url


def test_no_address_is_fine() -> None:
    assert checked_url(None) is None


@pytest.mark.parametrize(
    "url", ["", "worker:8000", "ftp://worker", "http://", "http://user:secret@worker", "http://w?x=1", "http://w:0"]
)
def test_what_is_no_address_of_a_worker_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        checked_url(url)


async def test_two_announcements_at_once_leave_the_newer_one(office: Office) -> None:
    first = asyncio.create_task(office.register(Status.LOADING))
    second = asyncio.create_task(office.register(Status.READY))
    await settle()
    await asyncio.gather(first, second)
    assert office.status() == "ready"


async def test_an_expected_worker_holds_the_whole_back_until_it_has_announced_itself(office: Office) -> None:
    office.registry.expect("w2", "tortoise")
    await office.register()
    assert not office.registry.board.snapshot().ready
    assert office.registry.board.snapshot().services()["tortoise"]["status"] == "loading"
    await office.register(instance_id="w2")
    assert office.registry.board.snapshot().ready
    office.registry.expect("w2", "tortoise")
    assert office.registry.board.snapshot().ready, "who has announced itself is not waited for again"
