"""How far a webhook was told of a job, asked by the client; and telling it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from tests.journeys.system import until
from tests.servers.background import answering
from tests.unit.client.play import Play

from glowplug.client import Client, JobWebhook
from glowplug.errors import InvalidInput, NotFound


@contextmanager
def receiver(*answers: int) -> Iterator[tuple[str, list[str]]]:
    """Serve a receiver that answers so, the last answer for ever; yield its URL and the ids that it got."""
    left, got = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            got.append(self.headers["webhook-id"])
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            del args

    server = HTTPServer(("127.0.0.1", 0), Handler)
    with answering(server):
        yield f"http://127.0.0.1:{server.server_port}/", got


@pytest.fixture
def client(play: Play) -> Iterator[Client]:
    with Client(play.url, timeout=10) as made:
        yield made


def test_a_webhook_is_told_what_was_asked_for(client: Client) -> None:
    with receiver(204) as (url, got):
        job = client.submit("play.echo", {"text": "a"}, webhook=JobWebhook(url, ("queued", "completed")))
        until(lambda: len(got) == 2, "the webhook is told")
        (delivery,) = client.deliveries(job)
    assert got[0] == f"{job.id}:1"
    assert (delivery.door, delivery.error, delivery.given_up) == ("webhook", "", False)


def test_what_was_given_up_is_told_again_on_demand(client: Client) -> None:
    with receiver(410, 204) as (url, got):
        job = client.submit("play.echo", {"text": "a"}, webhook=JobWebhook(url, ("completed",)))
        until(lambda: any(one.given_up for one in client.deliveries(job)), "it is given up")
        assert "410" in client.deliveries(job)[0].error
        assert not client.tell_again(job).given_up
        until(lambda: len(got) == 2 and not client.deliveries(job)[0].error, "it is taken")
    assert got[0] == got[1]


def test_a_job_without_a_webhook_has_no_deliveries(client: Client) -> None:
    job = client.submit("play.echo", {"text": "a"})
    assert client.deliveries(job) == ()
    with pytest.raises(NotFound):
        client.tell_again(job)


def test_an_event_that_there_is_not_is_refused(client: Client) -> None:
    with pytest.raises(InvalidInput, match="no event 'finished'"):
        client.submit("play.echo", {"text": "a"}, webhook=JobWebhook("http://127.0.0.1:9/", ("finished",)))
