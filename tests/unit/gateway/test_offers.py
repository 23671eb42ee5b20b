"""Finding the task that a caller of another protocol means."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.unit.gateway.house import House, orders, picture

from glowplug.errors import LoadFailed, NotFound, NotReady
from glowplug.gateway.offers import Offers
from glowplug.readiness import Status
from glowplug.store import ModelInfo, TaskInfo


def info(name: str, *tasks: tuple[str, str]) -> ModelInfo:
    return ModelInfo(name, "1", tuple(TaskInfo(f"{name}.{method}", serves=serves) for method, serves in tasks))


SMALL = info("small", ("embed", "embeddings"))
LARGE = info("large", ("embed", "embeddings"), ("embed_fast", "embeddings"), ("draw", "images/generations"))
PLAIN = info("plain", ("say", ""))


async def offers(home: House, *infos: ModelInfo, **statuses: Status) -> Offers:
    shown = picture(**(statuses or {one.name: Status.READY for one in infos}))
    await home.worker().register(shown, models=infos)
    return Offers(home.gateway.catalog, home.gateway.registry, home.gateway.desk.want_loaded)


class TestServing:
    async def test_a_model_by_its_name_or_its_tasks(self, home: House) -> None:
        found = await offers(home, SMALL, PLAIN)
        assert (await found.serving("embeddings", "small")).name == "small.embed"
        assert (await found.serving("embeddings", "small.embed")).name == "small.embed"

    async def test_of_several_tasks_one_has_to_be_named(self, home: House) -> None:
        found = await offers(home, LARGE)
        with pytest.raises(NotFound, match=r"name one of large\.embed, large\.embed_fast"):
            await found.serving("embeddings", "large")
        assert (await found.serving("embeddings", "large.embed_fast")).name == "large.embed_fast"
        assert (await found.serving("images/generations", "large")).name == "large.draw"

    @pytest.mark.parametrize("name", ["nope", "plain", "plain.say", "small.nope", "", "x" * 500])
    async def test_an_unknown_name_is_told_those_that_there_are(self, home: House, name: str) -> None:
        found = await offers(home, SMALL, LARGE, PLAIN)
        with pytest.raises(NotFound, match=r"there are: large\.embed, large\.embed_fast, small$") as raised:
            await found.serving("embeddings", name)
        assert raised.value.data["fields"] == [{"path": "model"}]
        assert len(raised.value.message) < 300

    async def test_where_nobody_serves_it_that_is_said(self, home: House) -> None:
        found = await offers(home, PLAIN)
        with pytest.raises(NotFound, match="there are: none"):
            await found.serving("audio/speech", "plain")

    async def test_a_model_that_has_not_told_its_tasks_is_loading(self, home: House) -> None:
        found = await offers(home, new=Status.LOADING)
        for name in ("new", "new.embed"):
            with pytest.raises(NotReady) as raised:
                await found.serving("embeddings", name)
            assert raised.value.data["state"] == "loading"

    async def test_or_has_failed(self, home: House) -> None:
        found = await offers(home, new=Status.ERROR)
        with pytest.raises(LoadFailed, match="no weights"):
            await found.serving("embeddings", "new")

    async def test_the_names_of_an_operation(self, home: House) -> None:
        found = await offers(home, SMALL, LARGE, PLAIN)
        assert found.names("embeddings") == ["large.embed", "large.embed_fast", "small"]
        assert found.names("images/generations") == ["large"]
        assert found.names("audio/speech") == []


class TestTask:
    @pytest.mark.parametrize(
        ("name", "chosen", "expected"),
        [
            ("small", "", "small.embed"),
            ("small.embed", "", "small.embed"),
            ("large", "draw", "large.draw"),
            ("large", "large.draw", "large.draw"),
            ("large.embed", "draw", "large.embed"),
        ],
    )
    async def test_a_task_by_name(self, home: House, name: str, chosen: str, expected: str) -> None:
        found = await offers(home, SMALL, LARGE)
        assert (await found.task(name, chosen)).name == expected

    @pytest.mark.parametrize(
        ("name", "chosen", "why"),
        [
            ("nope", "", "there are: large, small"),
            ("large", "", r"parameter task: large\.draw, large\.embed"),
            ("large", "nope", r"parameter task: large\.draw"),
            ("large", "small.embed", r"parameter task: large\.draw"),
        ],
    )
    async def test_one_that_is_not_there(self, home: House, name: str, chosen: str, why: str) -> None:
        found = await offers(home, SMALL, LARGE)
        with pytest.raises(NotFound, match=why):
            await found.task(name, chosen)

    async def test_one_that_has_not_told_its_tasks(self, home: House) -> None:
        found = await offers(home, new=Status.LOADING)
        with pytest.raises(NotReady):
            await found.task("new")


class TestReadiness:
    async def test_a_ready_model(self, home: House) -> None:
        (await offers(home, SMALL)).check_ready("small")

    @pytest.mark.parametrize("status", [Status.FETCHING, Status.LOADING, Status.WARMING])
    async def test_one_on_its_way_is_not_ready(self, home: House, status: Status) -> None:
        found = await offers(home, SMALL, small=status)
        with pytest.raises(NotReady) as raised:
            found.check_ready("small")
        assert (raised.value.code, raised.value.data["state"]) == ("not_ready", status.value)

    @pytest.mark.parametrize("status", [Status.ERROR, Status.UNAVAILABLE])
    async def test_one_that_failed_says_why(self, home: House, status: Status) -> None:
        found = await offers(home, SMALL, small=status)
        with pytest.raises(LoadFailed, match="small could not be loaded"):
            found.check_ready("small")

    async def test_one_that_nobody_has_any_more(self, home: House) -> None:
        found = await offers(home, SMALL)
        await home.gateway.worker_died("w1")
        with pytest.raises(NotReady, match="start one with glowplug worker") as raised:
            found.check_ready("small")
        assert raised.value.data["state"] == "offline"

    @pytest.mark.parametrize(("status", "told"), [(Status.SLEEPING, [("load", "small")]), (Status.LOADING, [])])
    async def test_one_that_sleeps_is_woken(self, home: House, status: Status, told: Sequence[object]) -> None:
        found = await offers(home, SMALL, small=status)
        with pytest.raises(NotReady):
            found.check_ready("small")
        worker = home.worker()
        assert orders(await worker.claim(0)) == told
