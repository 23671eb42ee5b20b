"""Words on a command line become a task's input."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.client.arguments import expected, parse_arguments
from glowplug.client.files import safe_name
from glowplug.errors import InvalidInput


def parse(*words: str, **properties: Any) -> dict[str, Any]:
    return parse_arguments(words, {"type": "object", "properties": properties})


TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
NUMBER = {"type": "number"}
SWITCH = {"type": "boolean"}
FILE = {"type": "string", "format": "artifact"}


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (TEXT, "seven", "seven"),
        (TEXT, "7", "7"),
        (TEXT, "", ""),
        (TEXT, "a=b", "a=b"),
        (TEXT, "[1]", "[1]"),
        (WHOLE, "7", 7),
        (WHOLE, "-7", -7),
        (NUMBER, "7", 7.0),
        (NUMBER, "1e-3", 0.001),
        (SWITCH, "true", True),
        (SWITCH, "No", False),
        (SWITCH, "0", False),
        ({"anyOf": [WHOLE, {"type": "null"}]}, "7", 7),
        ({"anyOf": [WHOLE, {"type": "null"}]}, "null", None),
        ({"anyOf": [WHOLE, TEXT]}, "7", 7),
        ({"anyOf": [WHOLE, TEXT]}, "seven", "seven"),
        ({"anyOf": [TEXT, {"type": "null"}]}, "null", None),
        ({"enum": ["a", "b"]}, "a", "a"),
        ({"type": "array", "items": WHOLE}, "1,2, 3", [1, 2, 3]),
        ({"type": "array", "items": WHOLE}, "[1, 2]", [1, 2]),
        ({"type": "array", "items": TEXT}, "one", ["one"]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({}, "7", 7),
        ({}, "true", True),
        ({}, "seven", "seven"),
        ({}, '{"a": [1]}', {"a": [1]}),
    ],
)
def test_a_text_becomes_what_the_schema_says(schema: dict[str, Any], text: str, value: Any) -> None:
    assert parse(f"key={text}", key=schema) == {"key": value}


@pytest.mark.parametrize(
    ("schema", "text", "said"),
    [
        (WHOLE, "seven", "a whole number"),
        (WHOLE, "1.5", "a whole number"),
        (NUMBER, "much", "a number"),
        (SWITCH, "maybe", "true or false"),
        ({"type": "array", "items": WHOLE}, "1,x", "a whole number"),
        ({"type": "array", "items": WHOLE}, "[1,", "a JSON list"),
        ({"type": "object"}, "{", "a JSON object"),
        ({"anyOf": [WHOLE, SWITCH]}, "maybe", "a whole number or true or false"),
    ],
)
def test_a_text_that_cannot_be_meant_is_refused_by_name(schema: dict[str, Any], text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        parse(f"key={text}", key=schema)
    assert caught.value.message.startswith("key: ")


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        (TEXT, "string"),
        ({"anyOf": [WHOLE, {"type": "null"}]}, "integer"),
        ({"anyOf": [WHOLE, TEXT]}, "integer|string"),
        ({"enum": ["png", "jpeg"], "type": "string"}, "png|jpeg"),
        ({"const": "onnx", "type": "string"}, "onnx"),
        ({"type": "string", "format": "artifact"}, "@FILE"),
        ({"type": "array", "items": {"type": "string", "format": "artifact"}}, "list of @FILE"),
        ({"$ref": "#/$defs/Output"}, "{prefix, name}"),
        ({"type": "object"}, "object"),
        ({}, "value"),
    ],
)
def test_what_a_parameter_takes_is_said_in_a_word(schema: dict[str, Any], word: str) -> None:
    root = {"$defs": {"Output": {"type": "object", "properties": {"prefix": TEXT, "name": TEXT}}}}
    assert expected(schema, root) == word


def test_a_reference_in_the_schema_is_followed() -> None:
    schema = {"properties": {"size": {"$ref": "#/$defs/Size"}}, "$defs": {"Size": WHOLE}}
    assert parse_arguments(["size=3"], schema) == {"size": 3}


def test_a_key_that_is_said_twice_makes_a_list() -> None:
    assert parse("x=1", "x=2", x={"type": "array", "items": WHOLE}) == {"x": [1, 2]}
    assert parse("x=a,b", "x=c", x={"type": "array", "items": TEXT}) == {"x": ["a,b", "c"]}


def test_a_file_is_left_for_the_client_to_upload(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    assert parse(f"image=@{path}", image={"type": "string", "format": "artifact"}) == {"image": path}


def test_many_files_are_a_list_of_files(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        path.write_bytes(b"x")
    words = [f"images=@{path}" for path in paths]
    assert parse(*words, images={"type": "array", "items": FILE}) == {"images": paths}


def test_where_the_task_takes_no_file_it_is_read(tmp_path: Path) -> None:
    story = tmp_path / "story.txt"
    story.write_text("Es war einmal, in Köln", encoding="utf-8")
    messages = tmp_path / "messages.json"
    messages.write_text('{"role": "user"}')
    assert parse(f"text=@{story}", text=TEXT) == {"text": "Es war einmal, in Köln"}
    assert parse(f"first=@{messages}", first={"type": "object"}) == {"first": {"role": "user"}}


def test_a_file_that_is_no_text_is_refused_where_a_text_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\xff")
    with pytest.raises(InvalidInput, match=r"text: the task takes a text there, and .*a\.png is none"):
        parse(f"text=@{path}", text=TEXT)


def test_a_task_that_nobody_knows_is_sent_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    assert parse_arguments([f"image=@{path}"], {}) == {"image": path}


def test_two_signs_begin_a_text_that_begins_with_one() -> None:
    assert parse("text=@@everyone", text=TEXT) == {"text": "@everyone"}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"image: there is no file .*absent\.png"):
        parse(f"image=@{tmp_path / 'absent.png'}", image=TEXT)


def test_a_path_without_its_sign_is_told_of_the_sign() -> None:
    with pytest.raises(InvalidInput, match=r"image: the task takes a file there: image=@cat\.png uploads it"):
        parse("image=cat.png", image=FILE)
    for reference in ("artifact:uploads/1/cat.png", "data:image/png;base64,AA=="):
        assert parse(f"image={reference}", image=FILE) == {"image": reference}


class TestFilesInsideOfJson:
    root: Mapping[str, Any] = {
        "properties": {
            "dataset": {"anyOf": [{"$ref": "#/$defs/Dataset"}, {"type": "null"}]},
            "pages": {"type": "array", "items": {"$ref": "#/$defs/Dataset"}},
            "messages": {"type": "array", "items": {"type": "object", "properties": {"content": TEXT}}},
        },
        "$defs": {"Dataset": {"type": "object", "properties": {"archive": {"anyOf": [FILE, WHOLE]}, "name": TEXT}}},
    }

    def test_they_are_found_where_the_schema_has_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        path.write_bytes(b"x")
        one = f'{{"archive": "@{path}", "name": "@me"}}'
        found = parse_arguments([f"dataset={one}", f"pages=[{one}, 7]"], self.root)
        assert found == {
            "dataset": {"archive": path, "name": "@me"},
            "pages": [{"archive": path, "name": "@me"}, 7],
        }

    def test_a_text_that_begins_like_one_stays_a_text(self) -> None:
        (message,) = parse_arguments(['messages=[{"content": "@file", "more": "@all"}]'], self.root)["messages"]
        assert message == {"content": "@file", "more": "@all"}

    def test_one_that_is_not_there_is_named_with_its_place(self) -> None:
        with pytest.raises(InvalidInput, match=r"dataset\.archive: there is no file .*absent\.zip"):
            parse_arguments(['dataset={"archive": "@absent.zip"}'], self.root)

    def test_a_reference_is_left_as_it_is(self) -> None:
        given = parse_arguments(['dataset={"archive": "artifact:uploads/a.zip"}'], self.root)
        assert given == {"dataset": {"archive": "artifact:uploads/a.zip"}}


def test_an_unknown_parameter_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidInput, match="prompt, seed"):
        parse("promt=x", prompt=TEXT, seed=WHOLE)


def test_without_a_schema_everything_is_guessed() -> None:
    assert parse_arguments(["a=1", "b=x"], {}) == {"a": 1, "b": "x"}


@pytest.mark.parametrize("word", ["seven", "=7", ""])
def test_a_word_that_is_no_pair_is_refused_with_an_example(word: str) -> None:
    with pytest.raises(InvalidInput, match="key=value"):
        parse(word)


@given(st.text())
def test_any_text_for_a_text_parameter_stays_as_it_is(text: str) -> None:
    if not text.startswith("@"):
        assert parse(f"key={text}", key=TEXT) == {"key": text}


@given(st.text())
def test_any_word_is_parsed_or_refused_but_never_breaks(word: str) -> None:
    with suppress(InvalidInput):
        assert list(parse(word, key=WHOLE)) == ["key"]


@given(st.text())
def test_any_name_becomes_a_plain_file_name(name: str) -> None:
    plain = safe_name(name)
    assert plain
    assert not plain.startswith((".", "-", " "))
    assert "/" not in plain
    assert "\\" not in plain
    assert len(plain) <= 100


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("picture.png", "picture.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\cat.png", "cat.png"),
        (".hidden", "hidden"),
        ("grüße.txt", "gr__e.txt"),
        ("..", "file"),
        ("", "file"),
    ],
)
def test_a_name_keeps_what_is_safe_of_it(name: str, plain: str) -> None:
    assert safe_name(name) == plain


def test_a_very_long_name_keeps_its_ending() -> None:
    assert safe_name("x" * 500 + ".png").endswith(".png")
