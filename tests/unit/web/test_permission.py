"""Who may start what costs compute: the token's holders, or without a token this machine alone."""

from __future__ import annotations

import pytest
from starlette.requests import HTTPConnection

from glowplug.errors import Forbidden, Unauthorized
from glowplug.web.permission import anyone, is_loopback, local_only

HERE = ("127.0.0.1", 50000)


def call(
    *headers: tuple[str, str],
    client: tuple[str, int] | None = HERE,
    server: tuple[str, int | None] | None = ("127.0.0.1", 8000),
    host: str | None = "localhost:8000",
    scheme: str = "http",
) -> HTTPConnection:
    lines = [*headers, *([("host", host)] if host is not None else [])]
    return HTTPConnection(
        {
            "type": "http",
            "scheme": scheme,
            "client": client,
            "server": server,
            "headers": [(name.encode(), value.encode()) for name, value in lines],
        }
    )


def test_a_program_on_this_machine_may() -> None:
    local_only()(call())


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "[::1]", "LocalHost:1"]
)
def test_this_machine_goes_by_these_names(host: str) -> None:
    local_only()(call(host=host))


@pytest.mark.parametrize("end", ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1", "localhost"])
def test_loopback_has_many_addresses(end: str) -> None:
    local_only()(call(client=(end, 1), server=(end, 2)))


@pytest.mark.parametrize("far", [("192.168.1.7", 1), ("10.0.0.1", 1), ("::ffff:10.0.0.1", 1), ("testclient", 1), None])
def test_another_machine_may_not(far: tuple[str, int] | None) -> None:
    with pytest.raises(Forbidden, match="set a token"):
        local_only()(call(client=far))


@pytest.mark.parametrize("server", [("192.168.1.7", 8000), ("/run/app.sock", None), None])
def test_nor_may_who_came_by_an_address_that_others_reach(server: tuple[str, int | None] | None) -> None:
    with pytest.raises(Forbidden, match="set a token"):
        local_only()(call(server=server))


@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"])
def test_a_proxy_hides_who_asks(name: str) -> None:
    with pytest.raises(Forbidden, match=f"proxy \\({name}\\)"):
        local_only()(call((name, "127.0.0.1")))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.", "", "a b", None, "[::1"])
def test_a_name_that_another_site_gave_this_machine_is_refused(host: str | None) -> None:
    with pytest.raises(Forbidden, match="not asked of localhost"):
        local_only()(call(host=host))


def test_two_hosts_are_none() -> None:
    with pytest.raises(Forbidden, match="not asked of localhost"):
        local_only()(call(("host", "localhost")))


def test_a_page_of_this_very_origin_may() -> None:
    local_only()(call(("origin", "http://localhost:8000")))
    local_only()(call(("origin", "https://localhost:8000"), scheme="https"))


@pytest.mark.parametrize(
    "origin",
    ["null", "https://evil.example", "http://localhost:3000", "https://localhost:8000", "http://127.0.0.1:8000"],
)
def test_a_page_of_another_origin_may_not(origin: str) -> None:
    with pytest.raises(Forbidden, match="another origin"):
        local_only()(call(("origin", origin)))


@pytest.mark.parametrize("word", ["Bearer", "bearer", "BEARER"])
def test_with_a_token_whoever_shows_it_may_from_anywhere(word: str) -> None:
    far = call(("authorization", f"{word} s3cret"), ("x-forwarded-for", "10.0.0.1"), client=("10.0.0.9", 1), host="app")
    local_only("s3cret")(far)


@pytest.mark.parametrize(
    "given", ["Bearer wrong", "Bearer ", "Basic s3cret", "s3cret", "Bearer s3cret2", "Bearer S3CRET"]
)
def test_with_a_token_nobody_else_may_not_even_from_here(given: str) -> None:
    with pytest.raises(Unauthorized, match="a token is needed"):
        local_only("s3cret")(call(("authorization", given)))


def test_with_a_token_no_header_is_not_enough() -> None:
    with pytest.raises(Unauthorized):
        local_only("s3cret")(call())


def test_a_token_in_any_alphabet_is_compared_as_it_was_sent() -> None:
    local_only("schlüssel")(call(("authorization", "Bearer schlüssel")))
    with pytest.raises(Unauthorized):
        local_only("schlüssel")(call(("authorization", "Bearer schlussel")))


def test_an_empty_token_protects_nothing_so_it_counts_as_none() -> None:
    with pytest.raises(Forbidden):
        local_only("")(call(("authorization", "Bearer "), client=("10.0.0.9", 1)))


def test_refusals_never_tell_the_token() -> None:
    with pytest.raises(Unauthorized) as refused:
        local_only("s3cret")(call(("authorization", "Bearer guess")))
    assert "s3cret" not in str(refused.value)
    assert "guess" not in str(refused.value)


def test_where_something_in_front_decides_anyone_may() -> None:
    anyone()(call(client=("10.0.0.9", 1), host="evil.example"))


@pytest.mark.parametrize(("host", "here"), [("localhost", True), ("127.0.0.1", True), ("0.0.0.0", False), ("", False)])
def test_only_a_loopback_address_is_this_machine_s_own(host: str, here: bool) -> None:
    assert is_loopback(host) is here
