"""Calls go in, ends come out: results, errors, batches, streams, files."""

from __future__ import annotations

import asyncio
import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from tests.unit.process.rig import SECONDS, Recorder, hosted

from glowplug.errors import Conflict, DiskFull, InvalidInput, TaskFailed, UnknownTask
from glowplug.job import OutcomeKind, Progress
from glowplug.process.host import Call, CallEnd


def decoded(end: CallEnd) -> Any:
    assert end.kind is OutcomeKind.COMPLETED, end
    return json.loads(end.output_json)


async def test_a_call_gives_its_result(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo") as rig:
        assert await rig.run("say", text="ha", times=2) == CallEnd(OutcomeKind.COMPLETED, b'"haha"')


async def test_input_is_checked_where_the_model_is(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo") as rig:
        end = await rig.run("say", text=5, loud=True)
        assert end.kind is OutcomeKind.FAILED
        assert type(end.error) is InvalidInput
        assert [field["path"] for field in end.error.data["fields"]] == ["text", "loud"]


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b'{"text": "\xff"}', b'"text"'])
async def test_input_that_is_no_object_is_refused(tmp_path: Path, body: bytes) -> None:
    async with hosted(tmp_path, "echo") as rig:
        end = await rig.host.run(Call(id="1", task="echo.say", input_json=body))
        assert type(end.error) is InvalidInput
        assert decoded(await rig.run("say", text="still there")) == "still there"


async def test_an_unknown_task_is_refused_with_the_ones_there_are(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo") as rig:
        end = await rig.run("shout")
        assert type(end.error) is UnknownTask
        assert "echo.say" in end.error.message


async def test_many_calls_at_once_each_get_their_own_answer(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo", slots=4) as rig:
        async with asyncio.timeout(SECONDS):
            ends = await asyncio.gather(*(rig.run("say", text=str(number)) for number in range(500)))
        assert [decoded(end) for end in ends] == [str(number) for number in range(500)]
        assert rig.host.free_slots == 4


async def test_calls_beyond_the_slots_wait_in_order(tmp_path: Path) -> None:
    async with hosted(tmp_path, "segv", slots=1) as rig:
        door = tmp_path / "door"
        first = asyncio.create_task(rig.run("wait", path=str(door)))
        await until(lambda: rig.host.free_slots == 0)
        others = [asyncio.create_task(rig.run("say", text=str(number))) for number in range(3)]
        done: list[int] = []
        for number, other in enumerate(others):
            other.add_done_callback(lambda _, number=number: done.append(number))  # type: ignore[misc]
        await asyncio.sleep(0)
        assert rig.host.free_slots == 0
        door.touch()
        await asyncio.gather(first, *others)
        assert done == [0, 1, 2]


async def test_two_running_calls_cannot_share_an_id(tmp_path: Path) -> None:
    async with hosted(tmp_path, "segv") as rig:
        door = tmp_path / "door"
        first = asyncio.create_task(rig.host.run(rig.call("wait", call_id="one", path=str(door))))
        await until(lambda: rig.host.free_slots == 3)
        with pytest.raises(Conflict, match="'one' is running"):
            await rig.host.run(rig.call("say", call_id="one", text="x"))
        assert rig.host.free_slots == 3
        door.touch()
        assert decoded(await first) == "done"


async def test_a_task_that_raises_fails_alone_and_its_traceback_is_in_the_log(tmp_path: Path) -> None:
    async with hosted(tmp_path, "artist") as rig:
        sink = Recorder()
        end = await rig.run("fail", sink, kind="value")
        assert (end.kind, type(end.error)) == (OutcomeKind.FAILED, TaskFailed)
        assert end.error is not None
        assert end.error.message == "ValueError: no such thing"
        assert end.error.data["error_class"] == "ValueError"
        assert "artist.py" in sink.log()
        assert decoded(await rig.run("result", kind="enum")) == "red"


async def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    async with hosted(tmp_path, "artist") as rig:
        assert type((await rig.run("fail", kind="full")).error) is DiskFull


@pytest.mark.parametrize(("kind", "said"), [("exit", "SystemExit: 4"), ("surrogate", "ValueError: file ? is broken")])
async def test_a_task_that_ends_oddly_fails_and_the_model_goes_on(tmp_path: Path, kind: str, said: str) -> None:
    async with hosted(tmp_path, "artist") as rig:
        end = await rig.run("fail", kind=kind)
        assert end.error is not None
        assert said in end.error.message
        assert decoded(await rig.run("result", kind="enum")) == "red"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("box", {"label": "cat", "size": [1, 2]}), ("nan", {"loss": None, "top": None}), ("enum", "red"), ("set", [1])],
)
async def test_results_become_json(tmp_path: Path, kind: str, expected: Any) -> None:
    async with hosted(tmp_path, "artist") as rig:
        assert decoded(await rig.run("result", kind=kind)) == expected


