"""Signatures that every library for Standard Webhooks understands."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from glowplug.doors.signatures import keys_of, new_id, new_secret, signed
from glowplug.errors import SettingsError

# The example of the specification.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
BODY = b'{"test": 2432232314}'
SIGNED_AT = 1614265330
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def now() -> int:
    return int(datetime.now(UTC).timestamp())


def test_the_example_of_the_specification_comes_out() -> None:
    assert signed(ID, SIGNED_AT, BODY, keys_of(SECRET)) == {
        "webhook-id": ID,
        "webhook-timestamp": str(SIGNED_AT),
        "webhook-signature": SIGNATURE,
    }


@given(st.text(), st.binary(min_size=24, max_size=64))
def test_the_official_library_takes_what_is_signed_here(text: str, key: bytes) -> None:
    secret, body = "whsec_" + base64.b64encode(key).decode(), text.encode("utf-8", "replace")
    Verifier(secret).verify(body, signed(new_id(), now(), body, keys_of(secret)), json_parse=False)


def test_another_body_id_or_time_is_not_taken() -> None:
    headers = signed(ID, now(), BODY, keys_of(SECRET))
    for wrong, body in [
        (headers, BODY + b" "),
        ({**headers, "webhook-id": "msg_other"}, BODY),
        ({**headers, "webhook-timestamp": str(now() - 60)}, BODY),
    ]:
        with pytest.raises(WebhookVerificationError):
            Verifier(SECRET).verify(body, wrong)


def test_while_a_secret_is_changed_the_old_and_the_new_one_are_good() -> None:
    new = new_secret()
    headers = signed(ID, now(), BODY, keys_of(f"{new} {SECRET}"))
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (SECRET, new):
        Verifier(secret).verify(BODY, headers)


def test_several_secrets_may_be_a_list_and_lack_prefix_and_padding() -> None:
    bare = SECRET.removeprefix("whsec_")
    assert keys_of([SECRET, bare]) == keys_of(f"{SECRET} {bare}")
    padded = base64.b64encode(b"k" * 25).decode()
    assert keys_of(padded.rstrip("=")) == keys_of(padded) == (b"k" * 25,)


def test_without_a_secret_nothing_is_signed() -> None:
    assert keys_of("") == ()
    assert "webhook-signature" not in signed(ID, SIGNED_AT, BODY, ())


def test_ids_and_secrets_are_new_each_time_and_secrets_are_good_ones() -> None:
    assert new_id() != new_id()
    assert new_secret() != new_secret()
    (key,) = keys_of(new_secret())
    assert len(key) == 24


@pytest.mark.parametrize("size", [1, 23, 65])
def test_a_secret_of_the_wrong_size_is_refused(size: int) -> None:
    with pytest.raises(SettingsError, match="24 to 64 bytes"):
        keys_of("whsec_" + base64.b64encode(b"k" * size).decode())


def test_a_secret_that_is_no_base64_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="new_secret") as caught:
        keys_of("whsec_hunter2-hunter2-hunter2-hunter2!")
    assert "hunter2" not in str(caught.value)
