"""Upkeep of the models of one worker: failed ones are loaded again, ready ones warmed up again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from glowplug.errors import Conflict, GlowplugError, NotFound
from glowplug.process.host import Host
from glowplug.readiness.board import Board
from glowplug.readiness.state import Status
from glowplug.readiness.warm_up import WarmUp

BEGIN_SECONDS = 2.0


class Upkeep:
    """What an operator asks of a worker's models, which `hosts` keep and `board` shows."""

    def __init__(self, hosts: Sequence[Host], board: Board) -> None:
        self._hosts = hosts
        self._board = board

    async def retry(self, names: Sequence[str]) -> tuple[str, ...]:
        """Load failed models again, those named or all; return which, once their loads have begun.

        Raises:
            NotFound: there is no such model.
            Conflict: none of them has failed.
        """
        hosts = {host.component.name: host for host in self._hosts}
        for name in names:
            if name not in hosts:
                raise NotFound(f"no model {name[:80]!r} here; there are: {', '.join(sorted(hosts)) or 'none'}")
        chosen = {name: hosts[name] for name in names} or hosts
        failed = {name: host for name, host in chosen.items() if host.component.status is Status.ERROR}
        if not failed:
            states = ", ".join(f"{name} is {host.component.status}" for name, host in sorted(chosen.items()))
            raise Conflict(f"nothing has failed: {states or 'there is no model'}")
        attempts = {name: host.component.attempt for name, host in failed.items()}
        for host in failed.values():
            await host.reload()
        with suppress(TimeoutError):
            async with asyncio.timeout(BEGIN_SECONDS):
                await self._begun(failed, attempts)
        return tuple(failed)

    async def warm_up(self) -> tuple[WarmUp, ...]:
        """Warm every ready model up again, between its calls; return what each took.

        Raises:
            Conflict: no model is ready.
        """
        able = [host for host in self._hosts if host.component.status.can_serve]
        if not able:
            raise Conflict("no model is ready: there is nothing to warm up")
        return tuple(await asyncio.gather(*(_warm(host) for host in able)))

    async def _begun(self, hosts: Mapping[str, Host], attempts: Mapping[str, int]) -> None:
        # Else whoever looks right after the answer would still see the old failure, and take it for the new one.
        async with self._board.subscribe() as news:
            async for _ in news:
                if all(host.component.attempt != attempts[name] for name, host in hosts.items()):
                    return


async def _warm(host: Host) -> WarmUp:
    limit = host.component.spec.deadlines.warm_up_seconds
    try:
        async with asyncio.timeout(limit):
            return WarmUp(host.component.name, await host.warm_up())
    except TimeoutError:
        return WarmUp(host.component.name, None, f"the warm-up takes longer than {limit:g} s")
    except GlowplugError as error:
        return WarmUp(host.component.name, None, error.message)
