"""A process that works on a store and says what was acknowledged, one line of JSON at a time, until it is killed.

`python store_child.py work URL SEED` submits, claims, reports and ends for ever; `drain URL WORKER` claims until
nothing is left. A line is printed only after the store has answered, so whatever was printed must survive.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from datetime import timedelta

from glowplug.clock import SystemClock
from glowplug.job import Budget, Checkpoint, Follower, JobRequest, Note, Outcome, OutcomeKind
from glowplug.store import Hold, Report, Settlement, Want
from glowplug.stores.sql import SqlStore
from glowplug.testing.leases import CHECKPOINT

LEASE = timedelta(seconds=60)
TASK = "model.task"
FOLLOWERS = (Follower("all"), Follower("ends", ("completed", "failed", "canceled")))
KINDS = [OutcomeKind.COMPLETED, OutcomeKind.COMPLETED, OutcomeKind.FAILED, OutcomeKind.CRASHED, OutcomeKind.INTERRUPTED]


def say(what: str, value: object) -> None:
    """Print one acknowledgement."""
    print(json.dumps([what, value]), flush=True)


def notes(step: int) -> tuple[Note, ...]:
    """Make what an attempt reports at a step."""
    checkpoint = Checkpoint(step, CHECKPOINT.artifact, "1")
    return (Note("progress", {"step": step}), Note("checkpoint", {"step": step}, checkpoint=checkpoint))


async def work(store: SqlStore, chance: random.Random) -> None:
    """Do one random thing after another, several of these at once."""
    budget = Budget(errors=2, crashes=2, retry_base_seconds=0.0)
    while True:
        count = chance.randrange(1, 8)
        requests = [JobRequest(task=TASK, input={"n": n}, budget=budget, followers=FOLLOWERS) for n in range(count)]
        say("submitted", [submission.job.id for submission in await store.submit(requests)])
        jobs = await store.claim("child", [Want((TASK,), chance.randrange(1, 8))], LEASE)
        holds = [Hold(job.id, job.token) for job in jobs]
        say("claimed", [[hold.job_id, hold.token] for hold in holds])
        for step in range(chance.randrange(3)):
            await store.note([Report(hold, notes(step)) for hold in holds])
            say("noted", [[hold.job_id, hold.token, step] for hold in holds])
        settlements = [Settlement(hold, Outcome(chance.choice(KINDS), result={"n": 1})) for hold in holds]
        answers = await store.settle(settlements)
        assert all(answer.accepted for answer in answers)
        say("settled", [[s.hold.job_id, s.hold.token, s.outcome.kind.value] for s in settlements])


async def drain(store: SqlStore, worker: str) -> None:
    """Claim and complete until nothing is left."""
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    while jobs := await store.claim(worker, [Want((TASK,), 3)], LEASE):
        say("claimed", [job.id for job in jobs])
        done = Outcome(OutcomeKind.COMPLETED)
        await store.settle([Settlement(Hold(job.id, job.token), done) for job in jobs])


async def main(verb: str, url: str, word: str) -> None:
    """Open the store and do what was asked."""
    async with SqlStore(url, clock=SystemClock()) as store:
        if verb == "drain":
            await drain(store, word)
        else:
            await asyncio.gather(*(work(store, random.Random(f"{word}-{number}")) for number in range(4)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
