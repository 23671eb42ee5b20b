"""Which worker processes to run for some targets: decided here, run elsewhere."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from glowplug.errors import SettingsError

_SECRETS = re.compile(r"GLOWPLUG_((WORKER_)?TOKEN|ALERTS_WEBHOOK_(URL|SECRET))(_FILE)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """A worker to keep alive; `instance_id` stays the same over restarts."""

    target: str
    instance_id: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


def plan_workers(
    targets: Sequence[str],
    environment: Mapping[str, str],
    additions: Mapping[str, str],
    options: Mapping[str, Mapping[str, str]] | None = None,
) -> tuple[WorkerPlan, ...]:
    """Say how the workers for `targets` are run: this interpreter, `environment` without its secrets, and `additions`.

    `additions` carry the gateway's URL and the *path* of the worker token; `options` are by target.
    """
    kept = {name: value for name, value in environment.items() if not _SECRETS.fullmatch(name)}
    seen: Counter[str] = Counter()
    plans = []
    for target in targets:
        told = (options or {}).get(target, {})
        said = [word for name, value in told.items() for word in ("--option", f"{name}={value}")]
        slug = re.sub(r"[^A-Za-z0-9]+", "-", target).strip("-")[-60:] or "worker"
        seen[slug] += 1
        instance_id = f"{socket.gethostname()}-{slug}" + (f"-{seen[slug]}" if seen[slug] > 1 else "")
        command = (sys.executable, "-m", "glowplug", "worker", target, "--supervised", *said)
        added = {**kept, **additions, "GLOWPLUG_WORKER_INSTANCE_ID": instance_id}
        plans.append(WorkerPlan(target=target, instance_id=instance_id, command=command, environment=added))
    return tuple(plans)


def guessed_name(target: str) -> str:
    """Return what to call a model of which nothing but its target is known yet."""
    place, _, name = target.partition(":")
    return (name or place_name(place)).lower()


def place_name(place: str) -> str:
    """Return the name of the file or module that a target's class lies in; an installed model's is the whole."""
    return Path(place).stem if place.endswith(".py") else place.rpartition(".")[2]


def check_target(target: str) -> None:
    """Raise `SettingsError` for a target that can be seen to be absent without importing it."""
    path = _file_part(target)
    if path is not None and not path.is_file():
        raise SettingsError(f"there is no file {path}; name a file.py[:Class], a package.module[:Class] or a model")
    if target_folder(target) is None:
        raise SettingsError(
            f"there is no model or module {target!r}; name a file.py[:Class], a package.module[:Class], "
            f"or one of: {', '.join(sorted(installed_models())) or '(no model is installed)'}"
        )


def target_folder(target: str) -> Path | None:
    """Return the folder that a target's code lies in; None if there is none to be found without importing it."""
    path = _file_part(target)
    if path is not None:
        return path.absolute().parent
    return _package_folder(target) or _package_folder(installed_models().get(target, ""))


def _file_part(target: str) -> Path | None:
    path = target.partition(":")[0]
    return Path(path) if path.endswith(".py") or os.sep in path else None


def _package_folder(target: str) -> Path | None:
    # Only the top package is looked up: finding a submodule would import its parents.
    top = target.partition(":")[0].partition(".")[0]
    with suppress(ImportError, ValueError):
        spec = PathFinder.find_spec(top, [str(Path.cwd()), *sys.path]) if top else None
        if spec is not None and spec.origin:
            return Path(spec.origin).absolute().parent
        if spec is not None and spec.submodule_search_locations:
            return Path(spec.submodule_search_locations[0]).absolute()
    return None


def installed_models() -> dict[str, str]:
    """Return where the class of each installed model is, by the model's name."""
    from importlib import metadata

    return {point.name: point.value for point in metadata.entry_points(group="glowplug.models")}
