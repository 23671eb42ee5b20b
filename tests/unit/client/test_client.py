"""The clients against a real gateway: both do the same, one waits and the other awaits."""

from __future__ import annotations

import asyncio
import inspect
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.client.play import LIMIT_SECONDS, PICTURE, Play, playing

from glowplug.client import AsyncClient, Client, EventView, JobView, ReadyView, RetryPolicy
from glowplug.data_folder import DataFolder, GatewayLock
from glowplug.errors import (
    Conflict,
    Corrupt,
    DeadlineExceeded,
    IdempotencyMismatch,
    InvalidInput,
    JobFailed,
    LoadFailed,
    NotFound,
    NotReady,
    SettingsError,
    TooLarge,
    Unauthorized,
    UnknownTask,
    Unreachable,
)


@pytest.fixture
def client(play: Play) -> Iterator[Client]:
    with Client(play.url, timeout=10) as made:
        yield made


class TestRun:
    def test_a_task_is_run_with_keywords(self, client: Client) -> None:
        result = client.run("play.echo", text="ab", times=2)
        assert result.output == "abab"
        assert result.artifacts == ()
        assert result.job is not None
        assert result.job.succeeded

    def test_a_task_is_run_with_a_mapping(self, client: Client) -> None:
        assert client.run("play.echo", {"text": "a"}, loud=True).output == "A"

    def test_a_run_outlasts_the_first_wait(self, client: Client, play: Play) -> None:
        threading.Timer(0.2, play.release).start()
        assert client.run("play.hold", timeout=LIMIT_SECONDS).output == "released"

    def test_a_failed_job_is_an_error_with_the_job_in_it(self, client: Client) -> None:
        with pytest.raises(JobFailed, match="it did not work") as caught:
            client.run("play.fail")
        assert caught.value.data["job"]["state"] == "failed"
        assert caught.value.data["job"]["task"] == "play.fail"

    def test_a_canceled_job_is_an_error_too(self, client: Client) -> None:
        job = client.submit("play.hold")
        client.cancel(job)
        with pytest.raises(JobFailed, match="canceled"):
            client.result(job, timeout=LIMIT_SECONDS)

    def test_waiting_ends_in_time_and_the_job_goes_on(self, client: Client, play: Play) -> None:
        with pytest.raises(DeadlineExceeded) as caught:
            client.run("play.hold", timeout=0.2)
        job_id = caught.value.data["job_id"]
        assert client.job(job_id).state == "running"
        play.release()
        assert client.result(job_id, timeout=LIMIT_SECONDS).output == "released"

    def test_bad_input_is_refused_with_the_fields(self, client: Client) -> None:
        with pytest.raises(InvalidInput) as caught:
            client.run("play.echo", text="a", times="many")
        assert caught.value.data["fields"][0]["path"] == "times"

    def test_an_unknown_task_is_refused_with_what_was_meant(self, client: Client) -> None:
        with pytest.raises(UnknownTask, match=r"play\.echo"):
            client.run("play.ecko", text="a")

    def test_a_direct_call_without_a_ready_worker_says_when_to_come_back(self, tmp_path: Path) -> None:
        with playing(tmp_path) as play, Client(play.url, retry=RetryPolicy(attempts=1)) as client:
            play.loading()
            with pytest.raises(NotReady) as caught:
                client.run("play.echo", direct=True, text="a")
            assert caught.value.data["retry_after"] >= 1


