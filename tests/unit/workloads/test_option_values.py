"""Options that are numbers are read in one way by all models."""

from __future__ import annotations

import pytest

from glowplug.errors import SettingsError
from glowplug.workloads.option_values import refuse_unknown, seconds, threads, whole


def test_what_is_not_given_is_as_usual() -> None:
    assert (whole({}, "steps", 7, most=9), threads({}), threads({}, 2), seconds({}, "pause", 1.5)) == (7, 0, 2, 1.5)


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("9", 9)])
def test_the_ends_of_the_range_belong_to_it(text: str, number: int) -> None:
    assert whole({"steps": text}, "steps", 7, least=1, most=9) == number


@pytest.mark.parametrize("text", ["", "0", "10", "-1", "1.5", "many", "٣", "1" * 5000])
def test_a_number_that_is_none_or_out_of_range_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(SettingsError, match=r"option steps=.*a whole number from 1 to 9 is expected") as refused:
        whole({"steps": text}, "steps", 7, least=1, most=9)
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "soon"])
def test_seconds_are_positive_and_end(text: str) -> None:
    with pytest.raises(SettingsError, match=r"option pause=.*a number of seconds is expected"):
        seconds({"pause": text}, "pause", 1.0)


def test_seconds_may_be_parts() -> None:
    assert seconds({"pause": "0.25"}, "pause", 1.0) == 0.25


def test_an_unknown_option_is_refused_with_the_likeliest_and_all_that_are_known() -> None:
    with pytest.raises(SettingsError) as refused:
        refuse_unknown({"threads": "1", "beem_size": "2"}, ("threads", "beam_size"), "stt")
    assert refused.value.message == (
        "option beem_size is not known to stt (did you mean beam_size?); known: beam_size, threads"
    )


def test_a_model_that_takes_any_option_refuses_none() -> None:
    refuse_unknown({"voice_file": "joe.onnx"}, None, "tts")
