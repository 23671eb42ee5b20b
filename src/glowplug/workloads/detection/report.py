"""What is wrong or odd in a data set: each thing with its file and line, bounded however much there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from glowplug.errors import InvalidInput

KEPT = 10_000
SHOWN = 20
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in a file of the data set, at a line of it (from 1) or at none. `kind` groups those that are alike."""

    severity: Severity
    kind: str
    file: str
    line: int | None
    what: str

    @property
    def place(self) -> str:
        """Return `file:line`, as compilers write it."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def __str__(self) -> str:
        return f"{self.place}: {self.severity}: {self.what}"


@dataclass(slots=True)
class Report:
    """Collects findings: all are counted, the first `KEPT` of errors and of warnings are remembered."""

    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    counts: Counter[tuple[Severity, str]] = field(default_factory=Counter)

    def error(self, kind: str, file: str, line: int | None, what: str) -> None:
        """Note what makes training impossible or wrong."""
        self.add(Finding("error", kind, file, line, what))

    def warning(self, kind: str, file: str, line: int | None, what: str) -> None:
        """Note what is allowed but perhaps not meant."""
        self.add(Finding("warning", kind, file, line, what))

    def add(self, finding: Finding) -> None:
        """Note a finding."""
        self.counts[finding.severity, finding.kind] += 1
        kept = self.errors if finding.severity == "error" else self.warnings
        if len(kept) < KEPT:
            kept.append(finding)

    def total(self, severity: Severity) -> int:
        """Return how many there are, remembered or not."""
        return sum(count for (kind, _), count in self.counts.items() if kind == severity)

    def summary(self, severity: Severity) -> str:
        """Return the numbers by kind, most first: `3 errors: 2 missing labels, 1 broken image`."""
        total = self.total(severity)
        kinds = [(kind, count) for (own, kind), count in self.counts.most_common() if own == severity]
        said = ", ".join(f"{kind} {count}" if count > 1 else kind for kind, count in kinds)
        return f"{total} {severity}{'s' if total != 1 else ''}: {said}" if total else f"no {severity}s"

    def lines(self) -> Iterator[str]:
        """Yield the whole report, errors first, with the totals on top."""
        yield f"{self.summary('error')}; {self.summary('warning')}"
        yield from map(str, self.errors)
        yield from map(str, self.warnings)
        if left_out := self.total("error") + self.total("warning") - len(self.errors) - len(self.warnings):
            yield f"and {left_out} more"

    def shown(self, findings: Sequence[Finding]) -> list[str]:
        """Return the first few of `findings` as text, and how many are left out."""
        total = self.total(findings[0].severity) if findings else 0
        lines = [str(finding) for finding in findings[:SHOWN]]
        return [*lines, f"and {total - len(lines)} more"] if total > len(lines) else lines

    def raise_errors(self) -> None:
        """Raise `InvalidInput` with the first errors, if there are any."""
        if not self.errors:
            return
        fields = [{"path": finding.place, "message": finding.what} for finding in self.errors[:SHOWN]]
        text = "\n".join([f"dataset: {self.summary('error')}", *self.shown(self.errors)])
        raise InvalidInput(text, fields=fields, errors=self.total("error"), warnings=self.total("warning"))