class TestJobs:
    def test_the_same_key_is_the_same_job(self, client: Client) -> None:
        first, again = (client.submit("play.echo", {"text": "a"}, key="k1") for _ in range(2))
        assert first.id == again.id
        with pytest.raises(IdempotencyMismatch):
            client.submit("play.echo", {"text": "b"}, key="k1")

    def test_without_a_key_each_submission_is_a_job(self, client: Client) -> None:
        assert client.submit("play.echo", {"text": "a"}).id != client.submit("play.echo", {"text": "a"}).id

    def test_what_is_said_of_a_job_is_kept(self, client: Client) -> None:
        job = client.submit("play.echo", {"text": "a"}, priority=5, metadata={"who": "me"})
        assert (job.priority, job.metadata) == (5, {"who": "me"})

    def test_jobs_are_listed_newest_first_page_by_page(self, client: Client) -> None:
        made = [client.wait(client.submit("play.echo", {"text": str(n)}), timeout=LIMIT_SECONDS).id for n in range(3)]
        first = client.jobs(limit=2)
        second = client.jobs(limit=2, cursor=first.next_cursor)
        assert [job.id for job in (*first.jobs, *second.jobs)] == made[::-1]
        assert second.next_cursor is None

    def test_jobs_are_found_by_state_and_task(self, client: Client) -> None:
        client.wait(client.submit("play.echo", {"text": "a"}), timeout=LIMIT_SECONDS)
        client.wait(client.submit("play.fail"), timeout=LIMIT_SECONDS)
        assert [job.task for job in client.jobs(state="failed").jobs] == ["play.fail"]
        assert [job.state for job in client.jobs(task="play.echo").jobs] == ["completed"]

    def test_a_failed_job_can_be_sent_again_and_a_completed_one_not(self, client: Client) -> None:
        failed = client.wait(client.submit("play.fail"), timeout=LIMIT_SECONDS)
        again = client.retry(failed)
        assert again.id == failed.id
        done = client.wait(client.submit("play.echo", {"text": "a"}), timeout=LIMIT_SECONDS)
        with pytest.raises(Conflict):
            client.retry(done)
        with pytest.raises(Conflict):
            client.cancel(done)

    def test_what_a_job_printed_can_be_read(self, client: Client) -> None:
        job = client.wait(client.submit("play.steps", {"count": 2}), timeout=LIMIT_SECONDS)
        assert client.logs(job) == "did 1\ndid 2\n"

    def test_a_job_that_is_not_there_is_not_found(self, client: Client) -> None:
        with pytest.raises(NotFound):
            client.job("nowhere/../../x")

    def test_a_batch_is_queued_whole(self, client: Client) -> None:
        batch = client.submit_batch([{"task": "play.echo", "input": {"text": text}} for text in "abc"])
        for job in batch.jobs:
            client.wait(job, timeout=LIMIT_SECONDS)
        assert sorted(job.result for job in client.batch(batch.batch_id).jobs) == ["a", "b", "c"]

    def test_a_batch_with_one_bad_job_is_refused_whole(self, client: Client) -> None:
        with pytest.raises(InvalidInput):
            client.submit_batch([{"task": "play.echo", "input": {"text": "a"}}, {"task": "play.echo", "input": {}}])
        assert client.jobs().jobs == ()


class TestEvents:
    def test_events_come_in_order_without_gap_up_to_the_end(self, client: Client) -> None:
        events = list(client.subscribe(client.submit("play.steps", {"count": 5})))
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert events[0].type == "queued"
        assert events[-1].type == "completed"
        assert [event.data["done"] for event in events if event.type == "progress"][-1] == 5

    def test_events_go_on_after_what_is_known(self, client: Client) -> None:
        job = client.wait(client.submit("play.steps", {"count": 3}), timeout=LIMIT_SECONDS)
        everything = list(client.subscribe(job))
        assert list(client.subscribe(job, after=4)) == everything[4:]

    def test_nothing_comes_after_the_end(self, client: Client) -> None:
        job = client.wait(client.submit("play.echo", {"text": "a"}), timeout=LIMIT_SECONDS)
        assert list(client.subscribe(job, after=job.last_seq)) == []

    def test_a_subscription_may_be_left_early(self, client: Client, play: Play) -> None:
        job = client.submit("play.hold")
        for event in client.subscribe(job):
            if event.type == "started":
                break
        play.release()
        assert client.wait(job, timeout=LIMIT_SECONDS).succeeded

    def test_whoever_waits_hears_of_what_happens(self, client: Client) -> None:
        heard: list[EventView] = []
        client.result(client.submit("play.steps", {"count": 2}), timeout=LIMIT_SECONDS, on_event=heard.append)
        assert heard[-1].type == "completed"

    def test_a_job_that_was_sent_again_is_followed_past_its_old_end(self, client: Client) -> None:
        job = client.wait(client.submit("play.fail"), timeout=LIMIT_SECONDS)
        client.retry(job)
        assert [event.type for event in client.subscribe(job)].count("failed") == 2


