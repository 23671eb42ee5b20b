"""Runs calls in the model's process: validates, calls the task, streams, encodes, and says how each call ended."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glowplug.errors import GlowplugError, Interrupted, InvalidInput, OutOfMemory, Stop, TaskFailed
from glowplug.job import OutcomeKind
from glowplug.model import Model
from glowplug.problem import told_fields
from glowplug.process.contexts import BatchContext, ProcessRunContext
from glowplug.process.faults import free_memory, story, task_error
from glowplug.process.files import Files
from glowplug.process.protocol import Ended, WireError
from glowplug.process.results import encoded
from glowplug.process.schema import TaskSchema

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Valid:
    """A call whose input is right."""

    context: ProcessRunContext
    values: Values


class Runner:
    """The tasks of one model, ready to be called. `tell_end` is called once for each call, from the calling thread."""

    def __init__(
        self, model: Model, schemas: Mapping[str, TaskSchema], tell_end: Callable[[ProcessRunContext, Ended], None]
    ) -> None:
        self._schemas = schemas
        self._methods = {name: getattr(model, schema.spec.method) for name, schema in schemas.items()}
        self._tell_end = tell_end

    def run(self, task: str, contexts: Sequence[ProcessRunContext]) -> None:
        """Run one call, or several as a batch."""
        schema = self._schemas[task]
        valid = [found for context in contexts if (found := self._read(schema, context)) is not None]
        for group in _groups(schema, valid):
            if len(group) == 1:
                self._run_one(schema, group[0])
            else:
                self._run_batch(schema, group)

    def _read(self, schema: TaskSchema, context: ProcessRunContext) -> Valid | None:
        try:
            context.check()
            return Valid(context, schema.read(context.item.input_json, _files(context)))
        except BaseException as error:  # noqa: BLE001 - becomes the end of the call
            self._fail(schema, context, error)
            return None

    def rehearse(self, task: str, context: ProcessRunContext) -> None:
        """Run a call for its own sake, from JSON to JSON; what it raises passes through untouched."""
        schema = self._schemas[task]
        self._answer(schema, Valid(context, schema.read(context.item.input_json, _files(context))))

    def _run_one(self, schema: TaskSchema, call: Valid) -> None:
        try:
            call.context.check()
            output = self._answer(schema, call)
        except BaseException as error:  # noqa: BLE001 - becomes the end of the call
            self._fail(schema, call.context, error)
        else:
            self._complete(schema, call.context, output)

    def _answer(self, schema: TaskSchema, call: Valid) -> bytes:
        context, values = call.context, call.values
        if schema.lists:
            values = {name: [value] if name in schema.lists else value for name, value in values.items()}
        result = self._methods[schema.spec.name](context, **values)
        if schema.spec.streams:
            return _streamed(context, result)
        return encoded(_results(result, 1)[0] if schema.lists else result)

    def _run_batch(self, schema: TaskSchema, calls: Sequence[Valid]) -> None:
        first = calls[0].values
        values = {
            name: [call.values[name] for call in calls] if name in schema.lists else value
            for name, value in first.items()
        }
        context = BatchContext([call.context for call in calls])
        try:
            results = _results(self._methods[schema.spec.name](context, **values), len(calls))
            outputs = [encoded(result) for result in results]
        except Stop as error:
            for call in calls:
                self._fail(schema, call.context, error)
        except BaseException as error:  # noqa: BLE001 - becomes the end of the calls
            self._run_each(schema, calls, error)
        else:
            for call, output in zip(calls, outputs, strict=True):
                self._complete(schema, call.context, output)

    def _run_each(self, schema: TaskSchema, calls: Sequence[Valid], error: BaseException) -> None:
        # One bad call must not take its company down, and only running them alone shows which one it was.
        calls[0].context.log(f"the batch of {len(calls)} failed and is run one by one: {story(error)}")
        if isinstance(task_error(error), OutOfMemory):
            free_memory(error)
        for call in calls:
            self._run_one(schema, call)

    def _complete(self, schema: TaskSchema, context: ProcessRunContext, output: bytes) -> None:
        told = context.stop.told
        if told is not None:
            # The task was told to stop and came back in good order: what it returns is not the whole work.
            self._fail(schema, context, told)
            return
        context.flush()
        used = context.scratch_used
        self._tell_end(context, Ended(context.item.id, OutcomeKind.COMPLETED, output, context.saved, None, used))

    def _fail(self, schema: TaskSchema, context: ProcessRunContext, error: BaseException) -> None:
        call_id, used = context.item.id, context.scratch_used
        context.flush()
        if context.stop.told is not None:
            self._tell_end(context, Ended(call_id, _kind(context.stop.told), scratch_used=used))
            return
        ours = task_error(error)
        if isinstance(ours, InvalidInput) and (fields := told_fields(ours, schema.names.values())):
            ours.data["fields"] = fields
        if not isinstance(error, GlowplugError):
            context.log(story(error))
        if isinstance(ours, OutOfMemory):
            free_memory(error)
        ended = Ended(call_id, OutcomeKind.FAILED, error=WireError.of(ours), scratch_used=used)
        self._tell_end(context, ended)


def _kind(stop: Stop) -> OutcomeKind:
    return OutcomeKind.INTERRUPTED if isinstance(stop, Interrupted) else OutcomeKind.CANCELED


def _groups(schema: TaskSchema, calls: Sequence[Valid]) -> Iterator[list[Valid]]:
    """Split calls into batches whose common parameters are equal, keeping their order."""
    # Compared, not hashed: parameters may be lists, models or pictures.
    left = list(calls)
    while left:
        common = _common(schema, left[0])
        together = [call for call in left if _common(schema, call) == common] if schema.lists else left[:1]
        taken = {id(call) for call in together}
        left = [call for call in left if id(call) not in taken]
        yield together


def _common(schema: TaskSchema, call: Valid) -> Values:
    return {name: value for name, value in call.values.items() if name not in schema.lists}


def _results(result: Any, count: int) -> Sequence[Any]:
    if not isinstance(result, Iterable) or isinstance(result, (str, bytes, Mapping)):
        raise TaskFailed(f"a batched task returns a list, one result for each call, not a {type(result).__name__}")
    results = list(result)
    if len(results) != count:
        raise TaskFailed(f"the batched task returned {len(results)} results for {count} calls")
    return results


def _files(context: ProcessRunContext) -> Files:
    return Files(context.item.files, lambda: context.scratch)


def _streamed(context: ProcessRunContext, values: Generator[Any, None, None]) -> bytes:
    """Send each value as it comes; a stop closes the generator, whose `finally` may still tidy up."""
    try:
        for value in values:
            context.chunk(encoded(value))
            context.check()
    finally:
        values.close()
    return b"null"
