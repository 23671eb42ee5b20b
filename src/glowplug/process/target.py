"""From a target to its model class: `pkg.module[:Class]`, `file.py[:Class]`, or an entry point's name."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

from glowplug.errors import SettingsError
from glowplug.model import Model

GROUP = "glowplug.models"
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*)?")


def resolve(target: str) -> type[Model]:
    """Import `target` and return its model class.

    What the module itself raises while it is imported passes through, but for a syntax error.

    Raises:
        SettingsError: there is no such file, module, entry point or class, or the choice is not clear.
    """
    place, _, name = target.partition(":")
    try:
        if place.endswith(".py"):
            module = _from_file(Path(place).expanduser())
        elif not name and (found := _from_entry_point(place)) is not None:
            return _checked(found, place)
        else:
            module = _from_module(place, target)
    except SyntaxError as error:
        raise SettingsError(f"{error.filename}:{error.lineno}: syntax error: {error.msg}") from error
    return _named(module, name, target) if name else _only(module, target)


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise SettingsError(f"no such file: {path} (looked from {Path.cwd()})")
    path = path.resolve()
    sys.path.insert(0, str(path.parent))
    # The stem, so that the model's other files can import it by that name, unless the name is taken.
    taken = path.stem in sys.modules or path.stem in sys.stdlib_module_names
    name = f"glowplug_target_{path.stem}" if taken else path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SettingsError(f"not a Python file: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _from_module(name: str, target: str) -> ModuleType:
    if not _DOTTED.fullmatch(target):
        raise SettingsError(f"not a target: {target!r}; write pkg.module:Class or file.py:Class")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A module that the target itself needs is another story, and its own message tells it.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        what = "module" if "." in name or ":" in target else "model, entry point or module"
        raise SettingsError(f"no {what} named {name!r} (looked from {here}); {_known()}") from error


def _from_entry_point(name: str) -> object | None:
    for point in metadata.entry_points(group=GROUP, name=name):
        return point.load()  # type: ignore[no-any-return]
    return None


def _known() -> str:
    names = sorted(point.name for point in metadata.entry_points(group=GROUP))
    return f"installed models: {', '.join(names)}" if names else "no models are installed"


def _named(module: ModuleType, name: str, target: str) -> type[Model]:
    found = getattr(module, name, None)
    if found is None:
        raise SettingsError(f"{target}: there is no {name} in it; {_offer(_models(module))}")
    return _checked(found, target)


def _checked(found: object, target: str) -> type[Model]:
    if not (isinstance(found, type) and issubclass(found, Model)) or found is Model:
        raise SettingsError(f"{target}: not a subclass of glowplug.Model")
    return found


def _only(module: ModuleType, target: str) -> type[Model]:
    models = _models(module)
    if len(models) != 1:
        why = "no subclass of glowplug.Model in it" if not models else "more than one model in it"
        raise SettingsError(f"{target}: {why}; {_offer(models, target)}")
    return models[0]


def _models(module: ModuleType) -> list[type[Model]]:
    found = [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Model) and value is not Model and not name.startswith("_")
    ]
    own = [model for model in found if model.__module__ == module.__name__]
    return own or list(dict.fromkeys(found))


def _offer(models: list[type[Model]], target: str = "") -> str:
    if not models:
        return "write `class MyModel(Model): ...`"
    prefix = f"{target}:" if target else ""
    return "name one: " + ", ".join(f"{prefix}{model.__name__}" for model in models)
