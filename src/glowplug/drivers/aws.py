"""AWS, and what speaks like it: boto3's clients in a small pool of threads, and their errors in our words.

Credentials are found as boto3 finds them: environment, files, or the machine's role. No message ever repeats one, so
what a service says of a bad signature is left out: it can hold a session's token.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore import exceptions as foreign
from botocore.config import Config

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
from glowplug.lifecycle import in_thread

CONNECT_SECONDS = 5.0
TRIES = 2
ABSENT = frozenset({
    "AWS.SimpleQueueService.NonExistentQueue",
    "QueueDoesNotExist",
    "NoSuchBucket",
    "NoSuchLifecycleConfiguration",
    "NoSuchUpload",
    "NoSuchKey",
    "404",
})  # fmt: skip
WRONG_KEYS = frozenset({
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "InvalidToken",
    "MissingAuthenticationToken",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "401",
})  # fmt: skip
NOT_ALLOWED = frozenset({
    "AccessDenied",
    "AccessDeniedException",
    "AllAccessDisabled",
    "KmsAccessDenied",
    "KMS.AccessDeniedException",
    "UnauthorizedOperation",
    "403",
})  # fmt: skip
WRONG_CLOCK = frozenset({"RequestExpired", "RequestTimeTooSkewed", "RequestInTheRequestExpired"})
BUSY = frozenset({
    "InternalError",
    "InternalFailure",
    "OverLimit",
    "QueueDeletedRecently",
    "AWS.SimpleQueueService.QueueDeletedRecently",
    "RequestThrottled",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
})  # fmt: skip
NO_CREDENTIALS = (
    foreign.NoCredentialsError,
    foreign.PartialCredentialsError,
    foreign.CredentialRetrievalError,
    foreign.ProfileNotFound,
    foreign.NoAuthTokenError,
    foreign.TokenRetrievalError,
    foreign.SSOError,
    foreign.ConfigParseError,
)
NO_ANSWER = (foreign.ConnectionError, foreign.HTTPClientError, foreign.IncompleteReadError, OSError)
LONGEST_DETAIL = 300
NOT_IMPLEMENTED = 501


@dataclass(frozen=True, slots=True)
class AwsPlace:
    """Which service, where: `service` as boto3 calls it. Without keys, boto3 looks for some.

    `read_timeout_seconds` is how long one answer may take.
    """

    service: str
    region: str
    endpoint: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    read_timeout_seconds: float = 15.0

    def __str__(self) -> str:
        return f"{self.service.upper()} {f'at {self.endpoint}' if self.endpoint else f'in {self.region}'}"


def open_client(place: AwsPlace, *, connections: int = 10) -> Any:
    """Return boto3's client of the service, which asks nobody yet. Raises `SettingsError`."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=place.read_timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        max_pool_connections=connections,
        user_agent_extra="glowplug",
        s3={"addressing_style": "path"} if place.endpoint else None,
    )
    with translating(place):
        return boto3.session.Session().client(
            place.service,
            region_name=place.region,
            endpoint_url=place.endpoint,
            aws_access_key_id=place.access_key_id,
            aws_secret_access_key=place.secret_access_key,
            config=config,
        )


@contextmanager
def translating(place: AwsPlace) -> Iterator[None]:
    """Give boto3's errors our names."""
    try:
        yield
    except (foreign.BotoCoreError, foreign.ClientError, foreign.MissingDependencyException, ValueError) as error:
        raise translated(error, place) from error
    except OSError as error:
        raise Unreachable(f"{place} does not answer: {error.strerror or error}; check address and network") from error


def translated(error: Exception, place: AwsPlace) -> GlowplugError:
    """Return what boto3 says of a call at `place` as an error of ours that names the fix."""
    if isinstance(error, foreign.ClientError):
        return _answered(error, place)
    if isinstance(error, NO_CREDENTIALS):
        fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
        return SettingsError(f"there are no credentials for {place} ({type(error).__name__}); {fix}")
    if isinstance(error, foreign.SSLError):
        return Unreachable(f"{place} shows a certificate that is not trusted; set AWS_CA_BUNDLE, or check the address")
    if isinstance(error, NO_ANSWER):
        return Unreachable(f"{place} does not answer ({type(error).__name__}); check address, region and network")
    return SettingsError(f"{place} cannot be asked: {_detail(str(error))}; check region and endpoint")


def _answered(error: foreign.ClientError, place: AwsPlace) -> GlowplugError:
    said = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code, action = str(said.get("Code", status)), f"{place.service}:{error.operation_name}"
    if code in ABSENT:
        return NotFound(f"{place} has no such thing ({code})", aws_code=code)
    if code in WRONG_KEYS:
        return Unauthorized(f"{place} does not know us ({code}); check the access key, its secret, and its age")
    if code in NOT_ALLOWED:
        fix = f"check the access key, and allow {action} for it or the role that is used"
        return Forbidden(f"{place} does not let us do that ({code}); {fix}", action=action)
    if code in WRONG_CLOCK:
        return Unreachable(f"{place} finds this machine's clock wrong ({code}); set it by NTP")
    if code in BUSY or (status >= 500 and status != NOT_IMPLEMENTED):
        return Unreachable(f"{place} has no time for us now ({code})")
    return RemoteError(f"{place} refused {action} ({code}): {_detail(str(said.get('Message', '')))}", aws_code=code)


def _detail(text: str) -> str:
    return " ".join(text.split())[:LONGEST_DETAIL]


def checked_endpoint(url: str) -> str:
    """Return the address of a service if it is one and holds no credentials. Raises `SettingsError`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise SettingsError("an endpoint is written like https://sqs.example.com:9324, without keys in it")
    return url.rstrip("/")


class AwsClient:
    """The calls of one service, made in at most `threads` threads of its own; open it, and close it in the end."""

    def __init__(self, place: AwsPlace, *, threads: int) -> None:
        self.place = place
        self._count = threads
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._client: Any = None

    def open(self) -> None:
        """Make the pool; nothing is asked yet."""
        self._threads = ThreadPoolExecutor(self._count, thread_name_prefix=self.place.service)

    async def close(self) -> None:
        """Wait for the calls under way, end the threads, shut the connections."""
        threads, self._threads = self._threads, None
        if threads is not None:
            await in_thread(None, threads.shutdown)
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Make a call, named as boto3 names its method, and return the answer.

        Raises `Unreachable`, `Unauthorized`, `Forbidden`, `NotFound`, `SettingsError`, `RemoteError`.
        """
        if self._threads is None:
            raise BugError(f"{self.place} is used before start or after stop")
        return await in_thread(self._threads, self._call, operation, arguments)

    def _call(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        client = self._opened()
        with translating(self.place):
            answer: dict[str, Any] = getattr(client, operation)(**arguments)
            return answer

    def _opened(self) -> Any:
        # Making one takes a tenth of a second of work: not in the loop, and not twice.
        with self._lock:
            if self._client is None:
                self._client = open_client(self.place, connections=self._count)
            return self._client
