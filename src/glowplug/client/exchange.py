"""The client's HTTP: one place where requests are sent, sent again, and their failures given our names."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
from httpx_sse import EventSource, SSEError

from glowplug.client.problems import RetryPolicy, error_of
from glowplug.data_folder import default_folder, find_gateway
from glowplug.errors import DeadlineExceeded, GlowplugError, RemoteError, SettingsError, Unreachable

T = TypeVar("T")
# A stream carries a heartbeat each 15 s, so that silence for longer means a dead peer.
STREAM_SILENCE_SECONDS = 60.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request before it is sent. `repeatable` says that sending it twice does no harm.

    `content` makes the body anew for each attempt.
    """

    method: str
    path: str
    json: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Callable[[], AsyncIterator[bytes]] | None = None
    repeatable: bool = True
    timeout_seconds: float | None = None


def address(named: str | None, data: Path) -> str:
    """Return the gateway to ask: the one that is named, else the one that runs on the data folder.

    Raises:
        Unreachable: neither is there.
    """
    if named:
        return named.rstrip("/")
    found = find_gateway(data)
    if found is None:
        raise Unreachable(
            f"no gateway runs on the data folder {data}; start one with `glowplug up`, or set GLOWPLUG_URL", sent=False
        )
    return found.url


def _address_of_environment() -> str:
    data = Path(os.environ.get("GLOWPLUG_DATA") or default_folder("data"))
    return address(os.environ.get("GLOWPLUG_URL", "").strip(), data.expanduser())


class Exchange:
    """Sends requests to one gateway."""

    def __init__(
        self,
        url: str | Callable[[], str] | None,
        token: str | None,
        *,
        timeout_seconds: float,
        retry: RetryPolicy,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._token = token
        self._timeout_seconds = timeout_seconds
        self._retry = retry
        self._transport = transport
        self._opened: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()

    async def read(self, ask: Ask, kind: type[T]) -> T:
        """Send and decode the JSON answer as a `kind`. Raises what the problem says, `Unreachable`, `RemoteError`."""
        answer = await self.send(ask)
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError as error:
            raise RemoteError(
                f"{answer.request.url} answered with something that is not ours ({error}); is it a Glowplug gateway?"
            ) from error

    async def send(self, ask: Ask) -> httpx.Response:
        """Send, again if that is safe and may help, and return the good answer, read to its end."""
        self._client()  # That there is no gateway to ask is no failure of a request: asking again is no help.
        failures = 0
        while True:
            try:
                async with self.stream(ask) as answer:
                    await _read(answer)
                    return answer
            except GlowplugError as error:
                failures += 1
                pause = self._retry.pause_seconds(error, failures) if _may_repeat(ask, error) else None
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def stream(self, ask: Ask) -> AsyncIterator[httpx.Response]:
        """Send once and yield the good answer, its body unread."""
        client = self._client()
        timeout = httpx.Timeout(ask.timeout_seconds or self._timeout_seconds, connect=self._timeout_seconds)
        request = client.build_request(
            ask.method,
            ask.path,
            json=ask.json,
            # An empty mapping would take away what the address says itself.
            params={key: value for key, value in ask.params.items() if value is not None} or None,
            headers=dict(ask.headers),
            content=ask.content() if ask.content else None,
            timeout=timeout,
        )
        # A link of an object store is signed itself, and our token is none of its business.
        if request.url.copy_with(raw_path=b"/") != client.base_url.copy_with(raw_path=b"/"):
            request.headers.pop("Authorization", None)
        with _translated(request):
            answer = await client.send(request, stream=True, follow_redirects=True)
        try:
            if answer.is_error:
                await _read(answer)
                raise error_of(answer.status_code, answer.headers, answer.content)
            yield answer
        finally:
            await answer.aclose()

    async def events(self, ask: Ask) -> AsyncGenerator[tuple[str, str], None]:
        """Yield type and data of the server's events, from one connection; none if it says that there are none."""
        silence = ask.timeout_seconds or STREAM_SILENCE_SECONDS
        ask = replace(ask, headers={**ask.headers, "Accept": "text/event-stream"}, timeout_seconds=silence)
        async with AsyncExitStack() as held:
            answer = await held.enter_async_context(self.stream(ask))
            if answer.status_code == httpx.codes.NO_CONTENT:
                return
            held.enter_context(_translated(answer.request))
            async for event in EventSource(answer).aiter_sse():
                # The parser makes an event without data of each heartbeat that follows an `id`.
                if event.data:
                    yield event.event, event.data

    async def chunks(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        """Yield the body of a streamed answer in pieces."""
        with _translated(answer.request):
            async for chunk in answer.aiter_bytes(1 << 18):
                yield chunk

    def _client(self) -> httpx.AsyncClient:
        if self._opened is None:
            url = self._url if isinstance(self._url, str) else (self._url or _address_of_environment)()
            token = self._token or os.environ.get("GLOWPLUG_TOKEN")
            self._opened = httpx.AsyncClient(
                base_url=_checked(url),
                headers={"Authorization": f"Bearer {token}"} if token else {},
                transport=self._transport,
                # A proxy of the environment cannot reach this machine's own loopback.
                trust_env=httpx.URL(url).host not in LOOPBACK,
            )
        return self._opened


def _checked(url: str) -> httpx.URL:
    with suppress(httpx.InvalidURL, TypeError):
        parsed = httpx.URL(url)
        if parsed.scheme in ("http", "https") and parsed.host:
            return parsed
    raise SettingsError(f"{url!r} is not a gateway's URL; write it like http://127.0.0.1:8000")


@contextmanager
def _translated(request: httpx.Request) -> Iterator[None]:
    """Give httpx's errors our names."""
    at = f"{request.url.scheme}://{request.url.netloc.decode()}"
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        message = f"nothing answers at {at}; start it with `glowplug up`, or correct GLOWPLUG_URL"
        raise Unreachable(message, sent=False) from error
    except httpx.TimeoutException as error:
        raise DeadlineExceeded(f"{at} did not answer in time") from error
    except SSEError as error:
        raise RemoteError(f"{request.url} is no stream of events") from error
    except httpx.HTTPError as error:
        raise Unreachable(f"the connection to {at} broke: {str(error) or type(error).__name__}", sent=True) from error


async def _read(answer: httpx.Response) -> None:
    with _translated(answer.request):
        await answer.aread()


def _may_repeat(ask: Ask, error: GlowplugError) -> bool:
    # What was refused, or never left this machine, has had no effect; only a broken connection leaves a doubt.
    return ask.repeatable or not isinstance(error, Unreachable) or not error.data.get("sent", True)
