"""What a model's author writes, used as the plain objects that they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from glowplug.errors import InvalidInput, SettingsError
from glowplug.job import Budget
from glowplug.model import (
    Batch,
    FileParameter,
    LoadContext,
    Model,
    Resumed,
    RunContext,
    TaskOptions,
    checked_file_name,
    guess_media_type,
    task,
)


class Counter(Model):
    """Counts."""

    version = "3"

    def load(self, ctx: LoadContext) -> None:
        with ctx.stage("to device"):
            self.start = int(ctx.options.get("start", "0"))

    @task(example={"to": 3}, timeout_seconds=2.0, budget=Budget(errors=1))
    def count(self, ctx: RunContext, to: int) -> list[int]:
        """Count up to a number.

        More is said here, but not in the summary.
        """
        ctx.check()
        return list(range(self.start, to))

    @task
    def stream(self, ctx: RunContext, to: int) -> Iterator[int]:
        yield from self.count(ctx, to)

    @task(batch=4)
    def double(self, ctx: RunContext, number: Batch[int]) -> list[int]:
        return [2 * one for one in number]

    def not_a_task(self) -> None:
        """Stay unseen."""


class Named(Counter):
    """Has a name and a task of its own, and one less."""

    name = "Tally"

    def stream(self, ctx: RunContext, to: int) -> Iterator[int]:
        yield to

    @task
    def last(self, ctx: RunContext) -> int:
        return 0


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return RunContext(tmp_path)


# Tasks.


def test_a_model_works_as_a_plain_object(context: RunContext) -> None:
    model = Counter()
    model.load(LoadContext(options={"start": "1"}))
    assert model.count(context, 4) == [1, 2, 3]
    assert list(model.stream(context, 3)) == [1, 2]
    assert model.double(context, Batch([1, 2])) == [2, 4]
    model.warm_up(LoadContext())
    model.unload()


def test_tasks_are_found_under_the_model_s_name_in_the_order_they_were_written() -> None:
    assert list(Counter.tasks()) == ["counter.count", "counter.stream", "counter.double"]


def test_a_task_is_recorded_with_its_first_line_and_its_options() -> None:
    spec = Counter.tasks()["counter.count"]
    assert (spec.method, spec.summary, spec.streams) == ("count", "Count up to a number.", False)
    assert spec.options == TaskOptions(example={"to": 3}, timeout_seconds=2.0, budget=Budget(errors=1))


def test_a_generator_streams() -> None:
    assert [name for name, spec in Counter.tasks().items() if spec.streams] == ["counter.stream"]


def test_a_subclass_adds_tasks_and_takes_those_away_that_it_writes_anew_unmarked() -> None:
    assert Named.model_name() == "Tally"
    assert list(Named.tasks()) == ["Tally.count", "Tally.double", "Tally.last"]


def test_a_model_without_tasks_has_none() -> None:
    assert Model.tasks() == {}


def test_an_unknown_option_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"retries.*known options: .*batch.*timeout_seconds"):
        task(retries=3)


def test_a_generator_cannot_be_batched() -> None:
    with pytest.raises(SettingsError, match="cannot be batched"):

        class Wrong(Model):
            @task(batch=2)
            def stream(self, ctx: RunContext) -> Iterator[int]:
                yield 1


# Contexts.


def test_a_run_has_one_folder_of_its_own() -> None:
    first, second = RunContext(), RunContext()
    assert first.scratch == first.scratch != second.scratch
    assert first.scratch.is_dir()
    for context in (first, second):
        context.scratch.rmdir()


def test_a_lone_call_is_the_only_one_of_its_context(context: RunContext) -> None:
    assert list(context.calls) == [context]


def test_what_is_reported_to_nobody_costs_nothing(context: RunContext, capsys: pytest.CaptureFixture[str]) -> None:
    context.progress(1, 2, "half", preview=b"png")
    context.metrics(loss=0.5)
    context.log("hello")
    context.check()
    assert capsys.readouterr().out == "hello\n"


def test_a_checkpoint_is_what_a_run_resumes_from(context: RunContext) -> None:
    assert context.resume() is None

    def write(path: Path) -> None:
        path.write_text("three")

    context.checkpoint(3, write)
    resumed = context.resume()
    assert resumed is not None
    assert (resumed.step, resumed.path.read_text()) == (3, "three")


def test_an_earlier_attempt_s_checkpoint_is_handed_in(tmp_path: Path) -> None:
    resumed = Resumed(7, tmp_path / "x")
    assert RunContext(tmp_path, resumed=resumed).resume() is resumed


def test_a_saved_result_is_a_reference_with_size_hash_and_type(context: RunContext) -> None:
    artifact = context.save("a.png", b"bytes")
    assert (artifact.uri, artifact.size_bytes, artifact.media_type) == ("artifact:local/a.png", 5, "image/png")
    assert artifact.sha256 == hashlib.sha256(b"bytes").hexdigest()
    assert context.saved == [artifact]
    assert (context.scratch / "saved" / "a.png").read_bytes() == b"bytes"


def test_a_file_is_saved_by_copy(context: RunContext, tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(b"x")
    artifact = context.save("b.bin", tmp_path / "made", media_type="application/x-own")
    assert (artifact.size_bytes, artifact.media_type) == (1, "application/x-own")
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".hidden", "a\\b", "a\n", "-a", "x" * 200, "a\x00", "ä.png"])
def test_a_name_that_is_no_plain_file_name_is_refused(context: RunContext, name: str) -> None:
    with pytest.raises(InvalidInput):
        context.save(name, b"x")
    with pytest.raises(InvalidInput):
        checked_file_name(name)


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.png", "image/png"),
        ("a.json", "application/json"),
        ("a", "application/octet-stream"),
        ("a.zzz", "application/octet-stream"),
    ],
)
def test_a_file_s_ending_tells_its_type(name: str, media_type: str) -> None:
    assert guess_media_type(name) == media_type


@pytest.mark.parametrize(("kind", "media_type"), [("file", "application/octet-stream"), ("image", "image/*")])
def test_a_file_parameter_is_described_as_a_reference_to_an_artifact(kind: str, media_type: str) -> None:
    parameter = FileParameter(kind)  # type: ignore[arg-type]
    schema = parameter.__get_pydantic_json_schema__(None, None)
    assert schema == {"type": "string", "format": "artifact", "contentMediaType": media_type}
