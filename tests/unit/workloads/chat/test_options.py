"""The options of the chat model."""

from __future__ import annotations

import pytest

from glowplug.errors import SettingsError
from glowplug.workloads.chat.options import Limits, ServerOptions

KEY = "a-key-that-nobody-may-see"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
        ("http://127.0.0.1:11434/", "http://127.0.0.1:11434/v1"),
        (" https://llm.example.com/v1/ ", "https://llm.example.com/v1"),
        ("https://llm.example.com/openai/v2", "https://llm.example.com/openai/v2"),
        ("http://[::1]:8080", "http://[::1]:8080/v1"),
    ],
)
def test_an_address_may_leave_out_the_version(given: str, url: str) -> None:
    assert ServerOptions.of({"server": given}).url == url


def test_without_options_the_ollama_of_this_machine_is_asked() -> None:
    options = ServerOptions.of({})
    assert options.url == "http://127.0.0.1:11434/v1"
    assert options.near
    assert not ServerOptions.of({"server": "https://llm.example.com"}).near


@pytest.mark.parametrize(
    "given",
    ["", "127.0.0.1:11434", "ftp://host", "http://", "http://host:99999999", "http://host/v1?key=1", "file:///etc"],
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(SettingsError, match="option server"):
        ServerOptions.of({"server": given})


def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="api_key_env") as refused:
        ServerOptions.of({"server": f"http://user:{KEY}@host"})
    assert KEY not in refused.value.message


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_KEY", f"{KEY}\n")
    options = ServerOptions.of({"api_key_env": "LLM_KEY"})
    assert options.key == KEY
    assert KEY not in f"{options!r} {options} {options.name}"


@pytest.mark.parametrize("value", ["", " ", "two words", "schlüssel", "tab\there"])
def test_a_variable_that_holds_no_key_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LLM_KEY", value)
    with pytest.raises(SettingsError, match="api_key_env=LLM_KEY") as refused:
        ServerOptions.of({"api_key_env": "LLM_KEY"})
    assert "two words" not in refused.value.message


def test_a_key_in_place_of_its_name_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="the NAME of an environment variable") as refused:
        ServerOptions.of({"api_key_env": f"sk-{KEY}"})
    assert KEY not in refused.value.message


def test_a_variable_that_is_missing_is_refused() -> None:
    with pytest.raises(SettingsError, match="no such variable"):
        ServerOptions.of({"api_key_env": "NO_SUCH_VARIABLE_ANYWHERE"})


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", ""])
def test_silence_is_a_number_of_seconds(value: str) -> None:
    with pytest.raises(SettingsError, match="option silence_seconds="):
        ServerOptions.of({"silence_seconds": value})


@pytest.mark.parametrize(("name", "value"), [("max_tokens", "0"), ("max_tokens", "9" * 9), ("longest_prompt", "1e3")])
def test_limits_are_whole_numbers(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"option {name}="):
        Limits.of({name: value})


def test_limits_have_usual_values() -> None:
    assert Limits.of({}) == Limits(longest_prompt=200_000, max_tokens=1024, system="")
