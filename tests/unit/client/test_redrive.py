"""What the client does with jobs that expire and with those that failed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.client.play import Play

from glowplug.client import Client, JobTimes, RetryPolicy
from glowplug.client.problems import error_of
from glowplug.errors import InvalidInput, JobFailed, RateLimited


@pytest.fixture
def client(play: Play) -> Iterator[Client]:
    with Client(play.url, timeout=10) as made:
        yield made


def failed(client: Client) -> str:
    """Let a job fail; return its id."""
    job = client.submit("play.fail")
    with pytest.raises(JobFailed):
        client.result(job, timeout=20)
    return job.id


def test_failed_jobs_are_queued_again_at_once(client: Client) -> None:
    made = failed(client)
    assert client.redrive(error_code="NoSuchError").redriven == ()
    said = client.redrive(task="play.fail", failed_after=datetime.now(UTC) - timedelta(hours=1))
    assert (said.redriven, said.more) == ((made,), False)
    assert client.wait(made, timeout=20).attempt == 2


def test_only_so_many_are_and_the_rest_is_said(client: Client) -> None:
    failed(client)
    newest = failed(client)
    said = client.redrive(limit=1)
    assert (said.redriven, said.more) == ((newest,), True)


def test_a_job_may_have_a_time_at_which_it_expires(client: Client) -> None:
    ends = datetime.now(UTC) + timedelta(hours=1)
    job = client.submit("play.echo", {"text": "a"}, run_at=JobTimes(expires_at=ends))
    assert job.expires_at == ends
    assert client.result(job, timeout=20).output


def test_a_time_that_has_passed_is_refused(client: Client) -> None:
    with pytest.raises(InvalidInput, match="expires_at"):
        client.submit("play.echo", {"text": "a"}, run_at=JobTimes(expires_at=datetime.now(UTC) - timedelta(hours=1)))


def test_jobs_are_listed_by_owner(client: Client) -> None:
    job = client.submit("play.echo", {"text": "a"})
    assert [one.id for one in client.jobs(owner=job.owner).jobs] == [job.id]
    assert client.jobs(owner="nobody").jobs == ()


def test_too_many_jobs_in_a_minute_are_an_error_that_says_when_to_come_again() -> None:
    problem = b'{"status": 429, "code": "rate_limited", "detail": "ann may submit 3 jobs a minute"}'
    error = error_of(429, {"retry-after": "30"}, problem)
    assert isinstance(error, RateLimited)
    assert error.data["retry_after"] == 30
    assert RetryPolicy().pause_seconds(error, 1) is None
