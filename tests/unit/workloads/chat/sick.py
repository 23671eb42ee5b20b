"""A server for faults that no real one can be made to show: it answers what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EVENTS = "text/event-stream"


@dataclass(frozen=True)
class Answer:
    """A status, headers and the parts of a body; after them the connection is cut, or held until `held` is set."""

    parts: tuple[bytes, ...] = ()
    status: int = 200
    media_type: str = EVENTS
    headers: dict[str, str] = field(default_factory=dict)
    held: threading.Event | None = None


def event(data: object) -> bytes:
    """Return an event of a stream."""
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def delta(text: str, finish: str | None = None) -> bytes:
    """Return a piece of a reply."""
    return event({"choices": [{"delta": {"content": text}, "finish_reason": finish}]})


MODELS = Answer((json.dumps({"data": [{"id": "sick"}]}).encode(),), media_type="application/json")
GOOD = Answer((delta("Hello", "stop"), event("[DONE]")))


class SickServer:
    """Answers `chat` and `models` as they are set."""

    def __init__(self) -> None:
        self.chat, self.models = GOOD, MODELS
        self.asked: list[dict[str, object]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """Return where it answers."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sick = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._give(sick.models)

            def do_POST(self) -> None:
                sick.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self._give(sick.chat)

            def _give(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in {"content-type": answer.media_type, "connection": "close", **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for part in answer.parts:
                    self.wfile.write(part)
                    self.wfile.flush()
                if answer.held is not None:
                    answer.held.wait(30)

            def log_message(self, *arguments: object) -> None:
                del arguments

        return Handler


@contextmanager
def running_sick() -> Iterator[SickServer]:
    """Run the server until the block ends."""
    server = SickServer()
    server.start()
    try:
        yield server
    finally:
        server.close()
