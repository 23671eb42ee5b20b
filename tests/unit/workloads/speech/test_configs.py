"""The small files beside a Whisper model are looked over before anything is built of what they ask for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glowplug.errors import SettingsError
from glowplug.workloads.speech import whisper
from glowplug.workloads.speech.configs import CONFIG, PREPROCESSOR, check_preprocessor, check_tokens
from glowplug.workloads.speech.source import folder_of

USUAL = {"feature_size": 128, "sampling_rate": 16000, "hop_length": 160, "n_fft": 400, "chunk_length": 30}
VOCABULARY = 51_865


def said(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


@pytest.mark.parametrize("value", [10**9, 10**6 + 1, 0, -1, "x", None, 2.5])
@pytest.mark.parametrize("name", sorted(USUAL))
def test_a_number_that_makes_a_table_without_end_is_named(tmp_path: Path, name: str, value: object) -> None:
    said(tmp_path, PREPROCESSOR, json.dumps({**USUAL, name: value}))
    with pytest.raises(SettingsError, match=rf"preprocessor_config\.json: {name} is .*, where 1 to \d+ can be"):
        check_preprocessor(tmp_path)


def test_what_whisper_says_itself_is_taken(tmp_path: Path) -> None:
    check_preprocessor(tmp_path)
    said(tmp_path, PREPROCESSOR, json.dumps({**USUAL, "nb_max_frames": 3000, "return_attention_mask": False}))
    check_preprocessor(tmp_path)
    said(tmp_path, CONFIG, json.dumps({"suppress_ids": [-1, 0, VOCABULARY - 1], "lang_ids": None}))
    check_tokens(tmp_path, VOCABULARY)


@pytest.mark.parametrize("name", ["suppress_ids", "suppress_ids_begin", "lang_ids"])
@pytest.mark.parametrize("tokens", [[VOCABULARY], [10**12], [-2], ["x"], "x", 7])
def test_a_token_that_is_none_is_named(tmp_path: Path, name: str, tokens: object) -> None:
    said(tmp_path, CONFIG, json.dumps({name: tokens}))
    with pytest.raises(SettingsError, match=rf"/config\.json: {name} holds what is none of its 51865 tokens"):
        check_tokens(tmp_path, VOCABULARY)


@pytest.mark.parametrize("text", ["[1]", "{ nothing", "[" * 100_000])
def test_a_file_that_is_no_object_is_damaged(tmp_path: Path, text: str) -> None:
    said(tmp_path, CONFIG, text)
    said(tmp_path, PREPROCESSOR, text)
    with pytest.raises(SettingsError, match=r"preprocessor_config\.json is damaged"):
        check_preprocessor(tmp_path)
    with pytest.raises(SettingsError, match=r"/config\.json is damaged"):
        check_tokens(tmp_path, VOCABULARY)


@pytest.mark.parametrize(
    ("name", "told", "why"),
    [
        (PREPROCESSOR, {"feature_size": 10**9}, "feature_size is 1000000000"),
        (CONFIG, {"suppress_ids_begin": [10**12]}, "suppress_ids_begin holds"),
    ],
)
def test_a_model_is_not_opened_with_them(tmp_path: Path, name: str, told: dict[str, object], why: str) -> None:
    for path in folder_of("package").iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / name).unlink(missing_ok=True)
    said(tmp_path, name, json.dumps(told))
    with pytest.raises(SettingsError, match=why):
        whisper.opened(tmp_path, whisper.Place("cpu", "int8", 1))
