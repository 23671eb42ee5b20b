"""`glowplug models`: the models and tasks that the gateway knows."""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from glowplug.cli.output import Json, say, say_json, say_table
from glowplug.cli.session import open_client

if TYPE_CHECKING:
    from glowplug.client.views import ModelView


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Show this model's tasks and their parameters.")
    ] = None,
    json: Json = False,
) -> None:
    """List the models, or show what one can do."""
    with open_client() as client:
        if name is None:
            found = client.models()
            if json:
                say_json(found)
                return
            rows = [(one.name, one.version, one.state, len(one.workers), " ".join(one.tasks)) for one in found]
            say_table(("MODEL", "VERSION", "STATE", "WORKERS", "TASKS"), rows)
            return
        model = client.model(name)
        tasks = [client.task(task) for task in model.tasks]
    if json:
        say_json({"model": model, "tasks": tasks})
        return
    from glowplug.client.arguments import expected

    say(f"{model.name} {model.version or ''} is {_condition(model)}")
    for task in tasks:
        say(f"\n{task.name}  {task.summary}".rstrip())
        required = task.input_schema.get("required", [])
        for key, schema in task.input_schema.get("properties", {}).items():
            default = schema.get("default")
            optional = "optional" if default is None else f"default {dumps(default, ensure_ascii=False)}"
            say(f"  {key}={expected(schema, task.input_schema)}  {'required' if key in required else optional}")


def _condition(model: ModelView) -> str:
    return model.state if model.ready or not model.error else f"not ready: {model.error}"
