"""Files of the web that an input names where its task takes a file, on their way to the worker."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from glowplug.artifact import files_in
from glowplug.errors import TooLarge
from glowplug.runtime.scratch import write_chunks
from glowplug.runtime.together import each

AT_ONCE = 8
_SCHEMES = ("http://", "https://")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST_NAME = 100


class WebReader(Protocol):
    """Who reads addresses that callers name, with a guard."""

    def read(self, url: str) -> AsyncIterator[bytes]:
        """Yield the bytes of a file. Raises `InvalidInput`, `TooLarge`, `RemoteError`."""


def web_files(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """Return the http and https addresses that stand where a schema wants a file, without repeats."""
    return [text for text in dict.fromkeys(files_in(value, schema)) if text.startswith(_SCHEMES)]


async def fetch_web_files(reader: WebReader, urls: Sequence[str], folder: Path, most_bytes: int) -> dict[str, str]:
    """Copy files of the web into `folder`, and map each address to its local file.

    Raises:
        InvalidInput, RemoteError: one of them cannot be had.
        TooLarge: one of them, or all together, are larger than is allowed.
    """
    files = {url: folder / str(number) / _name(url) for number, url in enumerate(urls)}
    size = 0

    async def counted(url: str) -> AsyncIterator[bytes]:
        nonlocal size
        async for piece in reader.read(url):
            size += len(piece)
            if size > most_bytes:
                raise TooLarge(f"the files that the input names have more than {most_bytes} bytes together")
            yield piece

    async def bring(url: str) -> None:
        await write_chunks(files[url], counted(url))

    await each(urls, bring, AT_ONCE)
    return {url: str(path) for url, path in files.items()}


def _name(url: str) -> str:
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    return _UNSAFE.sub("-", name)[-LONGEST_NAME:].strip("-.") or "file"
