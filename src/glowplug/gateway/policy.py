"""What an operator decides about a gateway, as frozen groups of values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

KIB = 1024
MIB = 1024 * KIB
HOUR_SECONDS = 3600.0
DAY_SECONDS = 24 * HOUR_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who may submit jobs and sees their own. `weight` 2 gets twice the turns of 1 while both wait."""

    name: str
    token: str = field(repr=False)
    weight: float = 1.0
    jobs_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may call. Neither `api_token` nor `users` leaves the API open, which is only for a socket on loopback.

    `api_token` is the operator's, who may do everything; each of the `users` has a token and jobs of their own.

    `loopback` turns on the list of allowed host names, so that a web page cannot reach the gateway through a name of
    its own. `open_paths` are path prefixes that need no token beside the probes. `link_secret` signs links to
    artifacts, which open without a token for `link_seconds`.
    """

    worker_token: str = field(repr=False)
    api_token: str | None = field(default=None, repr=False)
    users: tuple[User, ...] = ()
    loopback: bool = True
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    open_paths: tuple[str, ...] = ()
    link_secret: str = field(default="", repr=False)
    link_seconds: float = HOUR_SECONDS

    @property
    def needs_token(self) -> bool:
        """Say whether callers have to show a token."""
        return bool(self.api_token or self.users)

    def user(self, name: str) -> User | None:
        """Return the user of that name, None for an owner of jobs who is none."""
        return next((user for user in self.users if user.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of anything is taken in at once."""

    input_bytes: int = 256 * KIB
    batch_jobs: int = 1000
    batch_bytes: int = 16 * MIB
    call_bytes: int = 32 * MIB
    form_bytes: int = 256 * MIB
    link_bytes: int = 64 * MIB
    artifact_bytes: int = 4096 * MIB
    part_bytes: int = 8 * MIB
    page_jobs: int = 200
    claim_wait_seconds: float = 30.0
    prefer_wait_seconds: float = 120.0
    call_seconds: float = 900.0
    warm_up_seconds: float = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How many jobs an owner may submit in a minute: of all tasks, and of single ones. A user's own rate goes first."""

    jobs_per_minute: int | None = None
    tasks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long ended jobs, uploads, the results of direct calls, and uploads that nobody completes are kept."""

    jobs_seconds: float = 30 * DAY_SECONDS
    inputs_seconds: float = 30 * DAY_SECONDS
    calls_seconds: float = DAY_SECONDS
    uploads_seconds: float = DAY_SECONDS
    stale_seconds: float = HOUR_SECONDS
    workers_seconds: float = DAY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the gateway's duties take their turn.

    A hint that a broker was given `redispatch_seconds` ago and no longer has is sent again. Of several gateways, one
    does a duty for `term_seconds` at a time; so long it takes to be followed when it dies.
    """

    heartbeat_seconds: float = 15.0
    reap_seconds: float = 1.0
    reconcile_seconds: float = 5.0
    age_seconds: float = 5.0
    probe_seconds: float = 30.0
    max_age_seconds: float = 300.0
    probes_to_offline: int = 3
    clean_seconds: float = HOUR_SECONDS
    redispatch_seconds: float = 60.0
    share_seconds: float = 1.0
    term_seconds: float = 10.0
    disk_seconds: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPolicy:
    """Everything an operator decides about a gateway.

    `data_folder` is watched for room; below `min_free_bytes` nothing new is taken in. `public_url` goes before the
    links in answers; empty leaves them relative. With `direct_links`, callers get links of the object store, where it
    has any, so that the bytes do not go through the gateway.
    """

    access: Access
    limits: Limits = Limits()
    rates: Rates = Rates()
    retention: Retention = Retention()
    pace: Pace = Pace()
    lease_seconds: float = 60.0
    data_folder: Path | None = None
    min_free_bytes: int = 256 * MIB
    public_url: str = ""
    direct_links: bool = False
    version: str = "0"
    owner: str = field(default="local")
