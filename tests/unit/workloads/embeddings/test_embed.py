"""Texts to vectors, with tiny models whose answers can be worked out by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.unit.workloads.contexts import Remembering, RememberingLoad
from tests.unit.workloads.embeddings.by_hand import hidden_of
from tests.unit.workloads.embeddings.folders import POSITIONS, WIDTH, WORDS, bert, exported, pooling, small_files

from glowplug.errors import Canceled, InvalidInput, SettingsError
from glowplug.load_context import LoadContext
from glowplug.model import Batch, RunContext
from glowplug.workloads.embeddings.model import Embeddings
from glowplug.workloads.embeddings.values import Embedding


def model_of(folder: Path, **options: str) -> Embeddings:
    model = Embeddings()
    model.load(LoadContext(options={"source": str(folder), "threads": "1"} | options))
    return model


def embed(model: Embeddings, *texts: str) -> list[Embedding]:
    return model.embed(RunContext(), Batch(texts))


def ids_of(text: str) -> list[int]:
    return [WORDS.index(word) for word in ["[CLS]", *text.split(), "[SEP]"]]


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_a_bert_from_safetensors_answers_as_worked_out_by_hand(tmp_path: Path) -> None:
    weights = bert(tmp_path)
    text = "the cat sleeps"
    found = embed(model_of(tmp_path), text)[0]
    expected = unit(hidden_of(weights, ids_of(text)).mean(axis=0))
    np.testing.assert_allclose(found.embedding, expected, atol=2e-6)
    assert (found.tokens, found.truncated) == (5, False)


def test_texts_of_unequal_length_do_not_disturb_each_other(tmp_path: Path) -> None:
    bert(tmp_path)
    model = model_of(tmp_path)
    texts = ["cat", "the dog runs the market a cat sleeps", "dog runs"]
    together = embed(model, *texts)
    for text, found in zip(texts, together, strict=True):
        np.testing.assert_allclose(found.embedding, embed(model, text)[0].embedding, atol=2e-6)


def test_every_vector_has_length_one_and_the_models_width(tmp_path: Path) -> None:
    bert(tmp_path)
    for found in embed(model_of(tmp_path), "cat", "the market runs", "unknown words only"):
        assert len(found.embedding) == WIDTH
        assert np.linalg.norm(found.embedding) == pytest.approx(1, abs=1e-5)


def test_the_first_token_is_taken_where_the_folder_says_so(tmp_path: Path) -> None:
    weights = bert(tmp_path)
    pooling(tmp_path, pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    found = embed(model_of(tmp_path), "a dog runs")[0]
    np.testing.assert_allclose(found.embedding, unit(hidden_of(weights, ids_of("a dog runs"))[0]), atol=2e-6)


def test_a_prefix_before_the_names_of_the_weights_is_fine(tmp_path: Path) -> None:
    bert(tmp_path / "plain")
    bert(tmp_path / "prefixed", prefix="bert.")
    plain, prefixed = (embed(model_of(tmp_path / name), "cat")[0] for name in ("plain", "prefixed"))
    assert plain == prefixed


@pytest.mark.parametrize(("words", "tokens", "truncated"), [(22, 24, False), (23, 24, True), (500, 24, True)])
def test_a_text_beyond_the_models_length_is_cut_and_says_so(
    tmp_path: Path, words: int, tokens: int, truncated: bool
) -> None:
    bert(tmp_path)
    found = embed(model_of(tmp_path), "cat " * words)[0]
    assert POSITIONS == 24
    assert (found.tokens, found.truncated) == (tokens, truncated)


def test_the_folders_own_limit_counts_where_it_is_lower(tmp_path: Path) -> None:
    bert(tmp_path)
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 6, "do_lower_case": False}))
    found = embed(model_of(tmp_path), "cat " * 9)[0]
    assert (found.tokens, found.truncated) == (6, True)


@pytest.mark.parametrize("at", ["onnx/model.onnx", "model.onnx"])
@pytest.mark.parametrize("inputs", [("input_ids", "attention_mask"), ("input_ids", "attention_mask", "token_type_ids")])
def test_an_export_is_used_as_it_is(tmp_path: Path, at: str, inputs: tuple[str, ...]) -> None:
    small_files(tmp_path, {"model_type": "something else"})
    path = tmp_path / at
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(exported(*inputs))
    found = embed(model_of(tmp_path), "cat", "dog dog market")
    np.testing.assert_allclose([one.embedding for one in found], np.full((2, 3), 3**-0.5), atol=1e-6)


def test_an_export_is_preferred_to_safetensors(tmp_path: Path) -> None:
    bert(tmp_path)
    (tmp_path / "model.onnx").write_bytes(exported("input_ids", "attention_mask"))
    assert len(embed(model_of(tmp_path), "cat")[0].embedding) == 3


def test_weights_that_the_platform_fetched_come_before_any_option(tmp_path: Path) -> None:
    bert(tmp_path)
    model = Embeddings()
    model.load(LoadContext(weights={"model": tmp_path}, options={"source": "/nowhere"}))
    assert len(embed(model, "cat")) == 1


IMPORTING = """
import sys
from glowplug import LoadContext
from glowplug.workloads.embeddings.model import Embeddings

