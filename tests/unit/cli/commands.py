"""Runs the command line inside of the test's process, or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from glowplug.cli import main as cli

LIMIT_SECONDS = 30


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return the one JSON document of the output."""
        lines = self.out.splitlines()
        assert len(lines) == 1, self.out
        return json.loads(lines[0])

    @property
    def error(self) -> str:
        """Return the one line of the error."""
        errors = [line for line in self.err.splitlines() if line.startswith("glowplug: error: ")]
        assert len(errors) == 1, self.err
        assert "Traceback" not in self.err
        return errors[0].removeprefix("glowplug: error: ")

    @property
    def rows(self) -> list[list[str]]:
        """Return the cells of a plain table."""
        return [line.split("\t") for line in self.out.splitlines()]


class Command:
    """The `glowplug` command, in a folder and an environment of the test's own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._capsys = capsys
        self._patch = patch
        for name in [name for name in os.environ if name.startswith("GLOWPLUG_")]:
            patch.delenv(name)
        self.set("GLOWPLUG_DATA", str(folder / "data"))
        self.set("GLOWPLUG_CACHE", str(folder / "cache"))
        patch.chdir(folder)

    def set(self, name: str, value: str) -> None:
        self._patch.setenv(name, value)

    def __call__(self, *words: object) -> Done:
        self._patch.setattr(sys, "argv", ["glowplug", *map(str, words)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, out, err)

    def process(self, *words: object, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start the command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "glowplug", *map(str, words)],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def apart(self, *words: object) -> Done:
        """Run the command as a process of its own to its end."""
        with self.process(*words) as process:
            out, err = process.communicate(timeout=LIMIT_SECONDS)
        return Done(process.returncode, out, err)