@pytest.mark.parametrize("kind", ["path", "bytes", "object", "surrogate"])
async def test_a_result_without_json_fails_the_call_and_says_what_to_do(tmp_path: Path, kind: str) -> None:
    async with hosted(tmp_path, "artist") as rig:
        end = await rig.run("result", kind=kind)
        assert type(end.error) is TaskFailed
        assert end.error.message.startswith("the result is no JSON: ")


def picture(width: int = 3, height: int = 2) -> bytes:
    stream = BytesIO()
    Pillow.new("RGB", (width, height)).save(stream, "PNG")
    return stream.getvalue()


def data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


async def test_a_picture_comes_from_a_local_copy_or_a_data_url(tmp_path: Path) -> None:
    local = tmp_path / "picture.png"
    local.write_bytes(picture(7, 5))
    async with hosted(tmp_path, "artist") as rig:
        assert decoded(await rig.run("size", image=data_url(picture()))) == [3, 2]
        call = Call(
            id="2", task="artist.size", input_json=b'{"image": "artifact:a/b"}', files={"artifact:a/b": str(local)}
        )
        assert decoded(await rig.host.run(call)) == [7, 5]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (data_url(b"not a picture"), "not an image"),
        (data_url(picture()[:45]), "broken"),
        ("data:image/png;base64,%%%", "base64"),
        ("artifact:not/there", "no such artifact"),
        ("/etc/passwd", "not a reference"),
        (5, "as a string"),
    ],
)
async def test_a_bad_picture_is_the_callers_error(tmp_path: Path, image: object, said: str) -> None:
    async with hosted(tmp_path, "artist") as rig:
        end = await rig.run("size", image=image)
        assert type(end.error) is InvalidInput
        [field] = end.error.data["fields"]
        assert field["path"] == "image"
        assert said in field["message"]


async def test_files_may_be_anywhere_in_the_input(tmp_path: Path) -> None:
    local = tmp_path / "file"
    local.write_bytes(b"12345")
    body = {"file": data_url(b"abc"), "others": ["artifact:f", "artifact:f"]}
    async with hosted(tmp_path, "artist") as rig:
        call = Call(
            id="1", task="artist.length", input_json=json.dumps(body).encode(), files={"artifact:f": str(local)}
        )
        assert decoded(await rig.host.run(call)) == 13


async def test_a_saved_file_is_reported_with_its_hash_and_referred_to(tmp_path: Path) -> None:
    async with hosted(tmp_path, "artist") as rig:
        sink = Recorder()
        call = Call(id="1", task="artist.paint", input_json=b'{"name": "a.txt"}', prefix="jobs/1/1")
        end = await rig.host.run(call, sink)
        assert decoded(end) == "artifact:jobs/1/1/a.txt"
        [artifact] = end.artifacts
        assert (artifact.key, artifact.size_bytes, artifact.media_type) == ("jobs/1/1/a.txt", 5, "text/plain")
        assert sink.files["jobs/1/1/a.txt"] == b"paint"


async def test_saving_under_one_name_twice_keeps_the_last(tmp_path: Path) -> None:
    async with hosted(tmp_path, "artist") as rig:
        sink = Recorder()
        end = await rig.run("paint", sink, times=2)
        assert [artifact.size_bytes for artifact in end.artifacts] == [10]
        assert sink.files["picture.txt"] == b"paint" * 2


async def test_a_preview_is_stored_before_it_is_named_and_is_no_result(tmp_path: Path) -> None:
    async with hosted(tmp_path, "artist") as rig:
        sink = Recorder()
        end = await rig.run("paint", sink, times=5)
        previews = [note.progress.preview for note in sink.notes if note.progress and note.progress.preview]
        assert set(previews) == {"artifact:preview/1.png"}
        assert sink.files["preview/1.png"] == b"\x89PNG not really"
        assert [artifact.key for artifact in end.artifacts] == ["picture.txt"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "", ".hidden", "x" * 200])
