"""A backend that is not ours, which workers tell that their model is ready or has failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from tests.servers.background import answering

TAKEN = b'{"success": true}'


class Backend:
    """Somebody else's backend, which remembers the notices that it got."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.got: list[tuple[str, dict[str, Any], str | None]] = []

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.got]


@contextmanager
def backend(port: int = 0) -> Iterator[Backend]:
    """Serve one, on a free port if none is named."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            made.got.append((self.path, body, self.headers.get("authorization")))
            self.send_response(200)
            self.send_header("content-length", str(len(TAKEN)))
            self.end_headers()
            self.wfile.write(TAKEN)

        def log_message(self, *args: Any) -> None:
            del args

    server = HTTPServer(("127.0.0.1", port), Handler)
    made = Backend(server)
    with answering(server):
        yield made
