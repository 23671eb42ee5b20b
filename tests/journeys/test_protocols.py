"""Clients that people have already, against a real gateway and worker: openai's, and one of the V2 protocol."""

from __future__ import annotations

import asyncio
import base64
import io
import wave
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image
from tests.journeys.system import MODELS, System, system, until
from tritonclient import http as v2
from tritonclient.utils import InferenceServerException

MODEL, REAL = "versatile", "embeddings"
HELLO = [{"role": "user", "content": "one two three"}]


@pytest.fixture(scope="module")
def plug(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with system(tmp_path_factory.mktemp("protocols"), GLOWPLUG_TOKEN="the-operator") as made:
        made.http.headers["authorization"] = "Bearer the-operator"
        made.up(MODELS / "versatile.py", REAL)
        made.wait_ready(MODEL, REAL)
        yield made


@pytest.fixture(scope="module")
def client(plug: System) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{plug.url}/v1", api_key="the-operator", max_retries=0, timeout=60) as made:
        yield made


@pytest.fixture(scope="module")
def triton(plug: System) -> Iterator[Any]:
    with v2.InferenceServerClient(f"127.0.0.1:{plug.port}") as made:
        yield made


def headers() -> dict[str, str]:
    """Return new ones for each call: the client writes into what it is given."""
    return {"authorization": "Bearer the-operator"}


def png(colour: str = "red") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (16, 8), colour).save(target, "PNG")
    return target.getvalue()


def opened(image: Any) -> Any:
    return Image.open(io.BytesIO(base64.b64decode(image.b64_json)))


class TestModels:
    def test_are_listed_and_retrieved(self, client: Any) -> None:
        assert [model.id for model in client.models.list()] == [REAL, MODEL]
        assert client.models.retrieve(MODEL).id == MODEL
        with pytest.raises(openai.NotFoundError) as raised:
            client.models.retrieve("gpt-4")
        assert raised.value.code == "model_not_found"

    def test_a_wrong_key_is_an_authentication_error(self, plug: System) -> None:
        with openai.OpenAI(base_url=f"{plug.url}/v1", api_key="guess", max_retries=0) as stranger:
            for ask in (stranger.models.list, lambda: stranger.embeddings.create(model=MODEL, input="a")):
                with pytest.raises(openai.AuthenticationError) as raised:
                    ask()
                assert raised.value.code == "invalid_api_key"


class TestEmbeddings:
    def test_in_base64_as_the_client_asks_by_itself_and_as_numbers(self, client: Any) -> None:
        packed = client.embeddings.create(model=MODEL, input=["a b", "c"])
        plain = client.embeddings.create(model=f"{MODEL}.embed", input=["a b", "c"], encoding_format="float")
        assert [one.index for one in packed.data] == [0, 1]
        for one, other in zip(packed.data, plain.data, strict=True):
            assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert (packed.usage.prompt_tokens, packed.usage.total_tokens, packed.model) == (3, 3, MODEL)

    def test_many_texts_in_order_and_shorter_vectors(self, client: Any) -> None:
        texts = [f"text {number}" for number in range(100)]
        made = client.embeddings.create(model=MODEL, input=texts, dimensions=3)
        alone = client.embeddings.create(model=MODEL, input=texts[70], dimensions=3)
        assert {len(one.embedding) for one in made.data} == {3}
        assert made.data[70].embedding == alone.data[0].embedding

    @pytest.mark.parametrize("given", [[1, 2, 3], [[1], [2]], [], ""])
    def test_what_is_no_text_is_a_bad_request(self, client: Any, given: Any) -> None:
        with pytest.raises(openai.BadRequestError) as raised:
            client.embeddings.create(model=MODEL, input=given)
        assert raised.value.param == "input"

    def test_an_unknown_model_is_not_found(self, client: Any) -> None:
        with pytest.raises(openai.NotFoundError, match="there are: embeddings, versatile") as raised:
            client.embeddings.create(model="text-embedding-3-small", input="a")
        assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


class TestARealModel:
    """What a workload itself refuses, and not the gateway by the task's schema."""

    @pytest.mark.parametrize(
        ("said", "param", "why"),
        [
            ({"dimensions": 500}, "dimensions", "dimensions: the model's vectors have 384 numbers, and not 500"),
            ({"dimensions": 0}, "dimensions", "embeddings.embed: dimensions: "),
            ({"input": ["fine", "x" * 100_001]}, "input", "embeddings.embed: input: String should have at most 100000"),
        ],
    )
    def test_names_the_field_as_the_caller_does(self, client: Any, said: dict[str, Any], param: str, why: str) -> None:
        with pytest.raises(openai.BadRequestError) as raised:
            client.embeddings.create(**{"model": REAL, "input": "a kitten", **said})
        assert (raised.value.code, raised.value.param) == ("invalid_input", param)
        assert raised.value.body["message"].startswith(why)

    def test_and_on_our_own_routes_as_the_task_does(self, plug: System) -> None:
        field = {"path": "dimensions", "message": "the model's vectors have 384 numbers, and not 500"}
        refused = plug.http.post("/v1/run/embeddings.embed", json={"text": "a kitten", "dimensions": 500})
        assert (refused.status_code, refused.json()["fields"]) == (422, [field])
        job = plug.wait_done(plug.submit("embeddings.embed", text="a kitten", dimensions=500))
        assert (job["error"]["code"], job["error"]["details"]["fields"]) == ("invalid_input", [field])