async def test_a_file_cannot_be_saved_outside(tmp_path: Path, name: str) -> None:
    async with hosted(tmp_path, "artist") as rig:
        end = await rig.run("paint", name=name)
        assert type(end.error) is InvalidInput


async def test_a_file_that_is_there_can_be_saved(tmp_path: Path) -> None:
    async with hosted(tmp_path, "artist") as rig:
        sink = Recorder()
        await rig.run("copy", sink, file=data_url(b"x" * 3_000_000))
        assert sink.files == {"copy.bin": b"x" * 3_000_000}


async def test_a_stream_gives_its_values_in_order_and_then_its_end(tmp_path: Path) -> None:
    async with hosted(tmp_path, "streamer") as rig:
        sink = Recorder()
        end = await rig.run("words", sink, text=" ".join(map(str, range(500))))
        assert sink.chunks == [str(number) for number in range(500)]
        assert end == CallEnd(OutcomeKind.COMPLETED)


async def test_an_endless_stream_survives_a_slow_listener_without_loss_and_can_be_stopped(tmp_path: Path) -> None:
    async with hosted(tmp_path, "streamer") as rig:
        sink = Recorder(gate=asyncio.Event())
        running = asyncio.create_task(rig.host.run(rig.call("count", call_id="1"), sink))
        await sink.until_heard()
        assert sink.gate is not None
        sink.gate.set()
        await until(lambda: len(sink.chunks) > 500)
        rig.host.stop_call("1", OutcomeKind.CANCELED)
        assert (await running).kind is OutcomeKind.CANCELED
        assert sink.chunks == list(range(1, len(sink.chunks) + 1))


async def test_progress_and_metrics_reach_the_sink_and_the_last_progress_always(tmp_path: Path) -> None:
    async with hosted(tmp_path, "train_steps") as rig:
        sink = Recorder()
        await rig.run("train", sink, steps=30, step_seconds=0, every=100)
        progress = [note.progress for note in sink.notes if note.progress]
        assert progress[-1] == Progress(30, 30, "step 30")
        losses = [note.data["loss"] for note in sink.notes if note.type == "metrics"]
        assert losses == [1 / step for step in range(1, 31)]


async def test_a_batch_is_one_run_with_an_end_for_each(tmp_path: Path) -> None:
    async with hosted(tmp_path, "batcher") as rig:
        calls = [rig.call("shout", text=word) for word in ("a", "b", "c")]
        sinks = [Recorder() for _ in calls]
        ends = await rig.host.run_batch(calls, sinks)
        assert [decoded(end) for end in ends] == [{"text": f"{word}!", "together": 3} for word in "ABC"]
        assert [sink.files for sink in sinks] == [{"word.txt": word.encode()} for word in "abc"]


async def test_a_bad_input_in_a_batch_fails_alone(tmp_path: Path) -> None:
    async with hosted(tmp_path, "batcher") as rig:
        calls = [rig.call("shout", text="a"), rig.call("shout", text=5), rig.call("shout", text="c")]
        first, bad, last = await rig.host.run_batch(calls, [None, None, None])
        assert type(bad.error) is InvalidInput
        assert decoded(first) == {"text": "A!", "together": 2}
        assert decoded(last) == {"text": "C!", "together": 2}


async def test_a_call_that_makes_its_batch_raise_fails_alone(tmp_path: Path) -> None:
    async with hosted(tmp_path, "batcher") as rig:
        calls = [rig.call("shout", text=word) for word in ("a", "bad", "c")]
        first, bad, last = await rig.host.run_batch(calls, [None, None, None])
        assert type(bad.error) is InvalidInput
        assert decoded(first) == {"text": "A!", "together": 1}
        assert decoded(last) == {"text": "C!", "together": 1}


async def test_calls_with_other_parameters_do_not_share_a_batch(tmp_path: Path) -> None:
    async with hosted(tmp_path, "batcher") as rig:
        marks = ["!", "?", "!"]
        ends = await rig.host.run_batch([rig.call("shout", text="a", mark=mark) for mark in marks], [None] * 3)
        assert [decoded(end) for end in ends] == [
            {"text": "A!", "together": 2},
            {"text": "A?", "together": 1},
            {"text": "A!", "together": 2},
        ]


async def until(reached: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while not reached():
            await asyncio.sleep(0.005)
