"""Where a model lives in its process: brought into memory, warmed up, and given calls to run."""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from glowplug.errors import GlowplugError, InvalidInput, SettingsError, TaskFailed
from glowplug.job import OutcomeKind
from glowplug.model import Model
from glowplug.process.contexts import ProcessLoadContext, ProcessRunContext
from glowplug.process.faults import empty_caches, story, task_error
from glowplug.process.gauge import Gauge
from glowplug.process.protocol import (
    Checkpointed,
    Described,
    Ended,
    Holding,
    Item,
    Load,
    Logged,
    Placed,
    Prepare,
    Run,
    Serving,
    Sleep,
    Slept,
    ToHost,
    Wake,
    Warm,
    Warmed,
    Warming,
    WireError,
)
from glowplug.process.results import encoded
from glowplug.process.runner import Runner
from glowplug.process.schema import model_info, task_schemas
from glowplug.process.wire import Wire
from glowplug.readiness.progress import Stage

Work = Prepare | Load | Placed | Run | Warm | Sleep | Wake | None
"""What a slot takes from the queue; None ends it."""


class Workshop:
    """One model. `calls` are those that messages can reach; each is taken out when it ends."""

    def __init__(self, model_class: type[Model], wire: Wire, calls: dict[str, ProcessRunContext]) -> None:
        self._class = model_class
        self._wire = wire
        self._calls = calls
        self._schemas = task_schemas(model_class)
        self._examples: dict[str, bytes] = {}
        self._context = ProcessLoadContext()

    def described(self, slots: int, options: Mapping[str, str]) -> Described:
        """Return what the host should know before the load.

        Raises:
            SettingsError: an example is no JSON, or there are no slots.
        """
        if slots < 1:
            raise SettingsError(f"{self._class.model_name()}: slots = {slots}; a model needs at least one")
        for name, schema in self._schemas.items():
            if schema.spec.options.example is not None:
                self._examples[name] = _example(name, schema.spec.options.example)
        return Described(
            info=model_info(self._class, self._schemas),
            options={name: schema.spec.options for name, schema in self._schemas.items()},
            weights=dict(self._class.sources(options)),
            required=self._class.required,
            slots=slots,
        )

    def load(self, context: ProcessLoadContext, gauge: Gauge) -> None:
        """Load and warm up; whatever either raises is the end of the attempt."""
        self._context, self._gauge = context, gauge
        self._model = self._class()
        self._runner = Runner(self._model, self._schemas, self._tell_end)
        # With declared weights the host has done the reading, and what is left is to place them.
        context.enter(Stage.TO_DEVICE if context.weights else Stage.READ)
        self._model.load(context)
        context.enter(Stage.WARM_UP)
        self._warm_up()
        context.flush()
        # What the load made stays: later collections need not look at it again.
        gc.collect()
        gc.freeze()

    def serve(self, take: Callable[[], Work]) -> None:
        """Run what `take` gives until it gives None."""
        while (work := take()) is not None:
            match work:
                case Run():
                    self._runner.run(work.task, [self._calls[item.id] for item in work.items])
                    if (held := self._gauge.news()) is not None:
                        self._wire.send(Holding(held))
                case Sleep():
                    self._sleep()
                case Wake():
                    self._wake()
                case _:
                    self._warm_again()

    def say_serving(self) -> None:
        """Tell the host that calls may come, and what the model holds."""
        held, device = self._gauge.held_bytes(), self._context.device
        # Whatever it was offered, a model that took nothing of a card runs elsewhere.
        self._wire.send(Serving("cpu" if held == 0 else device, held))

    def check(self) -> None:
        """Ask the model whether what it leans on works."""
        self._model.check()

    def unload(self) -> None:
        """Let the model give its memory back."""
        self._model.unload()

    def _warm_up(self) -> None:
        with tempfile.TemporaryDirectory(prefix="glowplug-warm-up-") as folder:
            for number, (name, example) in enumerate(self._examples.items()):
                if self._schemas[name].spec.options.warm_up:
                    self._rehearse(name, Item(name, example, f"{folder}/{number}"))
        self._model.warm_up(self._context)

    def _rehearse(self, name: str, item: Item) -> None:
        try:
            self._runner.rehearse(name, _rehearsal(item))
        except InvalidInput as error:
            raise SettingsError(f"the example of {name} is not right: {error.message}") from error

    def _sleep(self) -> None:
        failed = self._attempted(self._model.sleep)
        gc.collect()
        empty_caches()
        self._wire.send(Slept(self._gauge.held_bytes(), failed))

    def _wake(self) -> None:
        if (failed := self._attempted(self._model.wake)) is not None:
            self._wire.send(Slept(self._gauge.held_bytes(), failed))
        else:
            self.say_serving()

    def _attempted(self, step: Callable[[], None]) -> WireError | None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - the host asked and must get an answer
            print(story(error), file=sys.stderr)
            return WireError.of(task_error(error))
        return None

    def _warm_again(self) -> None:
        began, failed = time.monotonic(), None
        self._wire.send(Warming())
        try:
            self._warm_up()
        except BaseException as error:  # noqa: BLE001 - the host asked and must get an answer
            failed = WireError.of(task_error(error))
        self._wire.send(Warmed(time.monotonic() - began, failed))

    def _tell_end(self, context: ProcessRunContext, ended: Ended) -> None:
        with suppress(OSError, ValueError, AttributeError):
            # So that the host reads all of a call's output before its end.
            sys.stdout.flush()
        self._calls.pop(ended.id, None)
        try:
            self._wire.send(ended)
        except (UnicodeError, TypeError, OverflowError) as error:
            told = WireError.of(TaskFailed(f"how the call ended cannot be told: {error}"))
            self._wire.send(Ended(ended.id, OutcomeKind.FAILED, error=told, scratch_used=context.scratch_used))


def _example(name: str, example: object) -> bytes:
    try:
        return encoded(example)
    except GlowplugError as error:
        raise SettingsError(f"the example of {name} is not right: {error.message}") from error


def _rehearsal(item: Item) -> ProcessRunContext:
    """Return a context whose reports go nowhere and are acknowledged at once."""

    def answer(message: ToHost) -> None:
        if isinstance(message, Logged):
            print(message.text, file=sys.stderr)
        if isinstance(message, Checkpointed):
            context.confirm(accepted=True)
        context.reports.credited(1)

    context = ProcessRunContext(item, answer)
    return context
