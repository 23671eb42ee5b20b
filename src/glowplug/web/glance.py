"""Knowing at a glance that a request is for somebody else, so that an application's own routes pay nothing for ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

_CHOSEN = "glowplug.route"


@dataclass(frozen=True, slots=True)
class Glance:
    """The ends of some paths: no prefix in front of them, of whatever origin, changes these.

    `last` are their last segments; `before_last` those in front of a last segment that is a parameter. With
    `everything`, a path is among them that no glance can tell.
    """

    last: frozenset[str]
    before_last: frozenset[str]
    everything: bool = False

    @staticmethod
    def of(paths: Iterable[str | None]) -> Glance:
        """Return what the ends of these routes' paths have in common; None is a route without a path."""
        last, before_last, everything = set(), set(), False
        for path in paths:
            folder, _, name = (path or "").rpartition("/")
            before = folder.rpartition("/")[2]
            if not name or ":path" in name or (name.startswith("{") and "{" in before):
                everything = True
            elif "{" in name:
                before_last.add(before)
            else:
                last.add(name)
        return Glance(frozenset(last), frozenset(before_last), everything)

    def may_be(self, path: str) -> bool:
        """Say whether `path` may be one of these; a yes is not sure, a no is."""
        ends = path.rsplit("/", 2)
        return ends[-1] in self.last or (len(ends) > 1 and ends[-2] in self.before_last) or self.everything


class Group(BaseRoute):
    """Routes behind one glance."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self.routes = routes
        self._glance = Glance.of(getattr(route, "path", None) for route in routes)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return how well the best of the routes fits, with that route in the scope."""
        best = Match.NONE
        chosen: Scope = {}
        if not self._glance.may_be(scope.get("path", "")):
            return best, chosen
        for route in self.routes:
            match, child = route.matches(scope)
            if match.value > best.value:
                best, chosen = match, {**child, _CHOSEN: route}
            if match is Match.FULL:
                break
        return best, chosen

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Return the address of the route called `name`. Raises `NoMatchFound`."""
        for route in self.routes:
            try:
                return route.url_path_for(name, **path_params)
            except NoMatchFound:
                continue
        raise NoMatchFound(name, dict(path_params))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to the route that fits it best."""
        await scope[_CHOSEN].handle(scope, receive, send)
