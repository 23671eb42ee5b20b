"""A conversation in the terminal: `python client.py [ws://127.0.0.1:8000/ws/conversation] [--save FOLDER]`.

What you write is answered as it is made; writing again in the middle interrupts. Sounds are saved where you say.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

URL = "ws://127.0.0.1:8000/ws/conversation"


class Sounds:
    """Sounds on their way into files."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._count = 0
        self._about: dict[str, Any] = {}

    def announce(self, frame: dict[str, Any]) -> None:
        """Remember what the next binary frame is."""
        self._about = frame

    def keep(self, data: bytes) -> None:
        """Write a sound down, if anybody wants it."""
        if self._folder is not None:
            self._count += 1
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / f"{self._count:03}.{self._about['format']}").write_bytes(data)


async def read(socket: ClientConnection, sounds: Sounds, idle: asyncio.Event) -> None:
    """Show what comes until the server closes."""
    async for frame in socket:
        if isinstance(frame, bytes):
            sounds.keep(frame)
            continue
        told = json.loads(frame)
        match told["type"]:
            case "reply_delta":
                print(told["text"], end="", flush=True)
            case "audio":
                sounds.announce(told)
            case "error":
                print(f"[{told.get('component', 'refused')}: {told['message']}]", file=sys.stderr)
            case "reply_done" | "interrupted":
                print(flush=True)
        if told["type"] == "reply_done" or (told["type"] == "error" and "turn" not in told):
            idle.set()


async def write(socket: ClientConnection, idle: asyncio.Event) -> None:
    """Send each line of the input; from a pipe, wait for the answer before the next."""
    interactive = sys.stdin.isatty()
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip():
            idle.clear()
            await socket.send(json.dumps({"type": "text", "text": line.strip()}))
            if not interactive:
                await idle.wait()


async def talk(url: str, folder: Path | None) -> int:
    """Talk until the input ends, or the server does; return the exit status."""
    token, idle = os.environ.get("GLOWPLUG_TOKEN"), asyncio.Event()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with connect(url, additional_headers=headers, max_size=None) as socket:
            reading = asyncio.create_task(read(socket, Sounds(folder), idle))
            writing = asyncio.create_task(write(socket, idle))
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            writing.cancel()
            await socket.close()
            await asyncio.gather(reading, writing, return_exceptions=True)
    except (ConnectionClosed, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    code, reason = socket.close_code, socket.close_reason
    if code not in (1000, None):
        print(f"closed by the server ({code}): {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", nargs="?", default=URL)
    parser.add_argument("--save", type=Path, help="folder for the sounds")
    arguments = parser.parse_args()
    sys.exit(asyncio.run(talk(arguments.url, arguments.save)))
