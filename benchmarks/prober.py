"""An open loop of liveness probes in a process of its own: `python -m benchmarks.prober PORT`, until its input ends.

A probe is sent every 20 ms over a new connection, whether or not the last one has been answered, as a kubelet would.
Prints one JSON object: the latencies in seconds of the answered probes, and how many failed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

EVERY_SECONDS = 0.02
TIMEOUT_SECONDS = 2.0
REQUEST = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


async def main(port: int) -> None:
    """Probe until standard input is closed."""
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    latencies: list[float] = []
    failed = 0
    probes: set[asyncio.Task[float | None]] = set()
    due = loop.time()
    while not ended.done():
        probes.add(asyncio.create_task(probe(port)))
        due += EVERY_SECONDS
        await asyncio.sleep(max(0.0, due - loop.time()))
    for answer in await asyncio.gather(*probes):
        if answer is None:
            failed += 1
        else:
            latencies.append(answer)
    print(json.dumps({"latencies": latencies, "failed": failed}))


async def probe(port: int) -> float | None:
    """Return the seconds until a 200, None if there was none."""
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            status = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return None
    return time.perf_counter() - begun if b" 200 " in status else None


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
