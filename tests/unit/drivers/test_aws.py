"""What AWS says of a call, in our words: which error, with which fix, and never a secret."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore import exceptions as foreign

from glowplug.drivers.aws import AwsClient, AwsPlace, checked_endpoint, open_client, translated, translating
from glowplug.errors import (
    BugError,
    Forbidden,
    GlowplugError,
    NotFound,
    RemoteError,
    SettingsError,
    Unauthorized,
    Unreachable,
)

SECRET = "hidden-from-all"
PLACE = AwsPlace("sqs", "eu-central-1", access_key_id="AKIATEST", secret_access_key=SECRET)


@contextmanager
def answering(status: int, code: str, message: str = "so it is") -> Iterator[str]:
    """Serve one error, as AWS words it, whatever is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": message}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's own name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.fixture
def nobody() -> Iterator[str]:
    """Return an address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


async def asked(place: AwsPlace) -> GlowplugError:
    client = AwsClient(place, threads=1)
    client.open()
    try:
        with pytest.raises(GlowplugError) as caught:
            await client.call("get_queue_url", QueueName="q")
        return caught.value
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("status", "code", "kind", "fix"),
    [
        (400, "QueueDoesNotExist", NotFound, "no such thing"),
        (403, "InvalidClientTokenId", Unauthorized, "check the access key"),
        (403, "SignatureDoesNotMatch", Unauthorized, "its secret"),
        (400, "ExpiredTokenException", Unauthorized, "its age"),
        (403, "AccessDenied", Forbidden, "allow sqs:GetQueueUrl"),
        (400, "RequestExpired", Unreachable, "by NTP"),
        (400, "ThrottlingException", Unreachable, "no time for us"),
        (503, "Whatever", Unreachable, "no time for us"),
        (400, "InvalidParameterValue", RemoteError, "so it is"),
    ],
)
async def test_an_answer_is_told_in_our_words(status: int, code: str, kind: type[GlowplugError], fix: str) -> None:
    with answering(status, code) as endpoint:
        error = await asked(AwsPlace("sqs", "eu-central-1", endpoint, "AKIATEST", SECRET))
    assert type(error) is kind
    assert fix in error.message
    assert endpoint in error.message
    assert isinstance(error.__cause__, foreign.ClientError)


async def test_what_is_said_of_a_bad_signature_is_not_repeated() -> None:
    said = f"The canonical string should have been x-amz-security-token:{SECRET}"
    with answering(403, "SignatureDoesNotMatch", said) as endpoint:
        error = await asked(AwsPlace("sqs", "eu-central-1", endpoint, "AKIATEST", SECRET))
    assert SECRET not in f"{error.message} {error.data}"


async def test_where_nobody_listens_the_address_is_to_be_checked(nobody: str) -> None:
    error = await asked(AwsPlace("sqs", "eu-central-1", nobody, "AKIATEST", SECRET))
    assert type(error) is Unreachable
    assert "check address" in error.message


async def test_a_service_that_does_not_answer_is_not_waited_for_longer_than_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        place = AwsPlace("sqs", "eu-central-1", endpoint, "AKIATEST", SECRET, read_timeout_seconds=0.05)
        async with asyncio.timeout(20):
            error = await asked(place)
    assert type(error) is Unreachable


@pytest.mark.parametrize(
    ("error", "kind", "fix"),
    [
        (foreign.NoCredentialsError(), SettingsError, "AWS_ACCESS_KEY_ID"),
        (foreign.PartialCredentialsError(provider="env", cred_var="x"), SettingsError, "AWS_SECRET_ACCESS_KEY"),
        (foreign.ProfileNotFound(profile="x"), SettingsError, "AWS_ACCESS_KEY_ID"),
        (foreign.CredentialRetrievalError(provider="x", error_msg=SECRET), SettingsError, "a role"),
        (foreign.SSLError(endpoint_url="https://x", error="bad"), Unreachable, "AWS_CA_BUNDLE"),
        (foreign.EndpointConnectionError(endpoint_url="https://x"), Unreachable, "check address"),
        (foreign.ReadTimeoutError(endpoint_url="https://x"), Unreachable, "check address"),
        (foreign.ConnectionClosedError(endpoint_url="https://x"), Unreachable, "check address"),
        (foreign.InvalidRegionError(region_name="?"), SettingsError, "check region"),
        (ValueError("Invalid endpoint: x"), SettingsError, "Invalid endpoint: x"),
    ],
)
def test_what_boto3_finds_itself_is_told_with_the_fix(error: Exception, kind: type[GlowplugError], fix: str) -> None:
    found = translated(error, PLACE)
    assert type(found) is kind
    assert fix in found.message
    assert "SQS in eu-central-1" in found.message
    assert SECRET not in found.message


def test_an_error_of_the_machine_is_one_of_the_network() -> None:
    with pytest.raises(Unreachable, match="no route"), translating(PLACE):
        raise OSError(113, "no route")


@pytest.mark.parametrize("url", ["", "sqs.local", "ftp://x", "http://", "http://user@x", "http://user:pw@x:9324"])
def test_an_endpoint_that_is_none_or_holds_keys_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="without keys") as caught:
        checked_endpoint(url)
    assert "pw" not in caught.value.message


def test_an_endpoint_loses_its_last_slash() -> None:
    assert checked_endpoint("https://sqs.example.com:9324/") == "https://sqs.example.com:9324"


def test_a_place_shows_where_it_is_and_no_secret() -> None:
    assert str(PLACE) == "SQS in eu-central-1"
    assert SECRET not in repr(PLACE)


def test_a_region_that_cannot_be_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="check region"):
        open_client(AwsPlace("sqs", "not a region!"))


class TestClient:
    @pytest.fixture
    async def client(self) -> AsyncIterator[AwsClient]:
        client = AwsClient(PLACE, threads=2)
        yield client
        await client.close()

    async def test_it_is_used_between_open_and_close(self, client: AwsClient) -> None:
        with pytest.raises(BugError):
            await client.call("list_queues")
        client.open()
        await client.close()
        with pytest.raises(BugError):
            await client.call("list_queues")

    async def test_it_is_closed_twice_without_harm_and_leaves_no_thread(self, client: AwsClient) -> None:
        with answering(503, "Busy") as endpoint:
            error = await asked(AwsPlace("sqs", "eu-central-1", endpoint, "AKIATEST", SECRET))
        assert type(error) is Unreachable
        await client.close()
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("sqs")] == []
