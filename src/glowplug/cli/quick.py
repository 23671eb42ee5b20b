"""Past the parser for people, which takes 100 ms to import and would stand before every start of a model.

It understands the three verbs that start servers, in their plain form. Whatever else it sees, a wrong word or a wish
for help, it leaves to the parser for people, which knows how to explain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from glowplug.cli.servers import read_option, run_gateway, run_up, run_worker

Overrides = dict[str, Any]

_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "up": {
        "--host": "gateway.host",
        "--port": "gateway.port",
        "--reload": "worker.reload",
        "--option": "worker.options",
    },
    "gateway": {"--host": "gateway.host", "--port": "gateway.port"},
    "worker": {
        "--gateway": "gateway.url",
        "--host": "worker.host",
        "--port": "worker.port",
        "--device": "worker.device",
        "--slots": "worker.slots",
        "--option": "worker.options",
        "--supervised": "",
    },
}
_FLAGS = frozenset({"--reload", "--supervised"})


def quick(words: Sequence[str]) -> Callable[[], int] | None:
    """Return what serves the command, None if it is not one of the plain ones."""
    verb, *rest = words or [""]
    options = _OPTIONS.get(verb)
    parsed = _parsed(rest, options) if options is not None else None
    if parsed is None:
        return None
    plain, overrides = parsed
    supervised = overrides.pop("", False) is True
    if verb == "up" and plain:
        return partial(run_up, plain, overrides)
    if verb == "gateway" and not plain:
        return partial(run_gateway, overrides)
    if verb == "worker" and len(plain) == 1:
        return partial(run_worker, plain[0], overrides, supervised=supervised)
    return None


def _parsed(words: Sequence[str], options: Mapping[str, str]) -> tuple[list[str], Overrides] | None:
    plain: list[str] = []
    overrides: Overrides = {}
    left = iter(words)
    for word in left:
        if not word.startswith("-"):
            plain.append(word)
        elif word not in options:
            return None
        elif word in _FLAGS:
            overrides[options[word]] = True
        else:
            value = next(left, "-")
            if value.startswith("-") or not _add(overrides, options[word], value):
                return None
    return plain, overrides


def _add(overrides: Overrides, name: str, value: str) -> bool:
    """Note the value of an option; False if it is one that must be explained."""
    if name != "worker.options":
        overrides[name] = value
        return True
    pair = read_option(value)
    overrides[name] = overrides.get(name, {}) | dict([pair] if pair else [])
    return pair is not None
