"""The front door is curated, lazy and light."""

from __future__ import annotations

import json
import subprocess
import sys

import glowplug

HEAVY = ["aiohttp", "boto3", "fastapi", "httpx", "msgspec", "numpy", "obstore", "onnxruntime", "pydantic", "sqlalchemy"]
HEAVY += ["starlette", "structlog", "torch", "typer", "uvicorn", "asyncio"]


def test_the_front_door_offers_exactly_what_it_lists() -> None:
    assert sorted(glowplug.__all__) == sorted(glowplug._HOMES)


def test_every_name_of_the_front_door_opens() -> None:
    assert [name for name in glowplug.__all__ if getattr(glowplug, name, None) is None] == []


def test_an_unknown_name_is_refused_by_name() -> None:
    assert not hasattr(glowplug, "Nonsense")


def test_importing_glowplug_loads_no_heavy_library() -> None:
    assert loaded_by("import glowplug") == []


def test_a_model_file_loads_no_heavy_library() -> None:
    heavy = loaded_by("from glowplug import Model, RunContext, task")
    assert set(heavy) <= {"asyncio"}


def loaded_by(statement: str) -> list[str]:
    code = f"import sys, json\n{statement}\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found
