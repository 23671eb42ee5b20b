"""Which options go to which model: `name` to every one that knows it, `model.name` to that one.

A worker's model is called by its file, module or class as its target names them. Our own models say which options they
know, and what no target knows is refused. Others take any: to ask them, their code would have to run here. A table for
a model that is not started may be for another machine: it is told of, unless it is for an installed model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import import_module

from glowplug.errors import SettingsError
from glowplug.events import emit
from glowplug.supervisor.plan import installed_models, place_name
from glowplug.workloads.option_values import closest, refuse_unknown

OURS = "glowplug.workloads."

Options = Mapping[str, str]
Tables = Mapping[str, Options]


def options_of(target: str, said: Options, tables: Tables) -> dict[str, str]:
    """Return what the model of `target` is given; the later wins.

    First the `tables` of its file or module and of its class, then what was said for all, then what for it alone.
    """
    layers = [*(tables.get(name, {}) for name in _names(target)), _for_all(said), _for_one(target, said)]
    return {name: value for layer in layers for name, value in layer.items()}


def handed_down(target: str, said: Options, tables: Tables) -> dict[str, str]:
    """Return the part of `said` that the worker of `target` is started with: what is for its model, and known to it."""
    known = _known_to(target, options_of(target, said, tables)) if said else None
    return {path: value for path, value in said.items() if _is_for(target, path, known)}


def check_options(targets: Sequence[str], said: Options, tables: Tables) -> None:
    """Raise `SettingsError` for an option that is for no model here, or that its model does not know."""
    _refuse_strangers(said, targets)
    known = {target: _known_to(target, options_of(target, said, tables)) for target in targets}
    for target, names in known.items():
        own = [name for table in map(tables.get, _names(target)) for name in table or ()]
        if len(known) == 1:
            own.extend(_for_all(said))
        refuse_unknown([*own, *_for_one(target, said)], names, target)
    told = {target: names for target, names in known.items() if names is not None}
    if len(told) == len(known):
        _refuse_known_to_none(_for_all(said), told)


def tell_idle_tables(targets: Sequence[str], tables: Tables) -> None:
    """Log each of `tables` that is for none of `targets`, nor for another model that is installed."""
    here = list(dict.fromkeys(name for target in targets for name in _names(target)))
    installed = installed_models() if tables else {}
    for table in tables:
        if table not in here and table not in installed:
            hint = closest(table, [*here, *installed])
            emit("options.idle", table=table[:80], advice=f"started here: {', '.join(here)}{hint}")


def _refuse_strangers(said: Options, targets: Sequence[str]) -> None:
    """Refuse what is said for a model that no target is."""
    here = dict.fromkeys(name for target in targets for name in _names(target))
    for path in said:
        model, dot, name = path.partition(".")
        if dot and not (model and name):
            raise SettingsError(f"option {path[:80]}: write name=value, or model.name=value for one model")
        if dot and not any(_for_one(target, {path: ""}) for target in targets):
            hint = closest(model, here)
            raise SettingsError(
                f"option {path[:80]}: no model here is called {model}{hint}; there are: {', '.join(here)}"
            )


def _refuse_known_to_none(names: Collection[str], known: Mapping[str, Collection[str]]) -> None:
    for name in names:
        if not any(name in theirs for theirs in known.values()):
            hint = closest(name, dict.fromkeys(one for theirs in known.values() for one in theirs))
            each = "; ".join(f"{target} knows {', '.join(sorted(theirs))}" for target, theirs in known.items())
            raise SettingsError(f"option {name[:80]} is known to none of {', '.join(known)}{hint}; {each}")


def _names(target: str) -> tuple[str, ...]:
    place, _, name = target.partition(":")
    return tuple(dict.fromkeys(one for one in (place_name(place), name, name.lower()) if one))


def _for_all(said: Options) -> Options:
    return {path: value for path, value in said.items() if "." not in path}


def _for_one(target: str, said: Options) -> Options:
    starts = [f"{name}." for name in _names(target)]
    return {path.removeprefix(one): value for one in starts for path, value in said.items() if path.startswith(one)}


def _is_for(target: str, path: str, known: Collection[str] | None) -> bool:
    if "." in path:
        return bool(_for_one(target, {path: ""}))
    return known is None or path in known


def _known_to(target: str, options: Options) -> Collection[str] | None:
    """Return the names of the options that the model of `target` knows when it is given these, None if it takes any."""
    place = installed_models().get(target, target) if options else ""
    if not place.startswith(OURS):
        return None
    module, _, name = place.partition(":")
    known = getattr(getattr(import_module(module), name, None), "known_options", None)
    return known(options) if known is not None else None
