"""The catalogue: every model and task ever heard of, with the schemas that a job's input is checked against."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from glowplug.errors import InvalidInput, UnknownTask
from glowplug.job import Budget
from glowplug.lifecycle import Startable
from glowplug.store import ModelInfo, Store, TaskInfo

FIELDS_SHOWN = 8
VALUE_SHOWN = 60
LONGEST_REASON = 300
# jsonschema says "is too long", and not how long it may be.
_LIMITS = {"maxLength": "at most", "maxItems": "at most", "minLength": "at least", "minItems": "at least"}


def model_of(task: str) -> str:
    """Return the model's part of a task name."""
    return task.partition(".")[0]


class Catalog(Startable):
    """Models and tasks by name, kept in the store and held in memory.

    `unfinished` names the models that a worker is bringing up and whose tasks nobody has told yet.
    """

    def __init__(self, store: Store, unfinished: Callable[[], frozenset[str]]) -> None:
        self._store = store
        self._unfinished = unfinished
        self._models: dict[str, ModelInfo] = {}
        self._tasks: dict[str, TaskInfo] = {}
        self._validators: dict[str, Draft202012Validator] = {}

    async def _start(self) -> None:
        await self.refresh()

    async def refresh(self) -> None:
        """Take in what is in the store: another gateway may have been told of it."""
        for info in await self._store.models():
            if self._models.get(info.name) != info:
                self._remember(info)

    async def look_up(self, name: str) -> None:
        """Make sure that a task which another gateway was just told of is known here."""
        if self._store.shared and name not in self._tasks:
            await self.refresh()

    async def learn(self, infos: tuple[ModelInfo, ...]) -> None:
        """Take in what a worker says of its models; only news is written to the store."""
        for info in infos:
            if self._models.get(info.name) != info:
                await self._store.save_model(info)
                self._remember(info)

    @property
    def models(self) -> Mapping[str, ModelInfo]:
        """Return every known model by name."""
        return self._models

    @property
    def tasks(self) -> Mapping[str, TaskInfo]:
        """Return every known task by full name."""
        return self._tasks

    def task(self, name: str) -> TaskInfo | None:
        """Return the task, or None for one of a model that is still being brought up for the very first time.

        Raises:
            UnknownTask: neither; the message names what may have been meant.
        """
        found = self._tasks.get(name)
        if found is not None or self._may_come(name):
            return found
        raise UnknownTask(f"no model here has a task {name[:80]!r}{self._hint(name)}", task=name[:80])

    def check(self, name: str, value: Mapping[str, Any]) -> TaskInfo | None:
        """Check a job's input against the task's schema. Raises `UnknownTask`, `InvalidInput`."""
        task = self.task(name)
        if task is None or not task.input_schema:
            return task
        validator = self._validators.get(name)
        if validator is None:
            validator = self._validators[name] = Draft202012Validator(task.input_schema)
        # The first look is cheap; only a wrong input pays for the whole list.
        if not validator.is_valid(value):
            raise _explained(name, list(validator.iter_errors(value)))
        return task

    def _remember(self, info: ModelInfo) -> None:
        for name in [name for name in self._tasks if model_of(name) == info.name]:
            del self._tasks[name]
            self._validators.pop(name, None)
        self._models[info.name] = info
        self._tasks.update((task.name, task) for task in info.tasks)

    def _may_come(self, name: str) -> bool:
        model, dot, method = name.partition(".")
        return bool(dot and method) and model not in self._models and model in self._unfinished()

    def _hint(self, name: str) -> str:
        close = difflib.get_close_matches(name, self._tasks, n=1, cutoff=0.6)
        if close:
            return f"; did you mean {close[0]!r}?"
        if not self._tasks:
            return "; no model has told its tasks yet: start a worker, or wait for its model to be imported"
        return f"; known tasks: {', '.join(sorted(self._tasks)[:20])}"


def budget_of(task: TaskInfo | None) -> Budget:
    """Return the budget that the task's author gave it."""
    if task is None:
        return Budget()
    return Budget(task.errors, task.crashes, task.retry_base_seconds, task.retry_cap_seconds)


def _explained(task: str, errors: list[ValidationError]) -> InvalidInput:
    errors.sort(key=lambda error: [str(part) for part in error.absolute_path])
    fields = [{"path": _path(one), "message": _reason(one)} for one in map(_meant, errors[:FIELDS_SHOWN])]
    first = fields[0]
    return InvalidInput(f"{task}: {first['path'] or 'input'}: {first['message']}", task=task, fields=fields)


def _meant(error: ValidationError) -> ValidationError:
    """Return what the only alternative beside null has against a value; "none of the schemas" helps nobody."""
    meant = [one for one in error.context or () if (one.validator, one.validator_value) != ("type", "null")]
    return _meant(meant[0]) if len({one.schema_path[0] for one in meant}) == 1 else error


def _reason(error: ValidationError) -> str:
    """Return what is wrong: messages begin with the value, and a long one must not push out what they say of it."""
    said, value = str(error.message), repr(error.instance)
    if len(value) > VALUE_SHOWN and said.startswith(value):
        # The last character closes the text or the list.
        said = f"{value[:VALUE_SHOWN]}…{value[-1]}{said[len(value) :]}"
    if error.validator in _LIMITS:
        said += f": {len(error.instance)}, {_LIMITS[error.validator]} {error.validator_value}"
    return said if len(said) <= LONGEST_REASON else said[:LONGEST_REASON] + "…"


def _path(error: ValidationError) -> str:
    return ".".join(str(part)[:VALUE_SHOWN] for part in error.absolute_path)
