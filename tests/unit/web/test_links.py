"""Where the routes are: a prefix moves them all but those that lie below it, and each finds the others."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest

from glowplug.web import links

EVERY = [
    *(links.LIVE, links.READY, links.STARTED, links.HEALTH, links.API_HEALTH, links.PROBE, links.API_READY),
    *(links.ADMIN_READY, links.STREAM, links.SOCKET, links.WARM_UP, links.RETRY, links.SERVER_LIVE, links.OVERLAY),
]


@pytest.mark.parametrize("path", EVERY)
def test_without_a_prefix_the_paths_are_the_documented_ones(path: str) -> None:
    assert links.below("", path) == path


@pytest.mark.parametrize(
    ("prefix", "path", "where"),
    [
        ("/api", "/livez", "/api/livez"),
        ("/api", "/api/ready", "/api/ready"),
        ("/api", "/ws/init/{client_id}", "/api/ws/init/{client_id}"),
        ("/api/v1", "/api/v1/admin/ready", "/api/v1/admin/ready"),
        ("/api/v1", "/api/ready", "/api/v1/api/ready"),
        ("/ap", "/api/ready", "/ap/api/ready"),
        ("/models", "/api/ready", "/models/api/ready"),
    ],
)
def test_a_prefix_moves_what_does_not_lie_below_it(prefix: str, path: str, where: str) -> None:
    assert links.below(prefix, path) == where


@pytest.mark.parametrize("prefix", ["", "/api", "/models", "/api/v1", "/a/b/c"])
@pytest.mark.parametrize("front", ["", "/proxy", "/tenant/seven"])
def test_the_links_lead_to_the_routes_below_any_prefix_and_any_proxy(prefix: str, front: str) -> None:
    own = f"https://host{front}{links.below(prefix, links.API_READY)}"
    found = {name: urljoin(own, link) for name, link in links.links(prefix).items()}
    targets = {
        "self": links.API_READY,
        "stream": links.STREAM,
        "socket": links.SOCKET,
        "overlay": links.OVERLAY,
        "retry": links.RETRY,
        "warm_up": links.WARM_UP,
    }
    assert found == {name: f"https://host{front}{links.below(prefix, path)}" for name, path in targets.items()}


def test_the_links_are_as_the_guide_shows_them() -> None:
    assert links.links() == {
        "self": "ready",
        "stream": "ready/stream",
        "socket": "../ws/init/{client_id}",
        "overlay": "../glowplug/overlay.js",
        "retry": "ready/retry",
        "warm_up": "warmup",
    }


def test_without_actions_there_are_no_links_to_them() -> None:
    assert {"retry", "warm_up"}.isdisjoint(links.links(actions=False))
