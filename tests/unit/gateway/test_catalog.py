"""The catalogue: what is known of tasks, and what an input must look like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.gateway.house import ECHO, SAY

from glowplug.clock import ManualClock
from glowplug.errors import InvalidInput, UnknownTask
from glowplug.gateway.catalog import Catalog, budget_of, model_of
from glowplug.job import Budget
from glowplug.store import ModelInfo, TaskInfo
from glowplug.stores.memory import MemoryStore


class CountingStore(MemoryStore):
    saved = 0

    async def save_model(self, info: ModelInfo) -> None:
        self.saved += 1
        await super().save_model(info)


def catalog(store: MemoryStore | None = None, *unfinished: str) -> Catalog:
    return Catalog(store or MemoryStore(clock=ManualClock()), lambda: frozenset(unfinished))


async def knowing(*infos: ModelInfo, unfinished: tuple[str, ...] = ()) -> Catalog:
    made = catalog(None, *unfinished)
    await made.learn(infos or (ECHO,))
    return made


async def test_what_was_learned_is_there_after_a_restart() -> None:
    store = MemoryStore(clock=ManualClock())
    await catalog(store).learn((ECHO,))
    second = catalog(store)
    async with second:
        assert second.task("echo.say") == SAY
        assert second.models["echo"].version == "1"


async def test_only_news_is_written() -> None:
    store = CountingStore(clock=ManualClock())
    made = catalog(store)
    for info in (ECHO, ECHO, replace(ECHO, version="2"), replace(ECHO, version="2")):
        await made.learn((info,))
    assert store.saved == 2


async def test_a_new_version_replaces_the_tasks_of_the_old() -> None:
    made = await knowing()
    await made.learn((ModelInfo("echo", "2", (TaskInfo("echo.shout"),)),))
    assert list(made.tasks) == ["echo.shout"]
    with pytest.raises(UnknownTask):
        made.task("echo.say")


async def test_a_new_schema_is_checked_from_then_on() -> None:
    made = await knowing()
    made.check("echo.say", {"text": "x"})
    stricter = replace(SAY, input_schema={"type": "object", "required": ["text", "loud"]})
    await made.learn((ModelInfo("echo", "2", (stricter,)),))
    with pytest.raises(InvalidInput, match="loud"):
        made.check("echo.say", {"text": "x"})


class TestUnknownTasks:
    async def test_a_typing_error_is_answered_with_what_was_meant(self) -> None:
        with pytest.raises(UnknownTask, match=r"did you mean 'echo\.say'\?"):
            (await knowing()).task("echo.sya")

    async def test_what_is_far_off_is_answered_with_what_there_is(self) -> None:
        with pytest.raises(UnknownTask, match=r"known tasks: echo\.say"):
            (await knowing()).task("painting")

    async def test_before_anything_is_known_the_answer_says_so(self) -> None:
        with pytest.raises(UnknownTask, match="no model has told its tasks yet"):
            catalog().task("echo.say")

    async def test_a_task_of_a_model_that_comes_up_for_the_first_time_may_come(self) -> None:
        made = await knowing(unfinished=("digits",))
        assert made.task("digits.generate") is None
        assert made.check("digits.generate", {"anything": 1}) is None

    @pytest.mark.parametrize("name", ["digits", "digits.", ".generate", "", "other.generate"])
    async def test_only_a_full_task_name_of_that_model_may_come(self, name: str) -> None:
        with pytest.raises(UnknownTask):
            (await knowing(unfinished=("digits",))).task(name)

    async def test_a_model_that_has_told_its_tasks_has_no_others(self) -> None:
        with pytest.raises(UnknownTask):
            (await knowing(unfinished=("echo",))).task("echo.whisper")

    async def test_a_very_long_name_is_not_repeated_in_full(self) -> None:
        with pytest.raises(UnknownTask) as caught:
            (await knowing()).task("x" * 5000)
        assert len(caught.value.message) < 300


class TestInputs:
    async def test_a_good_one_passes_and_gives_the_task(self) -> None:
        assert (await knowing()).check("echo.say", {"text": "hi", "times": 2}) == SAY

    @pytest.mark.parametrize(
        ("value", "path", "word"),
        [
            ({}, "", "text"),
            ({"text": 7}, "text", "7 is not of type 'string'"),
            ({"text": "x", "times": 0}, "times", "minimum"),
            ({"text": "x", "tmies": 1}, "", "tmies"),
        ],
    )
    async def test_a_bad_one_is_answered_with_the_place(self, value: dict[str, Any], path: str, word: str) -> None:
        with pytest.raises(InvalidInput, match=word) as caught:
            (await knowing()).check("echo.say", value)
        assert caught.value.data["fields"][0]["path"] == path

    async def test_every_wrong_field_is_named(self) -> None:
        with pytest.raises(InvalidInput) as caught:
            (await knowing()).check("echo.say", {"text": 1, "times": "x"})
        assert [field["path"] for field in caught.value.data["fields"]] == ["text", "times"]

    async def test_a_place_deep_inside_is_named(self) -> None:
        schema = {
            "type": "object",
            "properties": {"boxes": {"type": "array", "items": {"$ref": "#/$defs/Box"}}},
            "$defs": {"Box": {"type": "object", "required": ["x"]}},
        }
        made = await knowing(ModelInfo("m", "1", (TaskInfo("m.t", input_schema=schema),)))
        made.check("m.t", {"boxes": [{"x": 1}]})
        with pytest.raises(InvalidInput) as caught:
            made.check("m.t", {"boxes": [{"x": 1}, {}]})
        assert caught.value.data["fields"][0]["path"] == "boxes.1"

    async def test_a_parameter_that_may_be_left_out_is_refused_for_what_it_would_have_to_be(self) -> None:
        nothing, count = {"type": "null"}, {"type": "integer", "minimum": 1}
        properties = {"steps": {"anyOf": [count, nothing]}, "either": {"anyOf": [count, {"type": "string"}]}}
        schema = {"type": "object", "properties": properties}
        made = await knowing(ModelInfo("m", "1", (TaskInfo("m.t", input_schema=schema),)))
        with pytest.raises(InvalidInput, match="steps: 0 is less than the minimum of 1"):
            made.check("m.t", {"steps": 0})
        with pytest.raises(InvalidInput, match="either: 0 is not valid under any"):
            made.check("m.t", {"either": 0})

    async def test_a_task_without_a_schema_takes_anything(self) -> None:
        made = await knowing(ModelInfo("m", "1", (TaskInfo("m.t"),)))
        made.check("m.t", {"whatever": [1]})

    async def test_a_huge_wrong_value_is_not_repeated_in_full(self) -> None:
        with pytest.raises(InvalidInput) as caught:
            (await knowing()).check("echo.say", {"text": ["x" * 100_000]})
        assert len(caught.value.message) < 400

    @pytest.mark.parametrize(
        ("schema", "value", "reason"),
        [
            ({"maxLength": 10_000}, "x " * 6000, "is too long: 12000, at most 10000"),
            ({"maxItems": 100}, ["word"] * 101, "is too long: 101, at most 100"),
            ({"minItems": 2}, ["x" * 500], "is too short: 1, at least 2"),
            ({"minLength": 1}, "", "'' should be non-empty: 0, at least 1"),
            ({"enum": ["png", "webp"]}, "x" * 500, "is not one of ['png', 'webp']"),
            ({"pattern": "^[a-z]+$"}, "7" * 500, "does not match '^[a-z]+$'"),
            ({"type": "string"}, ["word"] * 500, "is not of type 'string'"),
            ({"type": "integer"}, {"word": "x" * 500}, "is not of type 'integer'"),
            ({"maximum": 8}, 10**400, "is greater than the maximum of 8"),
            ({"uniqueItems": True}, ["x" * 500] * 2, "has non-unique elements"),
            ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "x" * 500, "is not of type 'integer'"),
            (
                {"anyOf": [{"type": "integer"}, {"enum": [[]]}]},
                "x" * 500,
                "is not valid under any of the given schemas",
            ),
        ],
    )
    async def test_of_a_long_value_some_is_shown_and_all_of_the_reason(
        self, schema: dict[str, Any], value: Any, reason: str
    ) -> None:
        task = TaskInfo("m.t", input_schema={"type": "object", "properties": {"prompt": schema}})
        made = await knowing(ModelInfo("m", "1", (task,)))
        with pytest.raises(InvalidInput) as caught:
            made.check("m.t", {"prompt": value})
        assert caught.value.message.endswith(reason)
        assert caught.value.data["fields"][0]["message"].endswith(reason)
        assert len(caught.value.message) < 200

    async def test_a_reason_and_a_place_without_end_are_cut(self) -> None:
        words = TaskInfo("m.t", input_schema={"additionalProperties": {"enum": [str(n) for n in range(500)]}})
        made = await knowing(ModelInfo("m", "1", (words,)))
        with pytest.raises(InvalidInput, match="x: 'y' is not one of") as caught:
            made.check("m.t", {"x" * 5000: "y"})
        assert len(caught.value.message) < 500


def test_the_budget_is_the_task_authors() -> None:
    assert budget_of(TaskInfo("m.t", errors=1, crashes=7)) == Budget(errors=1, crashes=7)
    assert budget_of(None) == Budget()


@pytest.mark.parametrize(("task", "model"), [("echo.say", "echo"), ("echo", "echo"), ("a.b.c", "a")])
def test_the_model_is_what_stands_before_the_dot(task: str, model: str) -> None:
    assert model_of(task) == model
