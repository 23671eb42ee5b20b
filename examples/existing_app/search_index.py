"""A search index over the documentation of Python's standard library: slow to build, quick to ask."""

from __future__ import annotations

import ast
import math
import re
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Report = Callable[[float, float], object]
LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "encodings", "__pycache__"}
WORD = re.compile(r"[a-z]{2,}")
SATURATION, LENGTH_WEIGHT = 1.5, 0.75


@dataclass(frozen=True)
class Entry:
    """One documented thing: its dotted name and what is written above it."""

    name: str
    text: str


class SearchIndex:
    """Entries by the words in them, ranked as BM25 does."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.counts = [Counter(words(f"{entry.name} {entry.text}")) for entry in entries]
        self.lengths = [sum(count.values()) for count in self.counts]
        self.mean_length = sum(self.lengths) / max(1, len(entries))
        self.postings: dict[str, list[int]] = defaultdict(list)
        for number, count in enumerate(self.counts):
            for word in count:
                self.postings[word].append(number)

    def find(self, query: str, limit: int = 5) -> list[dict[str, object]]:
        """Return the best entries for `query`, best first."""
        scores: dict[int, float] = defaultdict(float)
        for word in words(query):
            for number in self.postings.get(word, ()):
                scores[number] += self._weight(word, number)
        best = sorted(scores, key=lambda number: -scores[number])[:limit]
        return [
            {
                "name": self.entries[number].name,
                "summary": self.entries[number].text.partition("\n")[0],
                "score": round(scores[number], 3),
            }
            for number in best
        ]

    def _weight(self, word: str, number: int) -> float:
        found, count = len(self.postings[word]), self.counts[number][word]
        rarity = math.log(1 + (len(self.entries) - found + 0.5) / (found + 0.5))
        length = 1 - LENGTH_WEIGHT + LENGTH_WEIGHT * self.lengths[number] / self.mean_length
        return rarity * count * (SATURATION + 1) / (count + SATURATION * length)


def build_index(report: Report = lambda done, total: None) -> SearchIndex:
    """Read every module of the standard library; `report` hears how many of how many files are done."""
    root = Path(sysconfig.get_path("stdlib"))
    files = [path for path in sorted(root.rglob("*.py")) if not LEFT_OUT.intersection(path.relative_to(root).parts)]
    entries: list[Entry] = []
    for done, path in enumerate(files):
        report(done, len(files))
        entries += documented(path, ".".join(path.relative_to(root).with_suffix("").parts))
    report(len(files), len(files))
    return SearchIndex(entries)


def documented(path: Path, module: str) -> Iterator[Entry]:
    """Yield what is documented in one file."""
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield Entry(module if isinstance(node, ast.Module) else f"{module}.{node.name}", text)


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return WORD.findall(text.lower())
