"""Several processes of one application, read from how the server was called."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from glowplug.app import Readiness
from glowplug.app.copies import Copies, copies, explain_copies
from glowplug.events import set_sink


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    heard: list[dict[str, Any]] = []
    previous = set_sink(lambda spec, fields: heard.append(fields) if spec.name == "app.copies" else None)
    yield heard
    set_sink(previous)


@pytest.mark.parametrize(
    ("line", "environment", "expected"),
    [
        ("/bin/uvicorn main:app", {}, None),
        ("/bin/uvicorn main:app --workers 1", {}, None),
        ("/bin/uvicorn main:app --workers 4", {}, Copies("uvicorn", 4)),
        ("/bin/uvicorn main:app --workers=2", {"WEB_CONCURRENCY": "8"}, Copies("uvicorn", 2)),
        ("/bin/uvicorn main:app", {"WEB_CONCURRENCY": "3"}, Copies("uvicorn", 3)),
        ("/bin/uvicorn main:app", {"WEB_CONCURRENCY": "many"}, None),
        ("/bin/uvicorn main:app --workers", {}, None),
        ("/bin/uvicorn main:app --reload --workers 2", {}, Copies("uvicorn", reloads=True)),
        ("/lib/python3.11/site-packages/uvicorn/__main__.py main:app --workers 2", {}, Copies("uvicorn", 2)),
        ("/bin/fastapi run main.py --workers 2", {}, Copies("uvicorn", 2)),
        ("/bin/fastapi run main.py", {}, None),
        ("/bin/fastapi dev main.py", {}, Copies("uvicorn", reloads=True)),
        ("/bin/fastapi dev main.py --no-reload", {}, None),
        ("/bin/gunicorn main:app -w 4 -k uvicorn.workers.UvicornWorker", {}, Copies("gunicorn", 4)),
        ("/bin/gunicorn main:app -w4", {}, Copies("gunicorn", 4)),
        ("/bin/gunicorn main:app", {"GUNICORN_CMD_ARGS": "--workers 5"}, Copies("gunicorn", 5)),
        ("/bin/gunicorn main:app", {"GUNICORN_CMD_ARGS": "--workers 5 'unclosed"}, None),
        ("anything", {"SERVER_SOFTWARE": "gunicorn/23.0", "WEB_CONCURRENCY": "2"}, Copies("gunicorn", 2)),
        ("/bin/hypercorn main:app -w 2", {}, Copies("hypercorn", 2)),
        ("/bin/granian main:app --workers 2", {}, Copies("granian", 2)),
        ("/bin/uvicorn main:app -w 4", {}, None),
        ("main.py --workers 4", {"WEB_CONCURRENCY": "4"}, None),
        ("", {}, None),
    ],
)
def test_the_number_of_workers_is_read_as_the_server_reads_it(
    line: str, environment: dict[str, str], expected: Copies | None
) -> None:
    assert copies(line.split(), environment, child=False) == expected


def test_a_child_of_a_program_is_explained_without_its_number() -> None:
    assert copies(["main.py"], {}, child=True) == Copies("uvicorn")
    assert copies(["main.py"], {"WEB_CONCURRENCY": "3"}, child=True) == Copies("uvicorn", 3)


@pytest.mark.parametrize(
    ("found", "what", "means"),
    [
        (Copies("uvicorn", 3), "3 workers", "loads its own copy"),
        (Copies("uvicorn", reloads=True), "reloading", "each change of a file"),
        (Copies("uvicorn"), "several workers, or reloading", "loads its own copy"),
    ],
)
def test_what_it_means_is_said_with_what_to_do(found: Copies, what: str, means: str) -> None:
    assert found.what == what
    assert means in found.meaning


async def test_it_is_told_once_when_the_application_starts(
    ready: Readiness, monkeypatch: pytest.MonkeyPatch, told: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/uvicorn", "main:app", "--workers", "2"])
    async with ready:
        assert [(one["server"], one["copies"]) for one in told] == [("uvicorn", "2 workers")]
        assert "isolate=True" in told[0]["meaning"]


def test_nothing_is_said_of_one_process(monkeypatch: pytest.MonkeyPatch, told: list[dict[str, Any]]) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/uvicorn", "main:app"])
    monkeypatch.setattr(os, "environ", {})
    explain_copies()
    assert told == []
