"""The gateway as a whole: its life, its guards at the door, and what holds whatever happens."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.unit.gateway.house import House, Told, house, parts, picture, policy, settle

from glowplug.broker import Hint
from glowplug.brokers.rows import RowsBroker
from glowplug.clock import ManualClock
from glowplug.errors import Unreachable
from glowplug.gateway.app import build_app
from glowplug.gateway.auth import Guard
from glowplug.gateway.parts import ReadinessRoutes
from glowplug.gateway.policy import Access
from glowplug.gateway.problems import Shield
from glowplug.gateway.upkeep import Upkeep
from glowplug.job import JobState, Outcome, OutcomeKind
from glowplug.readiness import Board, MergedBoard, State, Status
from glowplug.store import JobFilter
from glowplug.stores.memory import MemoryStore


class TestItsLife:
    async def test_the_applications_lifespan_is_the_gateways(self, tmp_path: Path) -> None:
        async with parts(tmp_path, ManualClock(), policy()) as made:
            app = build_app(made)
            assert not made.board.is_ready()
            async with app.router.lifespan_context(app):
                assert made.board.is_ready()
            assert made.board.snapshot().state is State.INITIALIZING

    async def test_a_store_that_cannot_be_read_at_the_start_is_an_error_and_leaves_nothing_behind(
        self, tmp_path: Path
    ) -> None:
        class Away(MemoryStore):
            async def workers(self) -> Any:
                raise Unreachable("the database does not answer")

        clock = ManualClock()
        async with parts(tmp_path, clock, policy(), store=Away(clock=clock)) as made:
            gateway = build_app(made).state.gateway
            with pytest.raises(Unreachable):
                await gateway.start()
            assert not made.board.is_ready()
            assert made.board.components == ()

    async def test_after_a_restart_in_place_streams_run_again(self, home: House) -> None:
        await home.gateway.stop()
        await home.gateway.start()
        await home.ready_worker()
        job = await home.submit()
        async with asyncio.timeout(20):
            stream = home.gateway.feed.events(job["id"], after=1)
            nothing_yet = asyncio.ensure_future(anext(stream))
            await settle()
            assert not nothing_yet.done()
            await home.client.post(job["urls"]["cancel"])
            event = await nothing_yet
            assert event is not None
            assert event.type == "canceled"

    async def test_probes_are_made_from_the_gateways_board_and_its_models(self, tmp_path: Path) -> None:
        given: list[tuple[Board, MergedBoard, Upkeep]] = []

        def probes(own: Board, models: MergedBoard, upkeep: Upkeep) -> ReadinessRoutes:
            given.append((own, models, upkeep))

            async def live(request: Any) -> PlainTextResponse:
                return PlainTextResponse("alive")

            return ReadinessRoutes([Route("/livez", live)])

        async with house(tmp_path, probes=probes) as home:
            assert (await home.client.get("/livez")).text == "alive"
            assert given == [(home.parts.board, home.gateway.registry.board, home.gateway.upkeep)]

    async def test_hanging_up_ends_whoever_follows_readiness_and_the_next_may_follow_again(self, home: House) -> None:
        for board in (home.parts.board, home.gateway.registry.board):
            async with asyncio.timeout(20), board.subscribe() as before:
                await anext(before)
                home.gateway.hang_up()
                with pytest.raises(StopAsyncIteration):
                    await anext(before)
            async with asyncio.timeout(20), board.subscribe() as after:
                assert await anext(after)

    async def test_hints_that_cannot_be_sent_do_not_stop_a_submission(self, tmp_path: Path) -> None:
        class Away(RowsBroker):
            async def publish(self, hints: Any) -> None:
                raise Unreachable("no broker")

        clock = ManualClock()
        async with house(tmp_path, clock, broker=Away(clock=clock)) as home:
            worker = await home.ready_worker()
            job = await home.submit()
            assert (await worker.one()).hold.job_id == job["id"]

    async def test_a_submission_hints_once_for_each_new_job(self, tmp_path: Path) -> None:
        class Counting(RowsBroker):
            hints: list[Hint] = []  # noqa: RUF012

            async def publish(self, hints: Any) -> None:
                self.hints.extend(hints)
                await super().publish(hints)

        clock = ManualClock()
        broker = Counting(clock=clock)
        async with house(tmp_path, clock, broker=broker) as home:
            await home.ready_worker()
            for _ in range(3):
                job = await home.submit(headers={"idempotency-key": "k"}, priority=4)
            assert broker.hints == [Hint(job["id"], "echo.say", 4)]


class TestTheDoor:
    async def call(self, app: Any, scope: dict[str, Any]) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        return sent

    async def test_a_socket_that_may_not_come_in_is_closed_with_the_reason(self) -> None:
        async def never_reached(scope: Any, receive: Any, send: Any) -> None:
            raise AssertionError

        guard = Guard(never_reached, Access(worker_token="w", api_token="a"))
        headers = [(b"host", b"localhost")]
        sent = await self.call(guard, {"type": "websocket", "path": "/ws/jobs/1", "headers": headers})
        assert sent == [{"type": "websocket.close", "code": 1008, "reason": "unauthorized"}]

    async def test_what_is_no_request_passes(self) -> None:
        reached: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            reached.append(scope["type"])

        await self.call(Guard(app, Access(worker_token="w")), {"type": "lifespan"})
        await self.call(Shield(app), {"type": "lifespan"})
        assert reached == ["lifespan", "lifespan"]

    async def test_an_error_after_the_answer_has_begun_is_told_and_adds_nothing(self, told: Told) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise ValueError("half-way")

        sent = await self.call(Shield(app), {"type": "http", "path": "/x", "headers": []})
        assert [message["type"] for message in sent] == ["http.response.start"]
        assert told.of("http.failed")[0]["error"] == "ValueError: half-way"

    @pytest.mark.parametrize("path", ["/v1/jobs", "/v1/embeddings"])
    async def test_who_is_still_inside_when_the_server_ends_is_told_to_ask_again(self, path: str) -> None:
        inside = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            inside.set()
            await asyncio.Event().wait()

        asking = asyncio.create_task(self.call(Shield(slow), {"type": "http", "path": path, "headers": []}))
        async with asyncio.timeout(20):
            await inside.wait()
            asking.cancel()
            head, body = await asking
        said = json.loads(body["body"])
        assert (head["status"], dict(head["headers"])[b"retry-after"]) == (503, b"1")
        assert said.get("error", said)["code"] == "draining"

    async def test_an_answer_that_has_begun_ends_with_the_server(self) -> None:
        begun = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            begun.set()
            await asyncio.Event().wait()

        asking = asyncio.create_task(self.call(Shield(slow), {"type": "http", "path": "/x", "headers": []}))
        async with asyncio.timeout(20):
            await begun.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking


class Chaos:
    """Workers that come, go, flap and finish at random, over a gateway that must keep its promises."""

    def __init__(self, home: House, seed: int) -> None:
        self.home = home
        self.random = random.Random(seed)
        self.workers = {name: home.worker(name) for name in ("w1", "w2", "w3")}
        self.status: dict[str, Status] = {}
        self.held: dict[str, list[Any]] = {name: [] for name in self.workers}
        self.submitted = 0

    async def step(self) -> None:
        name = self.random.choice(list(self.workers))
        await self.random.choice([self.submit, self.flap, self.claim, self.claim, self.end, self.die, self.wait])(name)

    async def submit(self, name: str) -> None:
        await self.home.submit(str(self.submitted))
        self.submitted += 1

    async def flap(self, name: str) -> None:
        self.status[name] = self.random.choice([Status.LOADING, Status.READY, Status.READY, Status.ERROR])
        await self.workers[name].register(picture(self.status[name]))

    async def claim(self, name: str) -> None:
        claimed = await self.workers[name].claim(self.random.randint(1, 3))
        assert not claimed.grants or self.status.get(name) is Status.READY, "work for a worker that is not ready"
        self.held[name] += claimed.grants

    async def end(self, name: str) -> None:
        if self.held[name]:
            grant = self.held[name].pop()
            kind = self.random.choice([OutcomeKind.COMPLETED, OutcomeKind.COMPLETED, OutcomeKind.INTERRUPTED])
            await self.workers[name].end(grant.hold, Outcome(kind))

    async def die(self, name: str) -> None:
        if self.random.random() < 0.2:
            await self.home.gateway.worker_died(name)
            self.status.pop(name, None)
            self.workers[name].incarnation += "x"

    async def wait(self, name: str) -> None:
        await self.home.clock.advance(self.random.choice([0.1, 5, 30]))

    async def drain(self) -> None:
        """Let one good worker finish everything."""
        worker = self.home.worker("last")
        for _ in range(400):
            await worker.register()
            claimed = await worker.claim(10)
            for grant in claimed.grants:
                await worker.finish(grant)
            page = await self.home.store.jobs(JobFilter(states=(JobState.QUEUED, JobState.RUNNING)), limit=1)
            if not page.jobs:
                return
            await self.home.clock.advance(10)
        raise AssertionError("some job never ended")


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_workers_do_no_job_is_lost_none_ends_twice_and_none_goes_to_one_that_is_not_ready(
    home: House, seed: int
) -> None:
    async with asyncio.timeout(100):
        await home.worker("first").register(picture(Status.LOADING))
        chaos = Chaos(home, seed)
        for _ in range(150):
            await chaos.step()
        await chaos.drain()
        page = await home.store.jobs(JobFilter(), limit=1000)
        assert len(page.jobs) == chaos.submitted
        for job in page.jobs:
            events = await home.store.events(job.id, limit=1000)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert job.done
            assert sum(event.type in ("completed", "failed", "canceled") for event in events) == 1
            assert events[-1].type == job.state.value
