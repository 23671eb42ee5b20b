"""OpenAI's routes where a real model is of no help: unready, refused, gone, too slow. Workers are played by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.gateway.house import HandWorker, House, Told, house, leaning, picture, policy, settle
from tests.unit.gateway.served import served

from glowplug.artifact import Artifact, job_prefix
from glowplug.gateway import forms
from glowplug.gateway.policy import Limits, Rates, User
from glowplug.job import Failure, Outcome, OutcomeKind
from glowplug.link import Grant
from glowplug.readiness import Status
from glowplug.store import ModelInfo, TaskInfo

OPEN: dict[str, Any] = {"type": "object", "properties": {"prompt": {"type": "string"}, "count": {"maximum": 4}}}
EDIT = {"type": "object", "properties": {"prompt": {}, "image": {"format": "artifact"}, "strength": {"type": "number"}}}
LISTS = {"type": "object", "properties": {"prompt": {}, "image": {}, "images": {}}}
ART = ModelInfo(
    "art",
    "1",
    (
        TaskInfo("art.embed", serves="embeddings"),
        TaskInfo("art.draw", input_schema=OPEN, serves="images/generations"),
        TaskInfo("art.edit", input_schema=EDIT, serves="images/edits"),
        TaskInfo("art.mix", input_schema=LISTS, serves="images/inpaints"),
        TaskInfo("art.speak", streams=True, serves="audio/speech"),
        TaskInfo("art.hear", serves="audio/transcriptions"),
        TaskInfo("art.chat", streams=True, serves="chat/completions"),
    ),
)
PNG = b"\x89PNG\r\n\x1a\nnot really"
FILE = {"file": ("a.wav", b"RIFF", "audio/wav")}
PICTURE = {"image": ("a cat.png", PNG, "image/png")}
MESSAGES = [{"role": "user", "content": "hi"}]
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/embeddings", {"json": {"model": "art", "input": "a"}}),
    ("/v1/chat/completions", {"json": {"model": "art", "messages": MESSAGES}}),
    ("/v1/chat/completions", {"json": {"model": "art", "messages": MESSAGES, "stream": True}}),
    ("/v1/images/generations", {"json": {"model": "art", "prompt": "a"}}),
    ("/v1/images/edits", {"data": {"model": "art", "prompt": "a"}, "files": PICTURE}),
    ("/v1/audio/speech", {"json": {"model": "art", "input": "a", "voice": "x"}}),
    ("/v1/audio/transcriptions", {"data": {"model": "art"}, "files": FILE}),
]


async def worker(home: House, status: Status = Status.READY) -> HandWorker:
    made = home.worker()
    await made.register(picture(art=status), models=(ART,))
    return made


async def keys(home: House) -> list[str]:
    return [stat.key async for stat in home.artifacts.walk("inputs")]


async def grant(made: HandWorker, task: str = "art.draw") -> Grant:
    """Take the job that a request has queued."""
    return (await made.claim(tasks=[task], wait=10)).grants[0]


async def drawn(home: House, given: Grant, data: bytes = PNG, name: str = "a.png") -> Artifact:
    async def once() -> AsyncIterator[bytes]:
        yield data

    return await home.artifacts.put(f"{job_prefix(given.hold.job_id, given.hold.token)}/{name}", once())


class TestNotReady:
    @pytest.mark.parametrize(("path", "request_"), REQUESTS)
    async def test_a_model_that_loads_is_told_apart(self, home: House, path: str, request_: dict[str, Any]) -> None:
        await worker(home, Status.LOADING)
        answer = await home.client.post(path, **request_)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_loading")
        assert (answer.headers["retry-after"], "x-should-retry" in answer.headers) == ("2", False)
        assert await keys(home) == []

    @pytest.mark.parametrize(("path", "request_"), REQUESTS)
    async def test_from_one_whose_load_failed(self, home: House, path: str, request_: dict[str, Any]) -> None:
        await worker(home, Status.ERROR)
        answer = await home.client.post(path, **request_)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_load_failed")
        assert "no weights" in answer.json()["error"]["message"]
        assert (answer.headers["x-should-retry"], "retry-after" in answer.headers) == ("false", False)
        assert await keys(home) == []

    @pytest.mark.parametrize(("path", "request_"), REQUESTS)
    async def test_and_from_one_that_leans_on_what_is_gone(
        self, home: House, path: str, request_: dict[str, Any]
    ) -> None:
        await home.worker().register(leaning("art"), models=(ART,))
        answer = await home.client.post(path, **request_)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "not_ready")
        assert error["message"] == "art does not work at the moment: its server is gone"
        assert (answer.headers["retry-after"], "x-should-retry" in answer.headers) == ("2", False)

    @pytest.mark.parametrize(("path", "request_"), REQUESTS)
    async def test_an_unknown_model_is_404(self, home: House, path: str, request_: dict[str, Any]) -> None:
        word = "data" if "data" in request_ else "json"
        answer = await home.client.post(path, **{**request_, word: {**request_[word], "model": "gpt-4"}})
        assert answer.status_code == 404
        assert answer.json()["error"] | {"message": ""} == {
            "message": "",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }


class TestRefusals:
    async def test_a_body_beyond_the_limit(self, tmp_path: Path) -> None:
        async with house(tmp_path, chosen=policy(limits=Limits(call_bytes=100, form_bytes=100))) as home:
            await worker(home)
            for path, request in REQUESTS:
                word = "data" if "data" in request else "json"
                large = {**request, word: {**request[word], "more": "x" * 200}}
                answer = await home.client.post(path, **large)
                assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")

    async def test_a_form_whose_length_nobody_told(self, tmp_path: Path) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
            for _ in range(100):
                yield b"x" * 100

        async with house(tmp_path, chosen=policy(limits=Limits(form_bytes=1000))) as home:
            await worker(home)
            headers = {"content-type": "multipart/form-data; boundary=b"}
            answer = await home.client.post("/v1/images/edits", content=pieces(), headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")

    async def test_more_jobs_than_an_owner_may_submit(self, tmp_path: Path) -> None:
        async with house(tmp_path, chosen=policy(rates=Rates(jobs_per_minute=1))) as home:
            made = await worker(home)
            first = asyncio.create_task(
                home.client.post("/v1/images/generations", json={"model": "art", "prompt": "a"})
            )
            given = await grant(made)
            answer = await home.client.post("/v1/images/generations", json={"model": "art", "prompt": "a"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
            assert int(answer.headers["retry-after"]) > 0
            refused = await home.client.post("/v1/images/edits", data={"model": "art", "prompt": "a"}, files=PICTURE)
            assert (refused.status_code, await keys(home)) == (429, [])
            await made.fail(given)
            await first

    async def test_a_mistake_of_ours_tells_nothing_of_our_inside(self, home: House, told: Told) -> None:
        await worker(home)

        async def broken(task: str, body: bytes) -> None:
            raise RuntimeError("secret detail")

        home.gateway.direct.run = broken  # type: ignore[method-assign, assignment]
        answer = await home.client.post("/v1/embeddings", json={"model": "art", "input": "a"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
        assert "secret" not in answer.text
        assert "secret detail" in told.of("http.failed")[0]["error"]

    async def test_users_have_pictures_of_their_own(self, tmp_path: Path) -> None:
        access = {"api_token": "operator", "users": (User(name="ann", token="anns"), User(name="bob", token="bobs"))}
        async with house(tmp_path, chosen=policy(access=access)) as home:
            made = await worker(home)
            body, headers = {"model": "art", "prompt": "a"}, {"authorization": "Bearer anns"}
            asking = asyncio.create_task(home.client.post("/v1/images/generations", json=body, headers=headers))
            given = await grant(made)
            artifact = await drawn(home, given)
            await made.finish(given, {"images": [artifact.uri]}, (artifact,))
            assert (await asking).status_code == 200
            assert (await home.store.job(given.hold.job_id)).owner == "ann"
            for token, status in (("anns", 200), ("bobs", 404), ("operator", 200)):
                headers = {"authorization": f"Bearer {token}"}
                assert (await home.client.get(f"/v1/artifacts/{artifact.key}", headers=headers)).status_code == status


class TestImages:
    async def test_a_picture_is_a_job_that_was_waited_for(self, home: House) -> None:
        made = await worker(home)
        body = {"model": "art", "prompt": "a", "n": 2, "size": "auto", "unknown": 1}
        asking = asyncio.create_task(home.client.post("/v1/images/generations", json=body))
        given = await grant(made)
        assert given.input == {"prompt": "a", "count": 2}
        artifact = await drawn(home, given)
        await made.finish(given, {"images": [artifact.uri, artifact.uri], "seed": 5}, (artifact,))
        answer = (await asking).json()
        assert [set(one) for one in answer["data"]] == [{"b64_json"}, {"b64_json"}]
        assert answer["seed"] == 5

    async def test_a_link_has_the_address_that_was_asked(self, home: House) -> None:
        made = await worker(home)
        body = {"model": "art", "prompt": "a", "response_format": "url"}
        asking = asyncio.create_task(home.client.post("/v1/images/generations", json=body))
        given = await grant(made)
        artifact = await drawn(home, given)
        await made.finish(given, {"images": [artifact.uri]}, (artifact,))
        url = (await asking).json()["data"][0]["url"]
        assert url == f"http://testserver/v1/artifacts/{artifact.key}"
        assert (await home.client.get(url)).content == PNG

    async def test_a_link_is_signed_where_a_token_is_needed(self, tmp_path: Path) -> None:
        access = {"api_token": "operator", "link_secret": "s"}
        async with house(tmp_path, chosen=policy(access=access, public_url="https://plug.example")) as home:
            made = await worker(home)
            body = {"model": "art", "prompt": "a", "response_format": "url"}
            headers = {"authorization": "Bearer operator"}
            asking = asyncio.create_task(home.client.post("/v1/images/generations", json=body, headers=headers))
            given = await grant(made)
            artifact = await drawn(home, given)
            await made.finish(given, {"images": [artifact.uri]}, (artifact,))
            url = httpx.URL((await asking).json()["data"][0]["url"])
            assert url.host == "plug.example"
            assert (await home.client.get(url.raw_path.decode())).content == PNG

    @pytest.mark.parametrize(
        ("failure", "status", "code"),
        [
            (
                Failure("invalid_input", "no", retryable=False, details={"fields": [{"loc": "count"}]}),
                400,
                "invalid_input",
            ),
            (Failure("ValueError", "it broke", retryable=False), 500, "task_failed"),
            (Failure("out_of_memory", "no room", retryable=False), 500, "out_of_memory"),
        ],
    )
    async def test_a_job_that_fails_is_told_as_what_it_failed_of(
        self, home: House, failure: Failure, status: int, code: str
    ) -> None:
        made = await worker(home)
        asking = asyncio.create_task(home.client.post("/v1/images/generations", json={"model": "art", "prompt": "a"}))
        await made.end((await grant(made)).hold, Outcome(OutcomeKind.FAILED, failure=failure))
        answer = await asking
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert answer.json()["error"]["param"] == ("n" if status == 400 else None)

    async def test_one_that_somebody_canceled_is_a_failure_not_to_repeat(self, home: House) -> None:
        made = await worker(home)
        asking = asyncio.create_task(home.client.post("/v1/images/generations", json={"model": "art", "prompt": "a"}))
        given = await grant(made)
        await home.client.post(f"/v1/jobs/{given.hold.job_id}/cancel")
        await made.end(given.hold, Outcome(OutcomeKind.CANCELED))
        answer = await asking
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "job_failed")
        assert answer.headers["x-should-retry"] == "false"

    @pytest.mark.parametrize("result", [None, {"images": []}, {"images": ["artifact:jobs/other/1/a.png"]}])
    async def test_a_result_without_pictures_is_an_error(self, home: House, result: Any) -> None:
        made = await worker(home)
        asking = asyncio.create_task(home.client.post("/v1/images/generations", json={"model": "art", "prompt": "a"}))
        await made.finish(await grant(made), result)
        assert (await asking).status_code >= 400

    async def test_a_client_that_goes_away_cancels_its_job(self, tmp_path: Path) -> None:
        async with asyncio.timeout(30), served(tmp_path) as home:
            made = await worker(home)
            asking = asyncio.create_task(
                home.client.post("/v1/images/generations", json={"model": "art", "prompt": "a"})
            )
            given = await grant(made)
            asking.cancel()
            answers = await made.claim(0, wait=10)
            assert [(order.kind.value, order.target) for order in answers.orders] == [("cancel", given.hold.job_id)]

    async def test_a_job_that_takes_too_long_is_canceled(self, tmp_path: Path) -> None:
        async with house(tmp_path, chosen=policy(limits=Limits(call_seconds=60))) as home:
            await worker(home)
            body = {"model": "art", "prompt": "a"}
            asking = asyncio.create_task(home.client.post("/v1/images/generations", json=body))
            await settle()
            while not asking.done():
                await home.clock.advance(10)
                await settle()
            assert ((await asking).status_code, (await asking).json()["error"]["code"]) == (504, "deadline_exceeded")
            (job,) = (await home.client.get("/v1/jobs")).json()["jobs"]
            assert job["state"] == "canceled"

    async def test_a_gateway_that_leaves_says_so_and_takes_the_job_back(self, home: House) -> None:
        await worker(home)
        asking = asyncio.create_task(home.client.post("/v1/images/generations", json={"model": "art", "prompt": "a"}))
        await settle()
        home.gateway.hang_up()
        answer = await asking
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
        (job,) = (await home.client.get("/v1/jobs")).json()["jobs"]
        assert job["state"] == "canceled"


class TestEdits:
    async def test_the_picture_of_a_form_is_an_artifact_that_stays_with_its_job(self, home: House) -> None:
        made = await worker(home)
        data = {"model": "art", "prompt": "b", "strength": "0.25"}
        asking = asyncio.create_task(home.client.post("/v1/images/edits", data=data, files=PICTURE))
        given = await grant(made, "art.edit")
        assert given.input == {"prompt": "b", "strength": 0.25, "image": given.input["image"]}
        key = given.input["image"].removeprefix("artifact:")
        assert key.endswith("/a_cat.png")
        assert (await home.client.get(f"/v1/artifacts/{key}")).content == PNG
        artifact = await drawn(home, given)
        await made.finish(given, {"images": [artifact.uri]}, (artifact,))
        assert (await asking).status_code == 200
        assert await keys(home) == [key]

    async def test_several_pictures_go_to_a_task_that_takes_several(self, home: House) -> None:
        made = await worker(home)
        files = [("image[]", ("a.png", PNG)), ("image[]", ("b.png", PNG)), ("mask", ("m.png", PNG))]
        asking = asyncio.create_task(
            home.client.post("/v1/images/edits", data={"model": "art", "prompt": "b"}, files=files)
        )
        given = await grant(made, "art.mix")
        assert len(given.input["images"]) == 2
        assert given.input["mask"].endswith("/m.png")
        await made.fail(given)
        await asking

    @pytest.mark.parametrize(
        ("data", "files", "param"),
        [
            ({}, [], "image"),
            ({}, [("image", ("a.png", b""))], "image"),
            ({}, [("image", ("a.png", PNG)), ("image", ("b.png", PNG))], "image"),
            ({"n": "many"}, [("image", ("a.png", PNG))], "n"),
            ({"n": "2"}, [("image", ("a.png", PNG))], "n"),
            ({"n": "9" * 5000}, [("image", ("a.png", PNG))], "n"),
            ({"output_compression": "101"}, [("image", ("a.png", PNG))], "output_compression"),
            ({"size": "big"}, [("image", ("a.png", PNG))], "size"),
            ({"strength": "strong"}, [("image", ("a.png", PNG))], "strength"),
            ({"response_format": "hex"}, [("image", ("a.png", PNG))], "response_format"),
        ],
    )
    async def test_a_wrong_field_is_named_and_nothing_stays(
        self, home: House, data: dict[str, str], files: Any, param: str
    ) -> None:
        await worker(home)
        headers = None if files else {"content-type": "multipart/form-data; boundary=b"}
        form = {"model": "art", "prompt": "b", **data}
        content = "".join(
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in form.items()
        )
        sent: dict[str, Any] = {"data": form, "files": files} if files else {"content": content + "--b--\r\n"}
        answer = await home.client.post("/v1/images/edits", headers=headers, **sent)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert await keys(home) == []

    @pytest.mark.parametrize(
        ("media_type", "content"),
        [
            ("multipart/form-data", b""),
            ("multipart/form-data; boundary=b", b"nonsense"),
            ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
            ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nart'),
            ("multipart/form-data; boundary=b", b""),
        ],
    )
    async def test_a_broken_form_is_a_clear_refusal(self, home: House, media_type: str, content: bytes) -> None:
        await worker(home)
        answer = await home.client.post("/v1/images/edits", content=content, headers={"content-type": media_type})
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")

    @pytest.mark.parametrize("charset", ["unicode_escape", "undefined", "utf-16", "idna"])
    async def test_the_texts_of_a_form_are_utf_8(self, home: House, charset: str) -> None:
        headers = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
        content = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\\ud800\r\n--b--\r\n'
        answer = await home.client.post("/v1/images/edits", content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")

    async def test_a_form_with_too_many_parts_is_refused(self, home: House) -> None:
        await worker(home)
        files = [("image", (f"{number}.png", PNG)) for number in range(forms.MOST_FILES + 1)]
        answer = await home.client.post("/v1/images/edits", data={"model": "art", "prompt": "b"}, files=files)
        assert (answer.status_code, "Too many files" in answer.json()["error"]["message"]) == (400, True)
        many = {f"f{number}": "x" for number in range(forms.MOST_FIELDS)}
        answer = await home.client.post("/v1/images/edits", data={"model": "art", "prompt": "b", **many}, files=PICTURE)
        assert (answer.status_code, "Too many fields" in answer.json()["error"]["message"]) == (400, True)

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ("a.png", "a.png"),
            ("../../etc/passwd", "passwd"),
            ("C:\\cats\\ä.png", "file_.png"),
            ("...", "file..."),
            ("x" * 300 + ".png", "x" * 96 + ".png"),
            ("a\x00b.png", "a_00b.png"),
        ],
    )
    async def test_the_name_of_a_file_is_made_harmless(self, home: House, given: str, kept: str) -> None:
        made = await worker(home)
        files = {"image": (given, PNG)}
        asking = asyncio.create_task(
            home.client.post("/v1/images/edits", data={"model": "art", "prompt": "b"}, files=files)
        )
        held = await grant(made, "art.edit")
        assert held.input["image"].rsplit("/", 1)[1] == kept
        await made.fail(held)
        await asking


class TestTranscriptions:
    async def test_the_recording_goes_with_the_call(self, home: House) -> None:
        await worker(home)
        seen: list[str] = []

        async def hear(task: str, body: bytes) -> Any:
            seen.extend(await keys(home))
            raise replaced

        replaced = RuntimeError("whatever happens")
        home.gateway.direct.run = hear  # type: ignore[method-assign]
        answer = await home.client.post("/v1/audio/transcriptions", data={"model": "art"}, files=FILE)
        assert answer.status_code == 500
        assert [key.rsplit("/", 1)[1] for key in seen] == ["a.wav"]
        assert await keys(home) == []

    @pytest.mark.parametrize(
        ("data", "param"),
        [
            ({"response_format": "docx"}, "response_format"),
            ({"temperature": "warm"}, "temperature"),
            ({"temperature": "1e999"}, "temperature"),
            ({"temperature": "NaN"}, "temperature"),
            ({"stream": "true"}, "stream"),
            ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ],
    )
    async def test_a_wrong_field_is_named(self, home: House, data: dict[str, str], param: str) -> None:
        await worker(home)
        answer = await home.client.post("/v1/audio/transcriptions", data={"model": "art", **data}, files=FILE)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)

    async def test_one_recording_at_a_time(self, home: House) -> None:
        await worker(home)
        files = [("file", ("a.wav", b"x")), ("file", ("b.wav", b"x"))]
        answer = await home.client.post("/v1/audio/transcriptions", data={"model": "art"}, files=files)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")


class TestModels:
    async def test_one_list_for_openais_clients_and_ours(self, home: House) -> None:
        await worker(home)
        listed = (await home.client.get("/v1/models")).json()
        assert (listed["object"], [one["id"] for one in listed["data"]]) == ("list", ["art"])
        assert [one["name"] for one in listed["models"]] == ["art"]
        one = (await home.client.get("/v1/models/art")).json()
        assert (one["id"], one["object"], one["name"], one["ready"]) == ("art", "model", "art", True)
        assert "chat/completions" in one["serves"]

    async def test_an_unknown_one_is_a_problem_with_their_error_in_it(self, home: House) -> None:
        answer = await home.client.get("/v1/models/gpt-4")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert (answer.json()["code"], answer.json()["error"]["code"]) == ("not_found", "model_not_found")


async def test_a_worker_that_was_ready_a_moment_ago_is_asked_and_its_word_counts(home: House) -> None:
    await worker(home)
    answer = await home.client.post("/v1/embeddings", json={"model": "art", "input": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
