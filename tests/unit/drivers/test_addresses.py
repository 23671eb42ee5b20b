"""Which addresses a stranger may have us call: the table of what is refused, and the fix in words."""

from __future__ import annotations

import pytest

from glowplug.drivers.addresses import checked_url, is_public
from glowplug.errors import InvalidInput

PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "100::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001:0:7f00:1::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1111%eth0",
    "fec0::1",
    "ff02::1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "",
    "localhost",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.32.0.1",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_inside_some_network_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/hook",
        "http://[::1]/hook",
        "http://[::ffff:7f00:1]/hook",
        "http://169.254.169.254/latest/meta-data/",
        "https://10.1.2.3/",
        "http://0.0.0.0/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://api.localhost/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://printer.local/",
    ],
)
def test_a_url_that_says_it_is_private_is_refused_with_the_fix(url: str) -> None:
    with pytest.raises(InvalidInput, match="GLOWPLUG_WEBHOOKS_ALLOW_PRIVATE") as raised:
        checked_url(url, allow_private=False)
    assert raised.value.data["fields"][0]["path"] == "webhook"
    assert checked_url(url, allow_private=True).scheme in ("http", "https")


@pytest.mark.parametrize("allow_private", [True, False])
@pytest.mark.parametrize(
    "url",
    [
        "",
        "hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:alert(1)",
        "http://",
        "http:///hook",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://[::1/",
        "http://exa mple.com/",
        "http://example.com/\r\nHost: other",
        "http://example.com\\@127.0.0.1/",
        "http://2130706433/",
        "http://127.1/",
        "http://bücher.example/",
    ],
)
def test_what_is_no_http_address_is_refused(url: str, allow_private: bool) -> None:
    with pytest.raises(InvalidInput, match="http or https"):
        checked_url(url, allow_private=allow_private)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidInput) as raised:
        checked_url("https://me:hunter2@example.com/", allow_private=False)
    assert "signature" in raised.value.message
    assert "hunter2" not in str(raised.value.message) + str(raised.value.data)


def test_a_public_url_is_taken_apart() -> None:
    parts = checked_url("https://example.com:8443/hook?x=1", allow_private=False)
    assert (parts.hostname, parts.port, parts.query) == ("example.com", 8443, "x=1")