class TestFiles:
    def test_a_path_in_the_input_is_uploaded(self, client: Client, tmp_path: Path) -> None:
        path = tmp_path / "some file (1).bin"
        path.write_bytes(b"x" * 300_000)
        assert client.run("play.measure", file=path).output == 300_000

    def test_an_open_file_in_the_input_is_uploaded(self, client: Client) -> None:
        assert client.run("play.measure", file=io.BytesIO(b"12345")).output == 5

    def test_an_upload_is_a_reference_with_its_hash(self, client: Client, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        path.write_bytes(b"hello")
        view = client.upload(path)
        assert view.uri.startswith("artifact:inputs/")
        assert (view.name, view.size_bytes) == ("a.txt", 5)
        assert client.download(view, tmp_path / "back.txt").read_bytes() == b"hello"

    def test_an_upload_that_is_too_large_is_refused(self, tmp_path: Path) -> None:
        with playing(tmp_path, upload_bytes=1000) as play, Client(play.url) as client, pytest.raises(TooLarge):
            client.upload(io.BytesIO(b"x" * 5000))

    def test_a_file_that_is_not_there_stops_before_anything_is_sent(self, client: Client, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match=r"absent\.png"):
            client.run("play.measure", file=tmp_path / "absent.png")
        assert client.jobs().jobs == ()

    def test_the_files_of_a_result_are_saved_under_their_names(self, client: Client, tmp_path: Path) -> None:
        result = client.run("play.picture", count=2)
        saved = client.save(result, tmp_path / "out")
        assert [path.name for path in saved] == ["picture-0.png", "picture-1.png"]
        assert {path.read_bytes() for path in saved} == {PICTURE}

    def test_saving_again_overwrites_nothing(self, client: Client, tmp_path: Path) -> None:
        result = client.run("play.picture")
        client.save(result, tmp_path)
        (again,) = client.save(result, tmp_path)
        assert again.name == "picture-0-2.png"

    def test_a_download_into_a_folder_keeps_its_name(self, client: Client, tmp_path: Path) -> None:
        result = client.run("play.picture")
        assert client.download(result.output[0], tmp_path).name == "picture-0.png"

    def test_a_download_that_arrives_damaged_is_no_file(self, client: Client, tmp_path: Path) -> None:
        (view,) = client.run("play.picture").artifacts
        forged = msgspec.structs.replace(view, sha256="0" * 64)
        before = sorted(tmp_path.iterdir())
        with pytest.raises(Corrupt):
            client.download(forged, tmp_path / "picture.png")
        assert sorted(tmp_path.iterdir()) == before

    def test_a_folder_that_cannot_be_written_is_named(self, client: Client, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        result = client.run("play.picture")
        with pytest.raises(SettingsError, match="choose another folder"):
            client.save(result, tmp_path / "file" / "out")

    @pytest.mark.parametrize("uri", ["artifact:../../etc/passwd", "artifact:", "/etc/passwd", "http://x/y"])
    def test_what_is_no_reference_is_refused(self, client: Client, tmp_path: Path, uri: str) -> None:
        with pytest.raises(InvalidInput):
            client.download(uri, tmp_path)


class TestModels:
    def test_models_and_tasks_are_listed(self, client: Client) -> None:
        (model,) = client.models()
        assert (model.name, model.version, model.ready, model.workers) == ("play", "3", True, ("w1",))
        assert client.model("play") == model
        names = [task.name for task in client.tasks()]
        assert set(names) == set(model.tasks)
        assert client.task("play.echo").input_schema["required"] == ["text"]

    def test_workers_are_listed(self, client: Client) -> None:
        assert [worker["instance_id"] for worker in client.workers()] == ["w1"]

    def test_an_unknown_model_is_not_found(self, client: Client) -> None:
        with pytest.raises(NotFound):
            client.model("nobody")
        with pytest.raises(NotFound):
            client.load("nobody")

    def test_a_ready_model_need_not_be_loaded(self, client: Client) -> None:
        client.load("play")


class TestReady:
    def test_waiting_for_what_is_ready_returns_at_once(self, client: Client) -> None:
        client.wait_until_ready(timeout=LIMIT_SECONDS)
        client.wait_until_ready("play", timeout=LIMIT_SECONDS)

    def test_waiting_shows_each_change_and_ends_with_ready(self, tmp_path: Path) -> None:
        seen: list[ReadyView] = []
        with playing(tmp_path) as play, Client(play.url) as client:
            play.loading(percent=40.0)

            def watch(view: ReadyView) -> None:
                seen.append(view)
                if len(seen) == 1:
                    play.ready()

            client.wait_until_ready("play", timeout=LIMIT_SECONDS, on_change=watch)
        assert seen[0].services["play"]["status"] == "loading"
        assert seen[-1].ready

    def test_a_load_that_failed_ends_the_waiting(self, tmp_path: Path) -> None:
        with playing(tmp_path) as play, Client(play.url) as client:
            play.broken()
            with pytest.raises(LoadFailed, match="no weights"):
                client.wait_until_ready("play", timeout=LIMIT_SECONDS)
            with pytest.raises(LoadFailed, match="no weights"):
                client.wait_until_ready(timeout=LIMIT_SECONDS)

    def test_waiting_ends_in_time(self, tmp_path: Path) -> None:
        with (
            playing(tmp_path) as play,
            Client(play.url) as client,
            pytest.raises(DeadlineExceeded, match="not ready after"),
        ):
            client.wait_until_ready(timeout=0.05)

    def test_a_model_that_nobody_has_is_never_ready(self, client: Client) -> None:
        with pytest.raises(DeadlineExceeded):
            client.wait_until_ready("nobody", timeout=0.05)


class TestAddress:
    def test_the_gateway_of_the_data_folder_is_found(
        self, play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = DataFolder(tmp_path / "data")
        folder.prepare()
        monkeypatch.delenv("GLOWPLUG_URL", raising=False)
        monkeypatch.setenv("GLOWPLUG_DATA", str(folder.root))
        with GatewayLock(folder) as lock, Client() as client:
            lock.announce(play.url)
            assert client.run("play.echo", text="a").output == "a"

    def test_the_named_gateway_wins(self, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GLOWPLUG_URL", f"{play.url}/")
        with Client() as client:
            assert client.run("play.echo", text="a").output == "a"

    def test_no_gateway_is_said_with_what_to_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GLOWPLUG_URL", raising=False)
        monkeypatch.setenv("GLOWPLUG_DATA", str(tmp_path))
        with Client() as client, pytest.raises(Unreachable, match="glowplug up"):
            client.models()

    def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
        self, play: Play, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
        monkeypatch.delenv("NO_PROXY", raising=False)
        with Client(play.url) as client:
            assert client.models()

    @pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://", "http://[::1"])
    def test_what_is_no_url_is_named(self, url: str) -> None:
        with Client(url) as client, pytest.raises(SettingsError, match="is not a gateway's URL"):
            client.models()

    def test_a_token_is_sent_and_needed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GLOWPLUG_TOKEN", raising=False)
        with playing(tmp_path, token="hunter2") as play:
            play.ready()
            with Client(play.url) as client, pytest.raises(Unauthorized):
                client.models()
            with Client(play.url, "hunter2") as client:
                assert client.models()
            monkeypatch.setenv("GLOWPLUG_TOKEN", "hunter2")
            with Client(play.url) as client:
                assert client.models()


class TestBothClients:
    async def test_the_asynchronous_one_does_the_same(self, play: Play) -> None:
        async with asyncio.timeout(LIMIT_SECONDS), AsyncClient(play.url) as client:
            result = await client.run("play.echo", text="a")
            assert result.output == "a"
            job = await client.submit("play.steps", {"count": 2})
            types = [event.type async for event in client.subscribe(job)]
            assert types[-1] == "completed"

    async def test_many_runs_go_side_by_side(self, play: Play) -> None:
        async with asyncio.timeout(LIMIT_SECONDS), AsyncClient(play.url) as client:
            results = await asyncio.gather(*(client.run("play.echo", text=str(n)) for n in range(20)))
        assert [result.output for result in results] == [str(n) for n in range(20)]

    def test_they_have_the_same_methods_with_the_same_parameters(self) -> None:
        def methods(kind: type) -> dict[str, list[str]]:
            own = {name: value for name, value in vars(kind).items() if callable(value) and not name.startswith("_")}
            return {name: list(inspect.signature(value).parameters) for name, value in own.items()}

        blocking, asynchronous = methods(Client), methods(AsyncClient)
        assert blocking.pop("wait_for") == ["self", "call"]
        assert blocking == asynchronous

    def test_each_method_of_the_blocking_one_keeps_its_promise(self) -> None:
        for name in ("run", "submit", "subscribe", "download"):
            assert getattr(Client, name).__doc__ == getattr(AsyncClient, name).__doc__

    def test_a_blocking_client_may_be_used_from_many_threads(self, client: Client) -> None:
        outputs: dict[int, Any] = {}

        def work(number: int) -> None:
            outputs[number] = client.run("play.echo", text=str(number)).output

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_SECONDS)
        assert outputs == {number: str(number) for number in range(8)}

    def test_a_closed_client_opens_again_when_it_is_used(self, play: Play) -> None:
        client = Client(play.url)
        assert client.models()
        client.close()
        client.close()
        assert client.models()
        client.close()
        assert "glowplug-client" not in [thread.name for thread in threading.enumerate()]

    def test_a_client_that_was_never_used_starts_no_thread(self) -> None:
        before = threading.active_count()
        with Client("http://127.0.0.1:9"):
            assert threading.active_count() == before

    def test_a_view_tells_whether_it_succeeded(self, client: Client) -> None:
        job: JobView = client.wait(client.submit("play.fail"), timeout=LIMIT_SECONDS)
        assert job.done
        assert not job.succeeded
        assert job.error is not None
        assert job.error["message"] == "it did not work"
