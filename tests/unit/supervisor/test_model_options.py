"""Which options go to which model, and which are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

import glowplug.workloads
from glowplug.errors import SettingsError
from glowplug.events import set_sink
from glowplug.supervisor import check_options, handed_down, options_of, tell_idle_tables

NONE: Mapping[str, Mapping[str, str]] = {}
OURS = ["chat", "tts", "stt"]


def refusal(targets: list[str], said: Mapping[str, str], tables: Mapping[str, Mapping[str, str]] = NONE) -> str:
    with pytest.raises(SettingsError) as refused:
        check_options(targets, said, tables)
    return refused.value.message


class TestWhatAModelGets:
    @pytest.mark.parametrize("target", ["net", "models/net.py", "models.net", "models/net.py:Other", "shop:net"])
    def test_the_options_under_its_name(self, target: str) -> None:
        assert options_of(target, {}, {"net": {"steps": "3"}, "another": {"steps": "4"}}) == {"steps": "3"}
        assert options_of(target, {"net.steps": "3", "another.steps": "4"}, {}) == {"steps": "3"}

    @pytest.mark.parametrize("word", ["Captioner", "captioner"])
    def test_a_class_may_be_written_as_it_is_or_in_small_letters(self, word: str) -> None:
        assert options_of("models/net.py:Captioner", {}, {word: {"steps": "3"}}) == {"steps": "3"}
        assert options_of("models/net.py:Captioner", {f"{word}.steps": "3"}, {}) == {"steps": "3"}

    def test_what_is_said_for_all_wins_over_tables_and_what_is_said_for_one_over_all(self) -> None:
        tables = {"net": dict.fromkeys("abcd", "file"), "captioner": dict.fromkeys("bcd", "class")}
        said = {"net.d": "one", "c": "all", "d": "all"}
        assert options_of("net.py:Captioner", said, tables) == {"a": "file", "b": "class", "c": "all", "d": "one"}

    def test_an_option_s_own_name_may_have_dots_after_the_model_s(self) -> None:
        assert options_of("net.py", {"net.adam.rate": "1"}, {}) == {"adam.rate": "1"}
        assert options_of("My.Net.py", {"My.Net.rate": "1"}, {}) == {"rate": "1"}

    def test_a_model_that_nobody_named_has_none(self) -> None:
        assert options_of("net.py", {}, {}) == {}


class TestWhatAWorkerIsHanded:
    said: Mapping[str, str] = {"threads": "1", "beam_size": "2", "chat.system": "Be kind.", "net.a.b": "c"}

    def test_what_its_model_knows_and_what_is_for_it_alone(self) -> None:
        assert handed_down("stt", self.said, NONE) == {"threads": "1", "beam_size": "2"}
        assert handed_down("chat", self.said, NONE) == {"threads": "1", "chat.system": "Be kind."}

    def test_a_model_of_somebody_else_takes_any(self) -> None:
        assert handed_down("net.py", self.said, NONE) == {"threads": "1", "beam_size": "2", "net.a.b": "c"}

    def test_a_voice_of_one_s_own_makes_any_option_one_of_tts(self) -> None:
        said = {"voice_file": "joe.onnx", "beam_size": "2"}
        assert handed_down("tts", said, NONE) == {}
        assert handed_down("tts", said, {"tts": {"engine": "my_piper:opened"}}) == said


class TestWhatIsRefused:
    def test_what_some_target_knows_is_right(self) -> None:
        check_options(OURS, {"threads": "1", "beam_size": "2", "stt.beam_size": "3"}, {"chat": {"system": "Be kind."}})

    def test_what_is_known_to_none(self) -> None:
        said = refusal(OURS, {"threads": "1", "beem_size": "2"})
        assert "beem_size is known to none of chat, tts, stt (did you mean beam_size?)" in said
        assert "tts knows engine, threads, voices" in said

    def test_what_the_only_model_does_not_know(self) -> None:
        said = refusal(["detector", "detector"], {"thread": "1"})
        assert said == "option thread is not known to detector (did you mean threads?); known: engine, threads"

    @pytest.mark.parametrize(
        ("said", "tables"), [({"stt.beem_size": "2"}, {}), ({}, {"stt": {"beem_size": "2"}, "tts": {"voices": "a"}})]
    )
    def test_what_the_model_named_does_not_know(
        self, said: Mapping[str, str], tables: Mapping[str, Mapping[str, str]]
    ) -> None:
        told = refusal([*OURS, "net.py"], said, tables)
        assert "beem_size is not known to stt (did you mean beam_size?); known: beam_size, compute_type" in told

    def test_a_model_that_is_not_there(self) -> None:
        told = refusal(["chat", "net.py:Captioner"], {"caht.gguf": "a"})
        assert told == (
            "option caht.gguf: no model here is called caht (did you mean chat?); there are: "
            "chat, net, Captioner, captioner"
        )

    @pytest.mark.parametrize("path", [".gguf", "chat.", "."])
    def test_half_a_name(self, path: str) -> None:
        assert "write name=value, or model.name=value" in refusal(["chat"], {path: "a"})

    def test_nothing_where_a_model_takes_any(self) -> None:
        check_options(["net.py"], {"anything": "1", "net.more": "2"}, {"net": {"most": "3"}})
        check_options([*OURS, "net.py"], {"anything": "1"}, {})
        check_options(["tts"], {"engine": "my_piper:opened", "voice_file": "joe.onnx"}, {})

    def test_tables_of_models_that_are_not_started_are_left_alone(self) -> None:
        check_options(["tts"], {}, {"stt": {"beem_size": "2"}})


def test_a_table_for_no_model_here_is_told_of_unless_it_is_for_an_installed_one() -> None:
    told: list[tuple[str, str, str]] = []
    former = set_sink(lambda spec, fields: told.append((spec.name, fields["table"], fields["advice"])))
    tables = {name: {"a": "1"} for name in ("chatt", "chat", "net", "Captioner", "captioner", "images", "elsewhere")}
    try:
        tell_idle_tables(["chat", "net.py:Captioner"], tables)
    finally:
        set_sink(former)
    here = "started here: chat, net, Captioner, captioner"
    assert told == [
        ("options.idle", "chatt", f"{here} (did you mean chat?)"),
        ("options.idle", "elsewhere", here),
    ]


WORKLOADS = Path(glowplug.workloads.__file__).parent


@pytest.mark.parametrize(
    ("folder", "targets"),
    [
        ("chat", ["chat"]),
        ("diffusion", ["images"]),
        ("embeddings", ["embeddings"]),
        ("speech", ["tts", "stt"]),
    ],
)
def test_every_model_of_ours_knows_the_options_of_its_page_s_table_and_no_other(
    folder: str, targets: list[str]
) -> None:
    page = (WORKLOADS / folder / "README.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| option \|.*\n((?:\|.*\n)+)", page, flags=re.MULTILINE)
    written = {
        name for table in tables for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    check_options(targets, dict.fromkeys(written, ""), {})
    known = [refusal([target], {"no_such_option": ""}).partition("known: ")[2].split(", ") for target in targets]
    assert written == {name for names in known for name in names}
