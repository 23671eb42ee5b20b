"""Telling the gateway how the worker stands: at once when its state changes, a few times a second while it loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glowplug.errors import GlowplugError
from glowplug.link import Register, Registered
from glowplug.process.host import Host
from glowplug.readiness.board import Board
from glowplug.readiness.snapshot import Snapshot
from glowplug.runtime.bell import Bell
from glowplug.runtime.station import Station

Standing = tuple[object, ...]


def standing(snapshot: Snapshot) -> Standing:
    """Return what the gateway must hear of at once: the state of the whole and of each component, without progress."""
    parts = tuple((one.name, one.status, one.attempt) for one in snapshot.components)
    return (snapshot.state, parts)


class Announcer:
    """Registers the worker again and again. `on_registered` hears each answer."""

    def __init__(
        self, station: Station, board: Board, hosts: Sequence[Host], on_registered: Callable[[Registered], None]
    ) -> None:
        self._station = station
        self._board = board
        self._hosts = hosts
        self._on_registered = on_registered
        self._bell = Bell(station.clock)
        self._urgent = True
        self._sequence = 0
        self._sent_at = 0.0
        self._told: Standing | None = None
        self._told_version = -1
        self._loading = False

    def push(self) -> None:
        """Announce at once."""
        self._urgent = True
        self._bell.ring()

    def changed(self, snapshot: Snapshot) -> None:
        """Announce a change of the board: at once if it is one of state."""
        if standing(snapshot) != self._told:
            self.push()
        elif snapshot.version != self._told_version:
            self._bell.ring()

    async def run(self) -> None:
        """Announce, until canceled."""
        failures = 0
        while True:
            await self._wait()
            try:
                await self._announce()
                failures = 0
            except GlowplugError:
                failures += 1
                self._urgent = True
                await self._station.clock.sleep(self._station.backoff.delay_seconds(failures))

    async def _wait(self) -> None:
        if not self._urgent:
            policy = self._station.policy
            await self._bell.wait(policy.loading_seconds if self._loading else policy.heartbeat_seconds)
        while not self._urgent:
            left = self._sent_at + self._station.policy.board_seconds - self._station.clock.monotonic()
            if left <= 0:
                return
            await self._bell.wait(left)

    async def _announce(self) -> None:
        self._urgent = False
        self._sequence += 1
        self._sent_at = self._station.clock.monotonic()
        snapshot, who = self._board.snapshot(), self._station.identity
        self._told, self._told_version = standing(snapshot), snapshot.version
        self._loading = any(one.status.is_running for one in snapshot.components)
        # The models go with every announcement: a gateway that has just started learns their tasks from the first.
        registered = await self._station.link.register(
            Register(
                instance_id=who.instance_id,
                incarnation=who.incarnation,
                sequence=self._sequence,
                snapshot=snapshot.to_dict(),
                models=tuple(host.info for host in self._hosts if host.info is not None),
                url=who.url,
                pid=who.pid,
                host=who.host,
            )
        )
        self._on_registered(registered)
