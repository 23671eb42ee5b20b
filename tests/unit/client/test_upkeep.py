"""Retrying loads and warming up, asked of a gateway."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from tests.unit.client.play import Play

from glowplug.client import Client, WarmUpView
from glowplug.errors import Conflict, NotFound, RateLimited


@pytest.fixture
def client(play: Play) -> Iterator[Client]:
    with Client(play.url) as made:
        yield made


def test_a_failed_model_is_loaded_again(play: Play, client: Client) -> None:
    play.broken()
    assert client.retry_load() == ("play",)
    assert client.readiness().ready


def test_it_may_be_named(play: Play, client: Client) -> None:
    play.broken()
    assert client.retry_load("play") == ("play",)


def test_asked_again_at_once_it_is_told_to_wait(play: Play, client: Client) -> None:
    play.broken()
    client.retry_load("play")
    play.broken()
    with pytest.raises(RateLimited) as caught:
        client.retry_load("play")
    assert caught.value.data["retry_after"] >= 1


def test_with_nothing_failed_there_is_nothing_to_retry(client: Client) -> None:
    for name in (None, "play"):
        with pytest.raises(Conflict):
            client.retry_load(name)


def test_a_model_that_is_not_there_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        client.retry_load("no such model/../x")


def test_a_worker_that_cannot_be_asked_is_told_beside_the_model(client: Client) -> None:
    warmed = client.warm_up()
    assert list(warmed) == ["play"]
    assert warmed["play"].warmup_time_ms is None
    assert "w1" in (warmed["play"].error or "")


def test_with_nothing_ready_there_is_nothing_to_warm_up(play: Play, client: Client) -> None:
    play.broken()
    with pytest.raises(Conflict):
        client.warm_up()


def test_times_are_told_by_model_and_the_request_is_sent_once() -> None:
    asked: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        return httpx.Response(200, json={"services": {"tts": {"warmup_time_ms": 12.5}, "stt": {"error": "w2: gone"}}})

    with Client("http://gateway.test", transport=httpx.MockTransport(answer)) as client:
        assert client.warm_up() == {"tts": WarmUpView(12.5), "stt": WarmUpView(error="w2: gone")}
    assert asked == [("POST", "/api/warmup")]