class TestImages:
    def test_pictures_with_all_that_can_be_said_of_them(self, client: Any) -> None:
        made = client.images.generate(model=MODEL, prompt="a cat", n=2, size="64x48", extra_body={"seed": 3, "odd": 1})
        assert [opened(image).size for image in made.data] == [(64, 48)] * 2
        assert (made.size, made.seed) == ("64x48", 3)

    @pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
    def test_in_other_formats_and_as_links(self, client: Any, form: str) -> None:
        made = client.images.generate(model=MODEL, prompt="a cat", output_format=form)
        assert opened(made.data[0]).format == form.upper()
        linked = client.images.generate(model=MODEL, prompt="a cat", output_format=form, response_format="url")
        assert httpx.get(linked.data[0].url).headers["content-type"] == f"image/{form}"

    @pytest.mark.parametrize(
        ("said", "param"), [({"n": 9}, "n"), ({"size": "9999x9999"}, "size"), ({"prompt": ""}, "prompt")]
    )
    def test_what_the_model_cannot_do_is_named(self, client: Any, said: dict[str, Any], param: str) -> None:
        with pytest.raises(openai.BadRequestError) as raised:
            client.images.generate(**{"model": MODEL, "prompt": "a cat", **said})
        assert raised.value.param == param

    def test_a_model_that_has_no_room_says_so(self, client: Any) -> None:
        with pytest.raises(openai.InternalServerError) as raised:
            client.images.generate(model=MODEL, prompt="big")
        assert raised.value.code == "out_of_memory"

    def test_a_picture_is_edited_with_a_mask_and_without(self, client: Any) -> None:
        image = ("cat.png", png(), "image/png")
        made = client.images.edit(model=MODEL, image=image, prompt="a dog", extra_body={"strength": 0.25})
        assert (opened(made.data[0]).size, made.strength) == ((16, 8), 0.25)
        masked = client.images.edit(model=MODEL, image=image, mask=("mask.png", png("white")), prompt="a dog")
        assert len(masked.data) == 1

    @pytest.mark.parametrize(
        ("image", "mask"),
        [(b"nonsense", None), (png(), b"nonsense"), (png()[:40], None)],
    )
    def test_what_is_no_picture_is_a_bad_request(self, client: Any, image: bytes, mask: bytes | None) -> None:
        masked = {"mask": ("mask.png", mask)} if mask else {}
        with pytest.raises(openai.BadRequestError):
            client.images.edit(model=MODEL, image=("cat.png", image), prompt="a dog", **masked)

    def test_a_mask_of_another_size_is_a_bad_request(self, client: Any) -> None:
        small = io.BytesIO()
        Image.new("L", (2, 2)).save(small, "PNG")
        with pytest.raises(openai.BadRequestError) as raised:
            client.images.edit(model=MODEL, image=("a.png", png()), mask=("m.png", small.getvalue()), prompt="x")
        assert raised.value.param == "mask"

    def test_a_client_that_loses_patience_cancels_its_job(self, client: Any, plug: System) -> None:
        with pytest.raises(openai.APITimeoutError):
            client.images.generate(model=MODEL, prompt="slow", timeout=0.5)

        def canceled() -> bool:
            jobs = plug.get("/v1/jobs?task=versatile.generate")["jobs"]
            return any(job["input"]["prompt"] == "slow" and job["state"] == "canceled" for job in jobs)

        until(canceled, "the job is canceled", limit=20, log=plug.log)


