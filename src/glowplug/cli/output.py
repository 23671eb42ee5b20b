"""How the verbs speak: JSON where asked for, colour and live bars on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

if TYPE_CHECKING:
    from rich.console import Console

SAY_AGAIN_SECONDS = 10.0
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]


class Meter(Protocol):
    """Shows how far something is: a live bar, or a plain line for each change."""

    def show(self, name: str, percent: float | None, words: str) -> None:
        """Show that `name` is at `percent` (None is unknown), in plain words."""


def note(message: str) -> None:
    """Print a line for people on standard error, which leaves standard output to results."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def say(line: str = "") -> None:
    """Print a plain line of the result."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say_json(value: Any) -> None:
    """Print one JSON document on a line of its own."""
    import msgspec

    say(msgspec.json.encode(value, enc_hook=str).decode())


def say_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows: a table on a terminal, else a line each with tabs between and the names in the first."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [list(columns), *texts]:
            say("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in texts:
        table.add_row(*map(escape, row))
    Console().print(table)


@contextmanager
def meter(quiet: bool = False) -> Iterator[Meter]:
    """Yield what shows progress on standard error: live on a terminal, plain lines when piped, nothing if `quiet`."""
    if quiet:
        yield _Silent()
    elif not sys.stderr.isatty():
        yield _Lines()
    else:
        from rich.console import Console

        with _bars(Console(stderr=True)) as bars:
            yield bars


@contextmanager
def waiting(words: str, *, quiet: bool = False) -> Iterator[Callable[[], None]]:
    """Show on a terminal that something is waited for, until the block ends or what is yielded is called."""
    if quiet or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(words)) as status:
        yield status.stop


class _Silent:
    def show(self, name: str, percent: float | None, words: str) -> None:
        del name, percent, words


class _Lines:
    """A line when the words change, at each tenth part of the way, and now and then while only counters move."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[int, str]] = {}
        self._at: dict[str, float] = {}

    def show(self, name: str, percent: float | None, words: str) -> None:
        subject = words.partition(",")[0]
        mark = (int((percent or 0) // 10), subject)
        if self._said.get(name) != mark or monotonic() - self._at[name] >= SAY_AGAIN_SECONDS:
            self._said[name], self._at[name] = mark, monotonic()
            note(f"{name}: {'' if percent is None else f'{percent:.0f} % '}{words}".rstrip())


@contextmanager
def _bars(console: Console) -> Iterator[Meter]:
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[words]}", markup=False),
        TimeElapsedColumn(),
    )

    class Bars:
        def __init__(self, progress: Progress) -> None:
            self._progress = progress
            self._rows: dict[str, TaskID] = {}

        def show(self, name: str, percent: float | None, words: str) -> None:
            row = self._rows.get(name)
            if row is None:
                row = self._rows[name] = self._progress.add_task(name, total=None, words=words)
            if percent is None:
                self._progress.update(row, words=words)
            else:
                self._progress.update(row, completed=percent, total=100.0, words=words)

    with Progress(*columns, console=console) as progress:
        yield Bars(progress)
