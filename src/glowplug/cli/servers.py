"""The three verbs that start servers, once their words are parsed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from glowplug.cli.session import load_settings
from glowplug.errors import SettingsError

ORPHAN_SECONDS = 5.0


def run_up(targets: Sequence[str], overrides: Mapping[str, Any]) -> int:
    """Serve a gateway and a local worker for each target, or for those that the settings name."""
    settings = load_settings(overrides)
    chosen = tuple(targets or settings.targets)
    if not chosen:
        raise SettingsError(
            "no model is named: try `glowplug up digits`, write targets into glowplug.toml, "
            "or start `glowplug gateway` alone"
        )
    from glowplug.supervisor import check_options, check_target

    for target in chosen:
        check_target(target)
    check_options(chosen, settings.worker.options, settings.options)
    settings.refuse_open_gateway()
    from glowplug.assembly import serve_gateway

    return _served(serve_gateway(settings, targets=chosen))


def run_gateway(overrides: Mapping[str, Any]) -> int:
    """Serve a gateway alone."""
    settings = load_settings(overrides)
    settings.refuse_open_gateway()
    from glowplug.assembly import serve_gateway

    return _served(serve_gateway(settings))


def run_worker(target: str, overrides: Mapping[str, Any], *, supervised: bool = False) -> int:
    """Serve a worker; a supervised one for no longer than its supervisor lives, and with the options that it chose."""
    settings = load_settings({"worker.options": {}, **overrides} if supervised else overrides)
    if not supervised:
        from glowplug.supervisor import check_options

        check_options((target,), settings.worker.options, settings.options)
    else:
        from glowplug.supervisor.following import follow_supervisor

        # The gateway died with the supervisor, and its next process ends our claims: there is nothing to drain for,
        # while the model's memory is needed by the next worker.
        last_words = min(settings.worker.drain_seconds, ORPHAN_SECONDS)
        follow_supervisor(last_words + settings.worker.cancel_grace_seconds)
    from glowplug.assembly import serve_worker

    return _served(serve_worker(settings, target, supervised=supervised))


def read_option(text: str) -> tuple[str, str] | None:
    """Return the name and the value in `name=value`, None if it is something else."""
    name, equals, value = text.partition("=")
    return (name, value) if name and equals else None


def read_options(texts: Sequence[str] | None) -> dict[str, str] | None:
    """Return what `--option` said of the models, None if it was not given. Raises `SettingsError`."""
    for text in texts or ():
        if read_option(text) is None:
            raise SettingsError(f"--option: {text!r} is not name=value")
    return dict(pair for text in texts if (pair := read_option(text))) if texts else None


def _served(service: Coroutine[Any, Any, int]) -> int:
    """Run a server to its end on the fastest event loop there is."""
    import asyncio

    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(service)