class TestAudio:
    def test_speech_is_one_file(self, client: Any) -> None:
        spoken = client.audio.speech.create(model=MODEL, input="Hello there. You.", voice="alloy")
        assert spoken.response.headers["content-type"] == "audio/wav"
        with wave.open(io.BytesIO(spoken.read())) as opened_:
            assert (opened_.getframerate(), opened_.getnchannels()) == (8000, 1)

    def test_and_is_streamed_as_it_is_made(self, client: Any) -> None:
        speech = client.audio.speech.with_streaming_response
        with speech.create(model=MODEL, input="One. Two", voice="alloy", response_format="pcm") as streamed:
            assert streamed.headers["content-type"] == "audio/pcm"
            assert b"".join(streamed.iter_bytes()) == b"\1\0" * len("One Two")

    @pytest.mark.parametrize(
        ("said", "param"),
        [({"response_format": "flac"}, "response_format"), ({"voice": "nobody"}, "voice"), ({"input": ""}, "input")],
    )
    def test_what_cannot_be_spoken_is_named(self, client: Any, said: dict[str, Any], param: str) -> None:
        with pytest.raises(openai.BadRequestError) as raised:
            client.audio.speech.create(**{"model": MODEL, "input": "hi", "voice": "alloy", **said})
        assert raised.value.param == param

    def test_a_recording_is_written_down_in_every_form(self, client: Any, plug: System) -> None:
        recording = client.audio.speech.create(model=MODEL, input="x" * 8000, voice="alloy").read()

        def heard(form: Any, **more: Any) -> Any:
            file = ("speech.wav", recording)
            return client.audio.transcriptions.create(model=MODEL, file=file, response_format=form, **more)

        assert heard("json").text == "1 seconds"
        assert heard("text") == "1 seconds\n"
        assert heard("srt") == "1\n00:00:00,000 --> 00:00:01,000\n1 seconds\n\n"
        assert heard("vtt").startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000")
        verbose = heard("verbose_json", language="de", timestamp_granularities=["segment"])
        assert (verbose.language, verbose.duration, verbose.segments[0].end) == ("de", 1.0, 1.0)
        inputs = plug.folder / "data" / "artifacts" / "inputs"
        assert not [path for path in inputs.rglob("*speech.wav") if path.is_file()]

    def test_what_is_no_recording_is_a_bad_request(self, client: Any) -> None:
        with pytest.raises(openai.BadRequestError) as raised:
            client.audio.transcriptions.create(model=MODEL, file=("a.wav", b"nonsense, but long enough"))
        assert raised.value.param == "file"


class TestChat:
    def test_a_whole_reply(self, client: Any) -> None:
        reply = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=2, stop="x", seed=1)
        (choice,) = reply.choices
        assert (choice.message.content, choice.message.role, choice.finish_reason) == (
            "one two ",
            "assistant",
            "length",
        )
        assert (reply.usage.completion_tokens, reply.usage.total_tokens) == (2, 3)

    def test_word_by_word(self, client: Any) -> None:
        options = {"include_usage": True}
        chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, stream_options=options))
        assert len({chunk.id for chunk in chunks}) == 1
        deltas = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
        assert deltas == ["", "one ", "two ", "three ", None]
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
        assert chunks[-1].usage.completion_tokens == 3

    def test_an_error_in_the_middle_of_a_stream_is_raised(self, client: Any) -> None:
        messages = [{"role": "user", "content": "break"}]
        stream = client.chat.completions.create(model=MODEL, messages=messages, stream=True)
        heard = []
        with pytest.raises(openai.APIError, match="no room"):
            heard.extend(chunk.choices[0].delta.content for chunk in stream)
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model=MODEL, messages=messages)

    @pytest.mark.parametrize(("said", "param"), [({"temperature": 9}, "temperature"), ({"n": 3}, "n")])
    def test_what_cannot_be_had_is_named(self, client: Any, said: dict[str, Any], param: str) -> None:
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(model=MODEL, messages=HELLO, **said)
        assert raised.value.param == param

    def test_a_client_that_closes_the_stream_stops_the_model(self, client: Any) -> None:
        messages = [{"role": "user", "content": "for ever"}]
        with client.chat.completions.create(model=MODEL, messages=messages, stream=True) as stream:
            assert next(iter(stream)).choices
        # The model has one place: it answers again only once the endless reply has been stopped.
        assert client.chat.completions.create(model=MODEL, messages=HELLO, timeout=20).choices


async def test_the_asynchronous_client_does_all_of_it_at_once(plug: System) -> None:
    async with (
        asyncio.timeout(60),
        openai.AsyncOpenAI(base_url=f"{plug.url}/v1", api_key="the-operator", max_retries=0) as client,
    ):

        async def chat() -> list[str | None]:
            stream = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)  # type: ignore[call-overload]
            return [chunk.choices[0].delta.content async for chunk in stream]

        vectors, picture, words, speech = await asyncio.gather(
            client.embeddings.create(model=MODEL, input=["a"] * 5),
            client.images.generate(model=MODEL, prompt="a cat"),
            chat(),
            client.audio.speech.create(model=MODEL, input="hi", voice="alloy"),
        )
    assert len(vectors.data) == 5
    assert picture.data is not None
    assert opened(picture.data[0]).size == (32, 32)
    assert "".join(word or "" for word in words) == "one two three "
    assert speech.content.startswith(b"RIFF")


def tensor(name: str, values: Any, datatype: str, *, binary: bool = True) -> Any:
    array = np.array(values, object if datatype == "BYTES" else np.dtype(v2.triton_to_np_dtype(datatype)))
    made = v2.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