light = "onnxruntime" not in sys.modules
Embeddings.prepare({})
prepared = {name.partition(".")[0] for name in sys.modules} | set(sys.stdlib_module_names)
Embeddings().load(LoadContext(options={"source": sys.argv[1]}))
print(light, [name for name in sys.modules if name.partition(".")[0] not in prepared])
"""


def test_after_prepare_a_load_imports_no_library(tmp_path: Path) -> None:
    bert(tmp_path)
    done = subprocess.run([sys.executable, "-c", IMPORTING, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True []"


def test_the_load_tells_its_stages_and_every_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bert(tmp_path)
    monkeypatch.setattr("glowplug.workloads.embeddings.network.READ_BYTES", 4096)
    ctx = RememberingLoad(source=str(tmp_path))
    Embeddings().load(ctx)
    assert ctx.stages == ["fetch", "read", "build"]
    size = (tmp_path / "model.safetensors").stat().st_size
    done = [step[1] for step in ctx.steps]
    assert done == sorted(done)
    assert len(done) > 3
    assert ctx.steps[-1] == ("read", size, size, "bytes")
    assert {step[0] for step in ctx.steps} == {"read"}


def test_answers_come_back_in_the_order_of_the_texts(tmp_path: Path) -> None:
    bert(tmp_path)
    model = model_of(tmp_path, pass_tokens="8")
    texts = [" ".join(["cat", "dog", "runs"][: number % 3 + 1] * (number % 5 + 1)) for number in range(40)]
    for text, found in zip(texts, embed(model, *texts), strict=True):
        alone = embed(model, text)[0]
        np.testing.assert_allclose(found.embedding, alone.embedding, atol=2e-6)
        assert found.tokens == alone.tokens


def test_a_shorter_vector_is_the_first_part_of_the_whole_at_length_one(tmp_path: Path) -> None:
    bert(tmp_path)
    model = model_of(tmp_path)
    whole, short = (model.embed(RunContext(), Batch(["the cat runs"]), size)[0] for size in (None, 4))
    np.testing.assert_allclose(short.embedding, unit(np.array(whole.embedding[:4])), atol=1e-6)
    assert whole.note is None
    assert "not trained for 4 dimensions" in (short.note or "")


def test_a_model_that_was_trained_for_it_has_nothing_to_remark(tmp_path: Path) -> None:
    bert(tmp_path, config={"matryoshka_dimensions": [16, 8]})
    model = model_of(tmp_path)
    notes = [model.embed(RunContext(), Batch(["cat"]), size)[0].note for size in (WIDTH, 8, 7)]
    assert notes[:2] == [None, None]
    assert "7 dimensions" in (notes[2] or "")


def test_more_dimensions_than_there_are_is_refused_and_the_model_goes_on(tmp_path: Path) -> None:
    bert(tmp_path)
    model = model_of(tmp_path)
    with pytest.raises(InvalidInput, match="dimensions: the model's vectors have 16 numbers, and not 17"):
        model.embed(RunContext(), Batch(["cat"]), WIDTH + 1)
    assert len(embed(model, "cat")) == 1


@pytest.mark.parametrize(
    ("text", "tokens", "truncated"),
    [
        ("cat " * 25_000, 24, True),
        ("cat" + " " * 90_000 + "dog", 4, False),
        ("cat" + " " * 90_000 + "dog " * 30, 24, True),
        ("x" * 100_000, 3, False),
    ],
    ids=["many words", "a long gap", "words after a long gap", "one endless word"],
)
def test_an_endless_text_is_read_only_as_far_as_it_matters(
    tmp_path: Path, text: str, tokens: int, truncated: bool
) -> None:
    bert(tmp_path)
    found = embed(model_of(tmp_path), text)[0]
    assert (found.tokens, found.truncated) == (tokens, truncated)


def test_a_batch_looks_between_its_forwards_whether_it_should_stop(tmp_path: Path) -> None:
    bert(tmp_path)
    model, looks = model_of(tmp_path, pass_tokens="4"), []

    class Looking(RunContext):
        def check(self) -> None:
            looks.append(1)

    model.embed(Looking(), Batch(["cat", "dog", "runs"]))
    assert len(looks) == 3


def test_a_canceled_batch_ends(tmp_path: Path) -> None:
    bert(tmp_path / "model")
    with pytest.raises(Canceled):
        model_of(tmp_path / "model").embed(Remembering(tmp_path / "run", stop=Canceled()), Batch(["cat"]))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "mpnet"}, "a mpnet model"),
        ({"hidden_act": "relu"}, "relu"),
        ({"position_embedding_type": "relative_key"}, "relative_key positions"),
    ],
)
def test_another_architecture_is_refused_with_the_way_out(tmp_path: Path, config: dict[str, str], why: str) -> None:
    bert(tmp_path, config=config)
    with pytest.raises(SettingsError) as caught:
        model_of(tmp_path)
    assert why in caught.value.message
    assert "onnx/model.onnx" in caught.value.message


def test_missing_weights_are_named(tmp_path: Path) -> None:
    bert(tmp_path, config={"num_hidden_layers": 3})
    with pytest.raises(SettingsError, match=r"no encoder\.layer\.2\.attention\.self\.query\.weight \(16 weights"):
        model_of(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    bert(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(SettingsError, match=rf"{name} is missing"):
        model_of(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "sentence_bert_config.json"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    bert(tmp_path)
    (tmp_path / name).write_bytes(b"{ nothing of use")
    with pytest.raises(SettingsError, match=name):
        model_of(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_network_that_is_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    bert(tmp_path)
    path = tmp_path / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SettingsError, match=r"model\.safetensors is not a network"):
        model_of(tmp_path)


def test_a_folder_without_a_network_says_what_is_expected(tmp_path: Path) -> None:
    small_files(tmp_path)
    with pytest.raises(SettingsError, match=r"expected one of onnx/model\.onnx, model\.onnx, model\.safetensors"):
        model_of(tmp_path)


def test_an_export_of_another_kind_is_refused(tmp_path: Path) -> None:
    small_files(tmp_path)
    (tmp_path / "model.onnx").write_bytes(exported("input_ids", "pixel_values"))
    with pytest.raises(SettingsError, match="its inputs are input_ids, pixel_values"):
        model_of(tmp_path)


@pytest.mark.parametrize(
    "modes", [{"pooling_mode_max_tokens": True}, {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}]
)
def test_another_pooling_is_refused(tmp_path: Path, modes: dict[str, bool]) -> None:
    bert(tmp_path)
    pooling(tmp_path, **modes)
    with pytest.raises(SettingsError, match=r"pooling by .* is not supported"):
        model_of(tmp_path)


def test_a_wrong_number_of_threads_is_refused(tmp_path: Path) -> None:
    bert(tmp_path)
    with pytest.raises(SettingsError, match="option threads='many'"):
        model_of(tmp_path, threads="many")
