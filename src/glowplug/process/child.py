"""The inside of a model's process: `python -m glowplug.process.child FD`, started by the host with one end of a socket.

One thread reads messages. The main thread imports, loads and runs calls; with more slots, further threads run calls
beside it. Heavy imports happen here and nowhere else.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar

from glowplug.errors import BugError
from glowplug.model import Model
from glowplug.process.checks import Checker
from glowplug.process.contexts import ProcessLoadContext, ProcessRunContext
from glowplug.process.devices import candidates
from glowplug.process.faults import load_class, load_message, story
from glowplug.process.gauge import Gauge
from glowplug.process.guard import EXIT_HOST_GONE, protect
from glowplug.process.protocol import (
    Begin,
    Broken,
    Check,
    Checked,
    Confirmed,
    Credit,
    Load,
    Moved,
    Needs,
    Placed,
    Prepare,
    Run,
    Sleep,
    Stop,
    ToChild,
    Unload,
    Wake,
    Warm,
)
from glowplug.process.target import resolve
from glowplug.process.wire import Wire
from glowplug.process.workshop import Work, Workshop
from glowplug.readiness.progress import Stage

EXIT_BROKEN = 71
Step = TypeVar("Step", Prepare, Load, Placed)


class Child:
    """The life of one model's process, from the first message to the last."""

    def __init__(self, wire: Wire, begin: Begin) -> None:
        self._wire = wire
        self._begin = begin
        self._work: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._calls: dict[str, ProcessRunContext] = {}
        self._slots = begin.slots or 1
        self._preparing = self._serving = False
        self._checker: Checker | None = None

    def live(self) -> NoReturn:
        """Bring the model up, serve until told to end, and end."""
        threading.Thread(target=self._read, name="glowplug-reader", daemon=True).start()
        try:
            workshop = self._bring_up()
        except BaseException as error:  # noqa: BLE001 - whatever it was, the host must hear of it
            _leave(self._broken(error))
        self._serving = True
        workshop.say_serving()
        others = [
            threading.Thread(target=workshop.serve, args=(self._work.get,), name=f"slot-{number}", daemon=True)
            for number in range(1, self._slots)
        ]
        for slot in others:
            slot.start()
        if self._checker is not None:
            self._checker.start()
        workshop.serve(self._work.get)
        for slot in others:
            slot.join()
        workshop.unload()
        _leave(0)

    def _bring_up(self) -> Workshop:
        begin = self._begin
        self._wire.send(Moved(Stage.IMPORT))
        model_class = resolve(begin.target)
        self._slots = begin.slots or model_class.slots
        workshop = Workshop(model_class, self._wire, self._calls)
        self._wire.send(workshop.described(self._slots, begin.options))
        self._expect(Prepare)
        model_class.prepare(begin.options)
        self._preparing = False
        order = self._expect(Load)
        weights = {name: Path(path) for name, path in order.weights.items()}
        placed, gauge = self._find_place(model_class, weights)
        context = ProcessLoadContext(weights, placed.device, begin.options, placed.room_bytes)
        context.attach(self._wire.send)
        workshop.load(context, gauge)
        if model_class.check_seconds is not None:
            tell = self._wire.send
            self._checker = Checker(workshop.check, model_class.check_seconds, lambda wrong: tell(Checked(wrong)))
        return workshop

    def _find_place(self, model_class: type[Model], weights: dict[str, Path]) -> tuple[Placed, Gauge]:
        """Say where the model could go, and wait until the host says where it goes."""
        cards = candidates(self._begin.device, model_class.devices, model_class.model_name())
        estimate = model_class.estimate(weights, self._begin.options)
        self._wire.send(Needs(cards, estimate, model_class.can_sleep()))
        placed = self._expect(Placed)
        card = next(card for card in cards if card.device == placed.device)
        return placed, Gauge(card, bounded=placed.room_bytes is not None)

    def _expect(self, kind: type[Step]) -> Step:
        step = self._work.get()
        if not isinstance(step, kind):
            raise BugError(f"expected {kind.__name__}, got {type(step).__name__}")
        return step

    def _broken(self, error: BaseException) -> int:
        print(story(error), file=sys.stderr)
        self._wire.send(Broken(load_message(error), load_class(error)))
        return EXIT_BROKEN

    def _read(self) -> None:
        while (message := self._wire.receive()) is not None:
            self._take(message)
        os._exit(EXIT_HOST_GONE)

    def _take(self, message: ToChild) -> None:
        match message:
            case Run(_, items):
                for item in items:
                    self._calls[item.id] = ProcessRunContext(item, self._wire.send)
                self._work.put(message)
            case Prepare():
                self._preparing = True
                self._work.put(message)
            case Load():
                if self._preparing:
                    # Until now the host told of the fetch, which is over: this is what is waited for.
                    self._wire.send(Moved(Stage.IMPORT))
                self._work.put(message)
            case Placed() | Warm() | Sleep() | Wake():
                self._work.put(message)
            case Check() if self._checker is not None:
                self._checker.ask()
            case Unload():
                self._end()
            case Stop(call_id, interrupted) if (call := self._calls.get(call_id)) is not None:
                call.stop.ask(interrupted=interrupted)
            case Confirmed(call_id, accepted) if (call := self._calls.get(call_id)) is not None:
                call.confirm(accepted=accepted)
            case Credit(call_id, count) if (call := self._calls.get(call_id)) is not None:
                call.reports.credited(count)

    def _end(self) -> None:
        if not self._serving:
            # The main thread may be deep in a load that nobody can interrupt, and there is nothing to unload yet.
            os._exit(0)
        for _ in range(self._slots):
            self._work.put(None)


def _leave(status: int) -> NoReturn:
    # Not by the front door: what libraries do at exit can hang, and everything worth keeping is with the host.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def main() -> NoReturn:
    """Run the process of one model; the only argument is the number of the socket's file descriptor."""
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    wire = Wire(socket.socket(fileno=descriptor))
    begin = wire.receive()
    if not isinstance(begin, Begin):
        os._exit(EXIT_HOST_GONE)
    protect(begin.parent_pid, dies_with_parent=begin.dies_with_parent)
    Child(wire, begin).live()


if __name__ == "__main__":
    main()