class TestInference:
    def test_who_is_there_and_ready(self, triton: Any) -> None:
        assert triton.is_server_live()
        assert triton.is_server_ready()
        assert triton.is_model_ready(MODEL)
        assert triton.is_model_ready(f"{MODEL}.add")
        assert not triton.is_model_ready("nope")
        assert triton.is_model_ready(MODEL, "1")
        assert not triton.is_model_ready(MODEL, "2")
        assert not triton.is_model_ready("nope", "1")
        assert triton.get_server_metadata(headers())["name"] == "glowplug"
        described = triton.get_model_metadata(f"{MODEL}.add", headers=headers())
        assert [(put["name"], put["datatype"], put["shape"]) for put in described["inputs"]] == [
            ("a", "FP64", [-1, -1]),
            ("b", "FP64", [-1]),
            ("name", "BYTES", [-1]),
        ]

    @pytest.mark.parametrize("binary", [True, False])
    def test_tensors_in_and_out(self, triton: Any, binary: bool) -> None:
        inputs = [
            tensor("a", [[1, 2, 3], [4, 5, 6]], "FP32", binary=binary),
            tensor("b", [0.5], "FP64", binary=binary),
            tensor("name", [["x"], ["ü"]], "BYTES", binary=binary),
        ]
        outputs = [v2.InferRequestedOutput(name, binary_data=binary) for name in ("sums", "name", "count", "big")]
        made = triton.infer(f"{MODEL}.add", inputs, outputs=outputs, request_id="7", headers=headers())
        assert made.get_response()["id"] == "7"
        assert made.as_numpy("sums").tolist() == [[1.5, 2.5, 3.5], [4.5, 5.5, 6.5]]
        assert [str(name, "utf-8") if isinstance(name, bytes) else name for name in made.as_numpy("name")] == ["x", "ü"]
        assert (made.as_numpy("count").tolist(), made.as_numpy("big").tolist()) == ([3, 3], [False, True])

    def test_a_task_and_common_values_by_parameters(self, triton: Any) -> None:
        inputs = [tensor("a", [[1.0], [2.0]], "FP64")]
        parameters = {"task": "add", "b": 1.0, "name": "common"}
        made = triton.infer(MODEL, inputs, model_version="1", parameters=parameters, headers=headers())
        assert made.as_numpy("sums").tolist() == [[2.0], [3.0]]
        assert made.as_numpy("name").tolist() == [b"common", b"common"]

    def test_a_batch_of_texts_and_a_picture_in_bytes(self, triton: Any) -> None:
        texts = tensor("text", [f"text {number}" for number in range(70)], "BYTES")
        assert triton.infer(f"{MODEL}.embed", [texts], headers=headers()).as_numpy("embedding").shape == (70, 8)
        made = triton.infer(
            f"{MODEL}.edit", [tensor("image", [png()], "BYTES"), tensor("prompt", ["x"], "BYTES")], headers=headers()
        )
        assert made.as_numpy("images").item(0).startswith(b"artifact:calls/")

    @pytest.mark.parametrize(
        ("name", "inputs", "status", "why"),
        [
            ("nope", [tensor("a", [[1.0]], "FP64")], "404", "there are: embeddings, versatile"),
            (MODEL, [tensor("a", [[1.0]], "FP64")], "404", "parameter task"),
            (f"{MODEL}.add", [tensor("c", [[1.0]], "FP64")], "400", "there are: a, b, name"),
            (f"{MODEL}.add", [tensor("a", [[1.0]], "FP64")], "400", "b: Field required"),
            (f"{MODEL}.chat", [tensor("messages", ["[]"], "BYTES")], "400", "one by one"),
        ],
    )
    def test_errors_are_in_its_own_shape(self, triton: Any, name: str, inputs: Any, status: str, why: str) -> None:
        with pytest.raises(InferenceServerException, match=why) as raised:
            triton.infer(name, inputs, headers=headers())
        assert raised.value.status() == status

    def test_a_version_that_is_not_there_and_a_compressed_body(self, triton: Any) -> None:
        inputs = [tensor("a", [[1.0]], "FP64"), tensor("b", [1.0], "FP64")]
        with pytest.raises(InferenceServerException, match="version 1 alone"):
            triton.infer(f"{MODEL}.add", inputs, model_version="2", headers=headers())
        with pytest.raises(InferenceServerException, match="compressed"):
            triton.infer(f"{MODEL}.add", inputs, request_compression_algorithm="gzip", headers=headers())

    def test_without_a_token_nobody_infers(self, triton: Any) -> None:
        with pytest.raises(InferenceServerException, match="token"):
            triton.infer(f"{MODEL}.add", [tensor("a", [[1.0]], "FP64")])
