"""Who may make a direct call."""

from __future__ import annotations

import pytest

from glowplug.errors import Forbidden, InvalidInput, Unauthorized
from glowplug.runtime.admission import Admission

JSON = {b"content-type": b"application/json"}


@pytest.mark.parametrize(
    "host", [b"localhost", b"localhost:8000", b"127.0.0.1:1", b"[::1]:8000", b"[::1]", b"LOCALHOST"]
)
def test_this_machine_may_call_without_a_token(host: bytes) -> None:
    Admission().check({**JSON, b"host": host})


@pytest.mark.parametrize(
    "host", [b"", b"evil.example", b"localhost.evil.example", b"127.0.0.1.evil.example:80", b"\xff"]
)
def test_any_other_name_is_kept_out_without_a_token(host: bytes) -> None:
    with pytest.raises(Forbidden):
        Admission().check({**JSON, b"host": host})


def test_with_a_token_the_name_does_not_matter() -> None:
    Admission(token="sesame").check({**JSON, b"host": b"worker.example", b"authorization": b"Bearer sesame"})


@pytest.mark.parametrize(
    "said", [b"", b"sesame", b"Bearer", b"Bearer ", b"Bearer sesamE", b"Bearer sesame ", b"\xff\xfe"]
)
def test_nothing_but_the_token_opens(said: bytes) -> None:
    with pytest.raises(Unauthorized):
        Admission(token="sesame").check({**JSON, b"host": b"localhost", b"authorization": said})


def test_a_list_of_none_lets_any_name_in() -> None:
    Admission(hosts=None).check({**JSON, b"host": b"anything"})


@pytest.mark.parametrize("said", [b"", b"text/plain", b"multipart/form-data", b"application/x-www-form-urlencoded"])
def test_a_body_that_a_form_could_send_is_refused(said: bytes) -> None:
    with pytest.raises(InvalidInput):
        Admission().check({b"host": b"localhost", b"content-type": said})


def test_json_may_name_its_charset() -> None:
    Admission().check({b"host": b"localhost", b"content-type": b"application/json; charset=utf-8"})
