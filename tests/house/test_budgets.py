"""The budgets of the house, measured on the parsed sources; nothing is imported or run."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "glowplug"
MODULES = sorted(path for path in SOURCE.rglob("*.py") if "migrations/versions" not in path.as_posix())

MODULE_LINES, FUNCTION_LINES, NESTING, PARAMETERS, CHAIN, TESTS_PER_SOURCE = 400, 50, 3, 7, 18, 1.3

Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
SKIPPED_TOKENS = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}


def test_no_module_is_longer_than_its_budget() -> None:
    long = {relative(path): code_lines(path) for path in MODULES if code_lines(path) > MODULE_LINES}
    assert long == {}


def test_no_function_is_longer_than_its_budget() -> None:
    long = [f"{where}: {lines}" for where, node in functions() if (lines := body_lines(node)) > FUNCTION_LINES]
    assert long == []


def test_no_function_nests_deeper_than_its_budget() -> None:
    deep = [f"{where}: {depth}" for where, node in functions() if (depth := nesting(node)) > NESTING]
    assert deep == []


def test_no_function_takes_more_parameters_than_its_budget() -> None:
    wide = [f"{where}: {count}" for where, node in functions() if (count := parameters(node)) > PARAMETERS]
    assert wide == []


def test_every_public_name_has_a_docstring() -> None:
    silent = [
        f"{relative(path)}:{getattr(node, 'lineno', 1)} {name}"
        for path in MODULES
        for name, node in public_definitions(ast.parse(path.read_text()))
        if ast.get_docstring(node) is None
    ]
    assert silent == []


def test_there_is_more_test_than_source() -> None:
    source = sum(code_lines(path) for path in MODULES)
    tests = sum(code_lines(path) for path in (ROOT / "tests").rglob("*.py"))
    assert tests >= TESTS_PER_SOURCE * source, f"{tests} test lines for {source} source lines"


@pytest.mark.parametrize("word", ["utils.py", "common.py", "helpers.py", "misc.py"])
def test_no_module_has_a_name_that_says_nothing(word: str) -> None:
    assert [relative(path) for path in MODULES if path.name == word] == []


def relative(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def code_lines(path: Path) -> int:
    """Count lines that hold code: no blanks, comments or docstrings."""
    text = path.read_text()
    docstrings = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SKIPPED_TOKENS:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def functions() -> Iterator[tuple[str, Function]]:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Function):
                yield f"{relative(path)}:{node.lineno} {node.name}", node


def body_lines(node: Function) -> int:
    docstring = node.body[0] if ast.get_docstring(node) is not None else None
    written = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - written


def nesting(node: ast.AST) -> int:
    """Return the depth of control-flow blocks; an `elif` is no deeper than its `if`."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTION_TYPES, ast.ClassDef, ast.Lambda)):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        step = 1 if isinstance(child, BLOCKS) and not is_elif else 0
        deepest = max(deepest, step + nesting(child))
    return deepest


FUNCTION_TYPES = (ast.FunctionDef, ast.AsyncFunctionDef)


def parameters(node: Function) -> int:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len([one for one in every if one.arg not in ("self", "cls")])


def public_definitions(module: ast.Module) -> Iterator[tuple[str, ast.Module | ast.ClassDef | Function]]:
    yield "module", module
    scopes: list[tuple[str, ast.Module | ast.ClassDef]] = [("", module)]
    while scopes:
        prefix, scope = scopes.pop()
        for node in scope.body:
            if not isinstance(node, (*FUNCTION_TYPES, ast.ClassDef)) or node.name.startswith("_"):
                continue
            if any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list):
                continue
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef) and not node.name.endswith("Suite"):
                scopes.append((f"{prefix}{node.name}.", node))


def test_no_chain_of_imports_is_longer_than_it_was() -> None:
    imports = {module_name(path): imported_at_start(path) for path in MODULES}
    longest: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in longest:
            longest[name] = []
            below = max((chain(one) for one in imports[name] if one in imports), key=len, default=[])
            longest[name] = [name, *below]
        return longest[name]

    found = max((chain(name) for name in imports), key=len)
    assert len(found) <= CHAIN, " -> ".join(found)


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_at_start(path: Path) -> set[str]:
    """Return the modules that importing this one imports, whether or not they are ours."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{name.name}" for name in node.names)
    return found - {module_name(path)}
