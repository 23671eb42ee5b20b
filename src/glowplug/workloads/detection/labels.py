"""One label file of YOLO's format: a line for each box, `class x y width height`, all but the class from 0 to 1.

x and y are of the middle. A line with more numbers is a polygon, of which the box is taken.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from glowplug.workloads.detection.report import Finding, Severity

LARGEST_BYTES = 16 << 20
MOST_CLASSES = 10_000
COLUMNS, LEAST_POLYGON = 5, 7
MOST_WRONG_LINES, MOST_OF_LINE = 1000, 20
BYTE_ORDER_MARK = "\ufeff"
SLACK = 1e-3
"""How far a number may lie outside for the rounding of whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Label:
    """The class of a good line, and how its box or polygon goes on."""

    number: int
    polygon: bool


@dataclass(frozen=True, slots=True)
class Read:
    """What a label file holds."""

    labels: tuple[Label, ...]
    findings: tuple[Finding, ...]


def read(path: Path, shown: str, classes: int | None) -> Read:
    """Read a label file that reports call `shown`; `classes` is how many there are, None where nobody said."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            return Read((), (Finding("error", "huge label file", shown, None, f"more than {LARGEST_BYTES} bytes"),))
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        return Read((), (Finding("error", "label file that is no text", shown, None, f"not UTF-8: {error.reason}"),))
    labels: list[Label] = []
    findings: list[Finding] = []
    seen: dict[str, int] = {}
    wrong = 0
    if text.startswith(BYTE_ORDER_MARK):
        findings.append(Finding("error", "byte order mark", shown, 1, "begins with a byte order mark; save it without"))
    # Lines end as engines see them end, at a lone carriage return too.
    for number, line in enumerate(io.StringIO(text.removeprefix(BYTE_ORDER_MARK), newline=None), start=1):
        if wrong >= MOST_WRONG_LINES:
            findings.append(Finding("error", "hopeless label file", shown, number, "too much is wrong; not read on"))
            break
        columns = line.split()
        if not columns:
            continue
        found = list(islice(_wrong(columns, classes), MOST_OF_LINE)) or list(_odd(columns, seen.get(" ".join(columns))))
        findings += [Finding(severity, kind, shown, number, what) for severity, kind, what in found]
        if any(severity == "error" for severity, *_ in found):
            wrong += 1
        else:
            labels.append(Label(int(columns[0]), len(columns) > COLUMNS))
            seen.setdefault(" ".join(columns), number)
    return Read(tuple(labels), tuple(findings))


def _wrong(columns: list[str], classes: int | None) -> Iterator[tuple[Severity, str, str]]:
    if len(columns) != COLUMNS and (len(columns) < LEAST_POLYGON or len(columns) % 2 == 0):
        yield "error", "wrong columns", f"{len(columns)} columns; a box has {COLUMNS}: class x y width height"
        return
    yield from _wrong_class(columns[0], classes)
    numbers = [_number(column) for column in columns[1:]]
    for column, value in zip(columns[1:], numbers, strict=True):
        if value is None or not math.isfinite(value):
            yield "error", "no number", f"{column[:20]!r} is not a number"
        elif not -SLACK <= value <= 1 + SLACK:
            yield "error", "out of range", f"{column[:20]} is not from 0 to 1; divide pixels by the picture's size"
    if len(columns) == COLUMNS and any(value is not None and value <= 0 for value in numbers[2:]):
        yield "error", "no area", "the width or the height is not above 0"


def _wrong_class(column: str, classes: int | None) -> Iterator[tuple[Severity, str, str]]:
    if not (column.isascii() and column.isdigit()) or len(column) > len(str(MOST_CLASSES)):
        yield "error", "no class", f"{column[:20]!r} is not the number of a class"
    elif int(column) >= (MOST_CLASSES if classes is None else classes):
        last = MOST_CLASSES - 1 if classes is None else classes - 1
        yield "error", "unknown class", f"class {column} has no name; the last class is {last}"


def _odd(columns: list[str], same_as: int | None) -> Iterator[tuple[Severity, str, str]]:
    if same_as is not None:
        yield "warning", "box twice", f"the same as line {same_as}"
    if len(columns) != COLUMNS:
        return
    x, y, wide, high = map(float, columns[1:])
    if min(x - wide / 2, y - high / 2) < -SLACK or max(x + wide / 2, y + high / 2) > 1 + SLACK:
        yield "warning", "box beyond the picture", "the box reaches beyond the picture and is cut off there"


def _number(text: str) -> float | None:
    try:
        # What Python alone takes for a number, such as 1_0, is none to other programs.
        return float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None
