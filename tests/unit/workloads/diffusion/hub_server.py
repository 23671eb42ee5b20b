"""A small server that speaks as much of the hub's language as a download needs; it can hang up in the middle."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """Serves the files in `folder` as the repository `owner/name`."""

    daemon_threads = True

    def __init__(self, folder: Path, *, hang_up_after: int | None = None, status: int = 200, code: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.hang_up_after = hang_up_after
        self.status = status
        self.code = code
        self.asked: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


class Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.command == "GET":
            self.server.asked.append((path, self.headers.get("Range", "")))
        if self.server.status != 200:
            self._answer(self.server.status, b"", {"X-Error-Code": self.server.code})
        elif path.startswith("/api/models/owner/name/tree/"):
            self._json([self._entry(name) for name in self.server.files()])
        elif path.startswith("/api/models/owner/name"):
            siblings = [{"rfilename": name} for name in self.server.files()]
            self._json({"id": "owner/name", "sha": COMMIT, "siblings": siblings})
        elif path.startswith("/owner/name/resolve/"):
            self._file(path.split("/", 5)[5])
        else:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _entry(self, name: str) -> dict[str, object]:
        data = (self.server.folder / name).read_bytes()
        return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str) -> None:
        path = self.server.folder / name
        if not path.is_file():
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        data = path.read_bytes()
        told = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        if asked:
            told["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._answer(206 if asked else 200, data[start:], told)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        limit = self.server.hang_up_after
        if limit is not None and len(body) > limit:
            self.server.hang_up_after = None
            self.wfile.write(body[:limit])
            self.close_connection = True
            return
        self.wfile.write(body)


@contextmanager
def serving(server: HubServer) -> Iterator[HubServer]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
