"""Schemas from the signatures of tasks, and values through them. Imported in the child alone: pydantic is heavy.

What a task gets: each parameter validated by its annotation; with a `Batch[T]` parameter, callers send one `T` each and
the task gets the list. Calls share a batch only if their other parameters are equal. A task with `batch=` and no
`Batch` parameter gets lists for all of them.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticUndefined

from glowplug.artifact import Artifact
from glowplug.errors import InvalidInput, SettingsError
from glowplug.model import Batch, Model, TaskSpec
from glowplug.store import ModelInfo, TaskInfo

LONGEST_MESSAGE = 300


class FileOpener(Protocol):
    """Who turns the text of a file parameter into a file."""

    def open_file(self, value: object, kind: str) -> object:
        """Return the local file, or the decoded image; raises `ValueError` for what cannot be one."""


@dataclass(frozen=True, slots=True)
class TaskSchema:
    """How one task is called. `lists` are the parameters that arrive as lists in a batch."""

    spec: TaskSpec
    parameters: type[BaseModel]
    names: Mapping[str, str]
    lists: frozenset[str]
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]

    def read(self, input_json: bytes, opener: FileOpener) -> dict[str, Any]:
        """Return the task's arguments from a JSON object.

        Raises:
            InvalidInput: not JSON, not an object, or a value is wrong; `fields` names the places.
        """
        try:
            read = self.parameters.model_validate_json(input_json or b"{}", context=opener)
        except ValidationError as error:
            raise _invalid(self.spec.name, error) from error
        values = read.__dict__
        return {name: values[field] for field, name in self.names.items()}

    @property
    def info(self) -> TaskInfo:
        """Return what the rest of the house knows of the task."""
        options = self.spec.options
        return TaskInfo(
            name=self.spec.name,
            summary=self.spec.summary,
            input_schema=self.input_schema,
            output_schema=self.output_schema,
            example=options.example,
            batch=options.batch,
            short=options.short,
            streams=self.spec.streams,
            errors=options.budget.errors,
            crashes=options.budget.crashes,
            retry_base_seconds=options.budget.retry_base_seconds,
            retry_cap_seconds=options.budget.retry_cap_seconds,
            timeout_seconds=options.timeout_seconds,
            on_new_version=options.on_new_version,
            serves=options.serves,
        )


def task_schemas(model: type[Model]) -> dict[str, TaskSchema]:
    """Build the schema of every task of `model`.

    Raises:
        SettingsError: a signature cannot be described, or an annotation does not exist.
    """
    return {name: _task_schema(spec, getattr(model, spec.method)) for name, spec in model.tasks().items()}


def model_info(model: type[Model], schemas: Mapping[str, TaskSchema]) -> ModelInfo:
    """Return what the rest of the house knows of a model."""
    return ModelInfo(model.model_name(), model.version, tuple(schema.info for schema in schemas.values()))


def _task_schema(spec: TaskSpec, function: Callable[..., Any]) -> TaskSchema:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise SettingsError(f"@task {spec.name}: write it as a plain `def`; each model has a process of its own")
    hints = _hints(spec, function)
    taken = _parameters(spec, function)
    batched = {name for name in taken if get_origin(hints.get(name)) is Batch}
    lists = frozenset(batched or (taken if spec.options.batch > 1 else ()))
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    # Fields are numbered, the names being aliases: a parameter may be called `json` or `copy`, a field may not.
    for number, (name, parameter) in enumerate(taken.items()):
        hint = hints.get(name, Any)
        hint = get_args(hint)[0] if name in batched else hint
        default = PydanticUndefined if parameter.default is parameter.empty else parameter.default
        names[f"p{number}"] = name
        fields[f"p{number}"] = (hint, Field(default, alias=name, title=None))
    try:
        config = ConfigDict(extra="forbid", arbitrary_types_allowed=False, title=spec.name)
        parameters = create_model("Parameters", __config__=config, **fields)
        input_schema = parameters.model_json_schema(by_alias=True)
    except (PydanticUserError, TypeError) as error:
        raise SettingsError(f"@task {spec.name}: cannot describe its parameters: {_first_line(error)}") from error
    output = _output_schema(hints.get("return", Any), spec, bool(batched))
    return TaskSchema(spec, parameters, names, lists, _untitled(input_schema), output)


def _hints(spec: TaskSpec, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, TypeError) as error:
        raise SettingsError(f"@task {spec.name}: an annotation cannot be read: {error}") from error


def _parameters(spec: TaskSpec, function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    taken = list(inspect.signature(function).parameters.values())
    if len(taken) < 2 or any(p.kind not in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in taken[2:]):
        raise SettingsError(f"@task {spec.name}: write it as `def {spec.method}(self, ctx, name: type, ...)`")
    return {parameter.name: parameter for parameter in taken[2:]}


def _output_schema(hint: Any, spec: TaskSpec, batched: bool) -> dict[str, Any]:
    """Describe one call's result; {} (anything) where the annotation says nothing that JSON Schema could."""
    if (batched or spec.streams) and get_args(hint):
        hint = get_args(hint)[0]
    if hint is None or hint is type(None):
        return {"type": "null"}
    try:
        return _untitled(TypeAdapter(_without_artifact(hint)).json_schema(mode="serialization"))
    except (PydanticUserError, TypeError):
        return {}


_REFERENCE = Annotated[str, Field(json_schema_extra={"format": "artifact"})]


def _without_artifact(hint: Any) -> Any:
    if hint is Artifact:
        return _REFERENCE
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (list, tuple, dict) and arguments:
        return origin[tuple(_without_artifact(argument) for argument in arguments)]
    return hint


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop the titles that pydantic makes from our numbered fields."""
    for field in schema.get("properties", {}).values():
        if isinstance(field, dict):
            field.pop("title", None)
    return schema


def _invalid(task: str, error: ValidationError) -> InvalidInput:
    fields = [
        {"path": ".".join(str(part) for part in found["loc"]), "message": _message(found["msg"])}
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    said = "; ".join(f"{field['path'] or 'input'}: {field['message']}" for field in fields[:3])
    more = f" and {len(fields) - 3} more" if len(fields) > 3 else ""
    return InvalidInput(f"{task}: {said}{more}", fields=fields)


def _message(text: str) -> str:
    return text.removeprefix("Value error, ")[:LONGEST_MESSAGE]


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:LONGEST_MESSAGE]
