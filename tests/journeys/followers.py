"""Readers of readiness in threads of their own: a stream of events, and a WebSocket."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
from tests.journeys.system import PATIENCE_SECONDS, until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin


class Follower(ABC):
    """Reads to the end; `seen` are the bodies, `fault` is what broke the connection, None if it ended in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[dict[str, Any]] = []
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        until(lambda: self.seen or not self._thread.is_alive(), f"the first news from {self.url}")

    def wait(self) -> None:
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), f"{self.url} never ended: {self.seen[-1:]}"

    def _run(self) -> None:
        try:
            self.read()
        except (httpx.HTTPError, OSError, ConnectionClosed) as error:
            self.fault = error

    @abstractmethod
    def read(self) -> None:
        """Read to the end."""


class EventFollower(Follower):
    """Reads `/api/ready/stream`."""

    last_id = ""

    def read(self) -> None:
        timeout = httpx.Timeout(10, read=PATIENCE_SECONDS)
        with httpx.stream("GET", f"{self.url}/api/ready/stream", timeout=timeout) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    self.last_id = value
                elif name == "data":
                    self.seen.append(json.loads(value))


class SocketFollower(Follower):
    """Reads `/ws/init/…`; `code` is that of the close."""

    code: int | None = None

    def read(self) -> None:
        address = self.url.replace("http://", "ws://", 1) + "/ws/init/a-page"
        # Another origin: what everybody may read, every page may.
        with connect(address, origin=Origin("https://shop.example"), open_timeout=10, proxy=None) as socket:
            for message in socket:
                self.seen.append(json.loads(message))
            self.code = socket.close_code


@contextmanager
def following(*urls: str) -> Iterator[list[Follower]]:
    """Follow each address in both ways; each has seen something when the block begins."""
    made: list[Follower] = [kind(url) for url in urls for kind in (EventFollower, SocketFollower)]
    with ExitStack() as stack:
        for one in made:
            one.start()
            stack.callback(one.wait)
        yield made


def progress_of(follower: Follower) -> list[int]:
    return [one["progress"] for one in follower.seen]
