"""The desk: the gateway's side of the link, where workers announce themselves, take work and hand it in.

A job is handed only to a worker whose announced picture says that the job's model is ready, looked at just before
the claim. What could not be delivered is released at once, without counting against the job.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

from glowplug.artifact import job_prefix
from glowplug.clock import Clock
from glowplug.errors import Conflict, Draining, GlowplugError
from glowplug.gateway import pictures
from glowplug.gateway.catalog import Catalog, model_of
from glowplug.gateway.intake import Intake
from glowplug.gateway.ledger import Ledger
from glowplug.gateway.policy import GatewayPolicy
from glowplug.gateway.registry import Registry
from glowplug.gateway.seats import Seat, Turn, Wants, fitting, slots_by_model
from glowplug.gateway.waits import first_of
from glowplug.job import Failure, Job, Outcome, OutcomeKind
from glowplug.link import (
    PROTOCOL,
    Accepted,
    Claim,
    Claimed,
    Events,
    Finish,
    Grant,
    Link,
    Order,
    OrderKind,
    Register,
    Registered,
    Renew,
    Renewed,
)
from glowplug.readiness import Snapshot
from glowplug.store import Hold, Renewal, Settled, Settlement, Store

LONGEST_PAUSE_SECONDS = 3600.0
SHORTEST_PAUSE_SECONDS = 0.02
AGAIN = (Order(OrderKind.REGISTER),)


class Desk(Link):
    """Answers the workers.

    `intake_open` says whether jobs may be handed out at all; `on_renewed` hears which jobs run on workers
    that call here.
    """

    def __init__(
        self,
        store: Store,
        intake: Intake,
        ledger: Ledger,
        registry: Registry,
        catalog: Catalog,
        clock: Clock,
        policy: GatewayPolicy,
    ) -> None:
        self._store = store
        self._intake = intake
        self._ledger = ledger
        self._registry = registry
        self._catalog = catalog
        self._clock = clock
        self._policy = policy
        self._lease = timedelta(seconds=policy.lease_seconds)
        self._seats: defaultdict[str, Seat] = defaultdict(partial(Seat, intake.changed))
        self._releases: set[asyncio.Task[None]] = set()
        self._closing = False
        self.intake_open: Callable[[], bool] = lambda: True
        self.on_renewed: Callable[[Sequence[Renewal]], None] = lambda renewals: None

    async def _start(self) -> None:
        self._closing = False

    async def _stop(self) -> None:
        self.close()
        if self._releases:
            await asyncio.wait(self._releases)

    def close(self) -> None:
        """Answer every waiting claim, and hand nothing out any more."""
        self._closing = True
        self._intake.shut()
        for seat in self._seats.values():
            seat.dismiss()

    # The link.

    async def register(self, message: Register) -> Registered:
        """Take in an announcement. The jobs of an earlier process under the same name died with it."""
        if message.protocol != PROTOCOL:
            raise Conflict(
                f"the worker speaks version {message.protocol} of the link, this gateway {PROTOCOL}; "
                "install the same release of glowplug on both",
                protocol=PROTOCOL,
            )
        # Tasks first: whoever sees the model ready may ask for its schema in the next moment.
        await self._catalog.learn(message.models)
        slept = self._asleep(message.instance_id)
        fresh = await self._registry.register(message)
        seat = self._seats[message.instance_id]
        if fresh:
            seat.undelivered.clear()
            await self._settle_all(message.instance_id, OutcomeKind.CRASHED, "the worker was started anew")
        # Work that was queued while they were awake, or on their way, has ordered nobody up.
        for model in self._asleep(message.instance_id) - (frozenset() if fresh else slept):
            await self._order_up_for_work(model)
        return Registered(self._policy.lease_seconds, seat.take_orders())

    async def claim(self, message: Claim) -> Claimed:
        """Wait for work or orders."""
        turn = self.open_turn(message)
        try:
            return await self.serve(message, turn)
        finally:
            self.close_turn(message, turn)

    async def renew(self, message: Renew) -> Renewed:
        """Keep leases."""
        renewals = await self._store.renew(message.holds, self._lease)
        self.on_renewed(renewals)
        return Renewed(tuple(renewals), await self._orders_for(message.instance_id, message.incarnation))

    async def events(self, message: Events) -> Accepted:
        """Append what running attempts report."""
        self._registry.seen(message.instance_id)
        return Accepted(tuple(await self._ledger.note(message.instance_id, message.reports)))

    async def finish(self, message: Finish) -> Accepted:
        """End attempts."""
        self._registry.seen(message.instance_id)
        settlements = [_own_artifacts(settlement) for settlement in message.settlements]
        answers = await self._ledger.settle(message.instance_id, settlements)
        return Accepted(tuple(answer.accepted for answer in answers))

    # A claim in its parts, for a transport that can tell when the worker has hung up.

    def open_turn(self, message: Claim) -> Turn:
        """Begin a claim; an older one of the same worker is over."""
        return self._seats[message.instance_id].open_turn()

    def close_turn(self, message: Claim, turn: Turn) -> None:
        """End a claim; if no other one follows, what it could not deliver is released."""
        seat = self._seats[message.instance_id]
        seat.close_turn(turn)
        if seat.is_empty and seat.undelivered:
            self._release_soon(message.instance_id, seat)

    async def serve(self, message: Claim, turn: Turn) -> Claimed:
        """Return work or orders as soon as there are any, nothing when the time is up or the turn is over.

        Raises:
            Draining: the gateway is closing; come back when it is up again.
        """
        if self._closing:
            raise Draining("the gateway is closing", retry_after=1)
        self._registry.seen(message.instance_id)
        self._registry.offered(message.instance_id, slots_by_model(message.wants))
        seat = self._seats[message.instance_id]
        limit = min(message.wait_seconds, self._policy.limits.claim_wait_seconds)
        deadline = self._clock.monotonic() + limit
        if message.known is not None:
            await self._release_unknown(message.instance_id, seat, message.known)
        while not turn.is_over() and not self._closing:
            # Asked in every round: a newer process may have taken the name while this claim waited.
            if not await self._registry.recognizes(message.instance_id, message.incarnation):
                return Claimed(orders=AGAIN)
            # The bell and the mark come before the look, so that nothing which happens during it is missed.
            turn.bell.clear()
            mark = self._intake.mark()
            claimed = await self._look(message, seat, turn)
            left = deadline - self._clock.monotonic()
            if claimed is not None or left <= 0:
                return claimed or Claimed()
            await self._wait(turn, seat.wants, mark, left)
        return Claimed()

    async def take_back(self, instance_id: str, claimed: Claimed) -> None:
        """Release grants that could not be delivered, and keep the orders for the next answer."""
        self._seats[instance_id].order(claimed.orders)
        await self._settle_holds(
            instance_id, [grant.hold for grant in claimed.grants], OutcomeKind.DISPLACED, "the worker hung up"
        )

    def _takeable(self, message: Claim) -> Wants:
        if not self.intake_open():
            return ()
        ready = self._registry.ready_models(message.instance_id)
        allowed = (replace(want, tasks=tuple(t for t in want.tasks if model_of(t) in ready)) for want in message.wants)
        return tuple(want for want in allowed if want.tasks and want.slots > 0)

    async def _look(self, message: Claim, seat: Seat, turn: Turn) -> Claimed | None:
        async with seat.claiming:
            if turn.is_over():
                return Claimed()
            seat.offer(self._takeable(message))
            jobs = self._given_on(message.instance_id, seat)
            if not jobs and seat.wants:
                jobs = await self._take(message, seat)
            if turn.is_over():
                seat.undelivered.extend(jobs)
                return Claimed()
            # The store took its time: what the worker is no longer ready for goes back.
            seat.undelivered.extend(jobs)
            seat.offer(self._takeable(message))
            jobs = self._given_on(message.instance_id, seat)
            orders = seat.take_orders()
        return Claimed(tuple(map(_grant, jobs)), orders) if jobs or orders else None

    def _given_on(self, instance_id: str, seat: Seat) -> list[Job]:
        """Return the undelivered jobs that the seat has room for, and release the others."""
        jobs, seat.undelivered = fitting(seat.undelivered, seat.wants)
        if seat.undelivered:
            self._release_soon(instance_id, seat)
        return jobs

    async def _take(self, message: Claim, seat: Seat) -> list[Job]:
        name = message.instance_id
        taking = asyncio.ensure_future(self._intake.take(name, seat.wants, partial(self._confirmed, message)))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            # The store may have committed already: wait for what it gave, and give it back.
            taking.add_done_callback(lambda done: self._keep_undelivered(name, seat, done))
            raise

    async def _confirmed(self, message: Claim) -> Wants:
        # Where several gateways are, the worker may just have told another one that its model is not ready.
        await self._registry.confirm(message.instance_id)
        return self._takeable(message)

    def _keep_undelivered(self, instance_id: str, seat: Seat, done: asyncio.Future[list[Job]]) -> None:
        if not done.cancelled() and done.exception() is None and done.result():
            seat.undelivered.extend(done.result())
            self._release_soon(instance_id, seat)

    async def _wait(self, turn: Turn, wants: Wants, mark: int, left: float) -> None:
        tasks = sorted({task for want in wants for task in want.tasks})
        # With nothing to take there is no hint to wait for: the bell rings when a model turns ready, or for an order.
        if not tasks:
            await first_of(turn.bell.wait(), self._clock.sleep(left))
            return
        # Retries and jobs for later become due without anybody saying so.
        due = await self._intake.due_seconds(tasks)
        pause = left if due is None else min(left, max(due, SHORTEST_PAUSE_SECONDS))
        hint = self._intake.wait(tasks, since=mark, timeout_seconds=LONGEST_PAUSE_SECONDS)
        await first_of(turn.bell.wait(), self._clock.sleep(pause), hint)

    # Orders.

    def order(self, instance_id: str, order: Order) -> None:
        """Give a worker an order; its waiting claim delivers it at once."""
        self._seats[instance_id].order((order,))

    def cancel_running(self, job: Job) -> None:
        """Tell the worker that runs the job to stop it."""
        if job.worker_id is not None and not job.done:
            self.order(job.worker_id, Order(OrderKind.CANCEL, job.id))

    def want_loaded(self, model: str) -> None:
        """Order a model up where it sleeps, unless some worker has it ready: work waits for it."""
        if not any(model in entry.ready_models for entry in self._registry):
            self._order_up(model, pictures.sleeping_models)

    async def _order_up_for_work(self, model: str) -> None:
        info = self._catalog.models.get(model)
        # The reconciler looks again where the store does not answer.
        with suppress(GlowplugError):
            if info is not None and await self._store.next_due_seconds([task.name for task in info.tasks]) == 0:
                self.want_loaded(model)

    def _asleep(self, instance_id: str) -> frozenset[str]:
        entry = self._registry.get(instance_id)
        return frozenset() if entry is None else pictures.asleep(entry.picture)

    def rouse(self, instance_id: str, model: str) -> None:
        """Order a model up where a worker says that it is not ready, whatever it told before; one awake is left."""
        entry = self._registry.get(instance_id)
        if entry is not None and entry.takes_orders:
            self.order(instance_id, Order(OrderKind.LOAD, model))

    def load(self, model: str) -> bool:
        """Order a model up wherever it sleeps or has failed; say whether there was such a worker."""
        return self._order_up(model, lambda seen: pictures.sleeping_models(seen) | pictures.failed_models(seen))

    def retry(self, model: str) -> bool:
        """Order a model to be loaded again wherever it has failed; say whether there was such a worker."""
        return self._order_up(model, pictures.failed_models, OrderKind.RETRY)

    def _order_up(
        self, model: str, waiting: Callable[[Snapshot], frozenset[str]], kind: OrderKind = OrderKind.LOAD
    ) -> bool:
        chosen = [entry for entry in self._registry if entry.takes_orders and model in waiting(entry.picture)]
        for entry in chosen:
            self.order(entry.record.instance_id, Order(kind, model))
        return bool(chosen)

    def wake(self, instance_id: str) -> None:
        """Let a worker's waiting claim look again: what it may take has changed."""
        if instance_id in self._seats:
            self._seats[instance_id].wake()

    def wake_all(self) -> None:
        """Let every waiting claim look again."""
        for seat in self._seats.values():
            seat.wake()

    def free_slots(self, task: str) -> int:
        """Return how many jobs of `task` the waiting claims would take now."""
        return sum(seat.free_slots(task) for seat in self._seats.values())

    def offers(self, instance_id: str, model: str) -> bool:
        """Say whether a worker's waiting claim would take a job of `model` now."""
        return instance_id in self._seats and slots_by_model(self._seats[instance_id].wants)[model] > 0

    async def _orders_for(self, instance_id: str, incarnation: str) -> tuple[Order, ...]:
        if not await self._registry.recognizes(instance_id, incarnation):
            return AGAIN
        self._registry.seen(instance_id)
        return self._seats[instance_id].take_orders()

    # Ends of attempts that nobody hands in.

    async def worker_died(self, instance_id: str) -> bool:
        """End everything that a worker held as crashed, at once: its process is known to be gone.

        Returns whether it had been ready.
        """
        was_ready = await self._registry.leave(instance_id, "the worker's process ended")
        if instance_id in self._seats:
            self._seats[instance_id].dismiss()
        await self._settle_all(instance_id, OutcomeKind.CRASHED, "the worker's process ended")
        return was_ready

    async def leases_expired(self, holds: Collection[Hold]) -> list[Settled]:
        """End attempts whose lease has run out."""
        return await self._settle_holds("", holds, OutcomeKind.LOST, "the lease ran out: the worker fell silent")

    async def _settle_all(self, instance_id: str, kind: OutcomeKind, why: str) -> None:
        await self._settle_holds(instance_id, await self._store.held_by(instance_id), kind, why)

    async def _settle_holds(
        self, instance_id: str, holds: Collection[Hold], kind: OutcomeKind, why: str
    ) -> list[Settled]:
        if not holds:
            return []
        failure = Failure("model_crashed" if kind.is_crash else kind.value, why)
        outcome = Outcome(kind, failure=failure)
        return await self._ledger.settle(instance_id, [Settlement(hold, outcome) for hold in holds])

    async def _release_unknown(self, instance_id: str, seat: Seat, known: Iterable[Hold]) -> None:
        async with seat.claiming:
            # These are among the holds that the worker does not know of.
            seat.undelivered.clear()
            lost = set(await self._store.held_by(instance_id)) - set(known)
            await self._settle_holds(instance_id, lost, OutcomeKind.INTERRUPTED, "the grant never arrived")

    def _release_soon(self, instance_id: str, seat: Seat) -> None:
        # In a task of its own, because those who find out are often being canceled themselves.
        holds = [Hold(job.id, job.token) for job in seat.undelivered]
        seat.undelivered.clear()
        task = asyncio.ensure_future(self._release(instance_id, holds))
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def _release(self, instance_id: str, holds: list[Hold]) -> None:
        await self._settle_holds(instance_id, holds, OutcomeKind.DISPLACED, "the worker hung up")


def _grant(job: Job) -> Grant:
    assert job.lease_until is not None
    return Grant(
        hold=Hold(job.id, job.token),
        task=job.task,
        input=job.input,
        attempt=job.attempt,
        lease_until=job.lease_until,
        owner=job.owner,
        checkpoint=job.checkpoint,
    )


def _own_artifacts(settlement: Settlement) -> Settlement:
    """Return the settlement, failed if it claims artifacts that are not of this very attempt."""
    hold, outcome = settlement.hold, settlement.outcome
    prefix = job_prefix(hold.job_id, hold.token) + "/"
    strange = [artifact for artifact in outcome.artifacts if not artifact.key.startswith(prefix)]
    if not strange:
        return settlement
    failure = Failure("bad_artifact", f"the result names {strange[0].key[:80]!r}, which is not of this attempt", False)
    return replace(settlement, outcome=Outcome(OutcomeKind.FAILED, failure=failure))
