"""The worker's numbers, and who it is."""

from __future__ import annotations

from dataclasses import dataclass

from glowplug.runtime.folders import FolderLimits

FENCE_MARGIN_SECONDS = 10.0
FENCE_SHARE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """Who the worker is: `instance_id` outlives a restart, `incarnation` changes with each start of the process.

    `url` is where it takes direct calls, None if it takes none.
    """

    instance_id: str
    incarnation: str
    url: str | None = None
    host: str = ""
    pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPolicy:
    """How the worker behaves; the defaults suit production.

    `wait_seconds` is how long a claim may wait at the gateway; a quarter of the lease bounds it further, because a
    lease counts from the moment its claim was sent. `unsettled_jobs` bounds the jobs that have ended here and whose
    results are still on their way. `drain_seconds` bounds a drain as a whole, `kept_checkpoints` what stays of one
    attempt, `folders` what one folder of an input may hold. The gateway hears of every change within `board_seconds`;
    while a model loads without one, it hears every `loading_seconds`, because the estimate changes with time alone.
    """

    lease_seconds: float = 60.0
    wait_seconds: float = 20.0
    parking_seconds: float = 0.05
    notes_seconds: float = 0.5
    board_seconds: float = 0.1
    loading_seconds: float = 1.0
    heartbeat_seconds: float = 30.0
    retry_base_seconds: float = 0.1
    retry_cap_seconds: float = 2.0
    drain_seconds: float = 30.0
    unsettled_jobs: int = 64
    settlements_per_call: int = 500
    notes_per_call: int = 1000
    log_bytes: int = 256 * 1024
    kept_checkpoints: int = 2
    folders: FolderLimits = FolderLimits()


def renew_after_seconds(lease_seconds: float) -> float:
    """Return how long after a renewal the next one is due: a third of the lease."""
    return lease_seconds / 3


def fence_after_seconds(lease_seconds: float) -> float:
    """Return the age of the last confirmed renewal at which the worker stops by itself.

    It must be over before the gateway gives the job to somebody else: ten seconds early, or a fifth of a short lease.
    """
    return max(lease_seconds - FENCE_MARGIN_SECONDS, lease_seconds * FENCE_SHARE)


def claim_wait_seconds(policy: WorkerPolicy, lease_seconds: float) -> float:
    """Return how long a claim may wait: a lease counts from the sending of its claim, so most of it must be left."""
    return min(policy.wait_seconds, lease_seconds / 4)
